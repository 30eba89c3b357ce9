"""Setting up a web service in a real browser, from the form to the license, on a desktop and a phone."""

import pytest
from django.urls import reverse
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from fulfillment.models import Fulfillment
from fulfillment.sources.web_service.models import WebService
from merchants.models import Member, User
from orders.models import ActivationCode
from portal.tests.browsing import check, sees
from portal.tests.test_every_page import enter
from runtime.tests.installation import TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)


def fill(browser, **fields):
    for name, value in fields.items():
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(value)


def click(browser, selector):
    button = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()


def choices(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#choices li")


def open_last(browser):
    """Open the last request of the log: beside the list or, on a phone, as a page."""
    click(browser, ".entries a")
    is_there = "return document.getElementById('outgoing-request') && !document.querySelector('.htmx-request')"
    WebDriverWait(browser, TIMEOUT).until(lambda browser: browser.execute_script(is_there))


def test_setting_up_a_service_and_retrying_after_a_failure(
    browser, live_server, client, pay, work, make_product, make_member, receiver
):
    product = make_product(source=None, name="Photo Pro")
    enter(browser, live_server, client, make_member(Member.Role.MANAGER).user)
    receiver.respond = lambda received: (404, {}, b"no such product")

    # Add the service. The sign-in fields appear once a login type is chosen.
    browser.get(f"{live_server}{reverse('web-service-add')}")
    assert not browser.find_element(By.NAME, "password").is_displayed()
    click(browser, "[name=login] [value=bearer]")
    assert browser.find_element(By.NAME, "password").is_displayed()
    check(browser)
    fill(browser, name="Gen", url=receiver.url, password="t0ken")
    click(browser, "main [type=submit]")
    assert sees(browser, "Web service added")
    assert "Key_first_renew-on" not in browser.page_source

    # Rename a parameter, find and add another, and move it: by button, then by dragging. The preview follows.
    fill(browser, **{"Order-name": "order_no"})
    assert sees(browser, "order_no=A0012345678")
    click(browser, "#adding summary")
    fill(browser, find="ISO 3166")
    WebDriverWait(browser, TIMEOUT).until(lambda browser: len(choices(browser)) == 2)
    check(browser)
    click(browser, "[value='add Country']")
    assert sees(browser, "Quantity=1&Country=GB")
    click(browser, "#up-Country")
    assert sees(browser, "Country=GB&Quantity=1")
    assert browser.switch_to.active_element.get_attribute("id") == "up-Country"
    browser.execute_script("document.getElementById('row-Item').scrollIntoView({block: 'center'})")
    top = browser.find_element(By.ID, "row-Order")
    handle = browser.find_element(By.CSS_SELECTOR, "#row-Country [data-handle]")
    ActionChains(browser).click_and_hold(handle).move_to_element(top).move_by_offset(0, -30).release().perform()
    assert sees(browser, "Country=GB&order_no=A0012345678")

    # After saving, the console is the next step.
    click(browser, "main .primary[type=submit]")
    assert sees(browser, "Parameters saved.", "Country=GB&order_no=A0012345678")
    check(browser)

    # Staff add a parameter that managers can't.
    service = WebService.objects.get()
    enter(browser, live_server, client, User.objects.create_superuser("stella@keywell.example", "correct horse"))
    browser.get(f"{live_server}{reverse('admin:web_service_webservice_change', args=[service.pk])}")
    fill(browser, **{"parameters-5-position": "6", "parameters-5-name": "first"})
    click(browser, "[name=parameters-5-parameter] [value=Key_first_renew]")
    click(browser, "[name=_save]")
    assert sees(browser, "was changed successfully")
    enter(browser, live_server, client, Member.objects.get(role="manager").user)

    # A payment fails, and the log shows why.
    browser.get(f"{live_server}{reverse('product', args=[product.pk])}")
    click(browser, f"[name=source] [value='web_service {service.pk}']")
    click(browser, "form.form [type=submit]")
    assert sees(browser, "Added: Web service “Gen”")
    order = pay(product)["order"]
    work()
    browser.get(f"{live_server}{reverse('web-service', args=[service.pk])}")
    assert sees(browser, "1 failed item", "404", "The service answered 404.", order, "first=")
    check(browser)
    open_last(browser)
    assert sees(browser, f"order_no={order}", "no such product")
    check(browser)

    # The service recovers, and a retry succeeds.
    receiver.respond = lambda received: (200, {}, b"AAAA-BBBB-7Q2M")
    browser.get(f"{live_server}{reverse('web-service', args=[service.pk])}")
    open_last(browser)
    click(browser, "#outgoing-request .primary")
    WebDriverWait(browser, TIMEOUT).until(
        lambda browser: browser.find_element(By.CSS_SELECTOR, "dialog[open] [type=submit]")
    ).click()
    assert sees(browser, "will be retried within seconds")
    work()
    assert Fulfillment.objects.get().status == "done"
    assert ActivationCode.objects.get().code == "AAAA-BBBB-7Q2M"
    browser.refresh()
    assert sees(browser, "healthy", "200")
    assert receiver.received[-1].headers["authorization"] == "Bearer t0ken"
