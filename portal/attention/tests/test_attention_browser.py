"""A support member clears what needs attention with few clicks, at both widths, with and without scripts."""

from datetime import timedelta

import pytest
from django.utils import timezone
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from delivery.models import Delivery
from orders.models import Order
from portal.tests.browsing import check, look_in, sees, text
from runtime.tests.installation import TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)

MAX_CLICKS = 6


@pytest.fixture
def twenty(pay, make_product, make_service, receiver, work):
    """8 orders whose e-mail bounced, 4 that are being checked, and 8 that a web service failed but works again."""
    sold, generated = make_product(keys=12), make_product(source=None)
    make_service(generated)
    for number in range(8):
        pay(sold, order=f"BOUNCED-{number}")
    work()
    Delivery.objects.update(status="bounced", reason="The mailbox is full.")
    for number in range(4):
        pay(sold, order=f"HELD-{number}")
    held = Order.objects.filter(number__startswith="HELD")
    held.update(held_until=timezone.now() + timedelta(days=1))
    receiver.respond = lambda received: (404, {}, b"")
    for number in range(8):
        pay(generated, order=f"FAILED-{number}")
    work()
    receiver.respond = lambda received: (200, {}, b"CODE-" + received.headers["idempotency-key"][-12:].encode())


class Inbox:
    """The list in a browser, with a count of clicks."""

    def __init__(self, browser, live_server):
        self.browser, self.url, self.clicks, self.has_scripts = browser, f"{live_server}/attention/", 0, True

    def open(self):
        self.browser.get(self.url)

    def click(self, cause, label):
        path = f"//section[.//h2[contains(., '{cause}')]]/header//a[normalize-space()='{label}']"
        self._click(self.browser.find_element(By.XPATH, path))

    def confirm(self, label):
        def find(browser):
            buttons = browser.find_elements(By.CSS_SELECTOR, "main form.form button, dialog[open] button")
            return next((button for button in buttons if button.text == label), None)

        self._click(WebDriverWait(self.browser, TIMEOUT).until(find))

    def _click(self, element):
        if self.has_scripts:  # messages float above the page
            self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.clicks += 1


@pytest.fixture
def inbox(browser, live_server, client, make_member):
    client.force_login(make_member().user)
    browser.get(f"{live_server}/healthz")
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    return Inbox(browser, live_server)


def test_twenty_items_of_three_causes_take_at_most_six_clicks(inbox, twenty, work):
    inbox.open()
    sees(inbox.browser, "Gen has failed since", "8 orders", "4 orders are being checked", "8 addresses bounced")
    inbox.click("Gen has failed", "Retry all")
    inbox.confirm("Retry all")
    sees(inbox.browser, "Trying 8 items again.")
    work()
    inbox.click("being checked", "Approve all")
    inbox.confirm("Approve all")
    sees(inbox.browser, "Approved 4 orders.")
    work()
    inbox.click("addresses bounced", "All dealt with")
    inbox.confirm("Dealt with")
    sees(inbox.browser, "8 dealt with.", "Nothing needs attention")
    assert inbox.clicks <= MAX_CLICKS
    assert not Order.objects.filter(number__startswith="FAILED", items__fulfillment__status="failed").exists()
    assert not inbox.browser.execute_script("return document.querySelector('.count')")


def test_it_works_without_scripts(inbox, twenty, work):
    inbox.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    inbox.has_scripts = False
    try:
        inbox.open()
        row = inbox.browser.find_element(By.CSS_SELECTOR, "#bounced li form button")
        row.click()
        sees(inbox.browser, "7 addresses bounced")
        inbox.click("addresses bounced", "All dealt with")
        inbox.confirm("Dealt with")
        sees(inbox.browser, "7 dealt with.")
    finally:
        inbox.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_list_is_accessible(inbox, twenty):
    for scheme in ("light", "dark"):
        look_in(inbox.browser, scheme)
        inbox.open()
        check(inbox.browser)
        inbox.browser.find_element(By.CSS_SELECTOR, "#bounced h2 a").click()
        sees(inbox.browser, "BOUNCED-7", "BOUNCED-0")
        check(inbox.browser)
        inbox.open()
        inbox.click("addresses bounced", "All dealt with")
        sees(inbox.browser, "Mark all 8 as dealt with?")
        check(inbox.browser)
    look_in(inbox.browser, "light")
    assert "It comes back if it happens again." in text(inbox.browser)
