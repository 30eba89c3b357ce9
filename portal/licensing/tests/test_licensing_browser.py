"""A manager’s work with licensees, in a real browser."""

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By

from licensing.creation import create_license, create_licensee
from licensing.failures import record_failures, record_refusal
from licensing.models import LicenseTemplate, LicensingProduct
from licensing.validation import read_holding, validate
from portal.tests.browsing import check, sees

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_manager_can_transfer_licenses(browser, live_server, client, merchant):
    product = LicensingProduct.objects.create(merchant=merchant, name="Photo")
    module = product.modules.create(merchant=merchant, name="Pro", licensing_model="MultiFeature")
    template = LicenseTemplate.objects.create(merchant=merchant, module=module, name="Raw", license_type="FEATURE")
    permanent = create_licensee(product, actor="test", name="Permanent", number="PERMANENT")
    purchased = create_licensee(
        product, actor="test", name="Bought", number="KW-BOUGHT-7Q2M-8X9Y", marked_for_transfer=True
    )
    create_license(purchased, template, actor="test")
    client.force_login(merchant.members.get(role="owner").user)
    browser.get(f"{live_server}/healthz")
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})

    browser.get(live_server.url + reverse("licensing"))
    browser.find_element(By.CSS_SELECTOR, "main [name=search]").send_keys("KW-BOUGHT-7Q2M-8X9Y\n")
    sees(browser, "Current validation result", "marked for transfer", "••••8X9Y")
    browser.find_element(By.LINK_TEXT, "Transfer").click()
    sees(browser, "Number of the other licensee")
    browser.find_element(By.CSS_SELECTOR, "dialog [name=number]").send_keys("PERMANENT")
    browser.find_element(By.CSS_SELECTOR, "dialog [type=submit]").click()

    sees(browser, "1 license transferred from Bought to Permanent.", "1 license transferred to Permanent")
    check(browser)
    assert "KW-BOUGHT" not in browser.current_url and permanent.licenses.get().template == template


def test_the_list_of_failed_validations_is_accessible(browser, live_server, client, merchant):
    product = LicensingProduct.objects.create(merchant=merchant, name="Photo")
    for number, model in enumerate(("Subscription", "Floating", "NodeLocked")):
        product.modules.create(
            merchant=merchant, number=f"MODULE-{number}", name=f"{model} of the editor", licensing_model=model
        )
    licensee = create_licensee(product, actor="test", name="Ada", number="KW-BOUGHT-7Q2M-8X9Y")
    holding = read_holding(licensee)
    record_failures(holding, validate(holding, dry_run=True), actor="API key “customers’ programs”")
    record_refusal(holding, f"Requested product module does not exist: {'M' * 200}", actor="login northlight.erp")
    client.force_login(merchant.members.get(role="owner").user)
    browser.get(f"{live_server}/healthz")
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})

    browser.get(live_server.url + reverse("licensee", args=[licensee.pk]))

    sees(browser, "Failed validations", "MODULE-1 · Floating", "The licensee has no FLOATING license of this module.")
    check(browser)
