"""A test order in a browser: the page follows its progress, and the request can be copied."""

import pytest
from django.core.cache import cache
from django.urls import reverse
from selenium.webdriver.common.by import By

from merchants.models import ApiKey, Member
from merchants.sandbox import get_sandbox
from orders.models import Order
from portal.tests.browsing import check, sees

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def signed_in(browser, live_server, client, make_member):
    client.force_login(make_member(Member.Role.MANAGER, first_name="Max").user)
    browser.get(f"{live_server}/healthz")
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    cache.clear()
    return browser


def test_the_page_follows_the_order_to_its_email(signed_in, live_server, merchant, make_product, work):
    make_product(name="Photo Pro")
    key, _ = ApiKey.objects.create_key(merchant=get_sandbox(merchant), name="shop", scopes=["payments"])
    browser = signed_in
    browser.get(f"{live_server}{reverse('test-order')}")
    check(browser)
    browser.find_element(By.CSS_SELECTOR, "main button.primary").click()

    sees(browser, "being e-mailed to", "This page updates automatically.", f"{key.text_start}_…")
    work()
    sees(browser, "accepted by the mail server", "Finished after")
    check(browser)
    frame = browser.find_element(By.CSS_SELECTOR, "iframe.preview")
    browser.execute_script("arguments[0].scrollIntoView()", frame)
    browser.switch_to.frame(frame)
    sees(browser, "[Test] Your license for Photo Pro")
    browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
    sees(browser, "TEST-")
    browser.switch_to.default_content()

    browser.find_element(By.XPATH, "//summary[text()='Python']").click()
    sees(browser, "requests.post(", Order.objects.get().number)
    assert not browser.find_element(By.ID, "request-curl").is_displayed()
