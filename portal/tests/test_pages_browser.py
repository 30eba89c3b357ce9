"""What holds for every page: what was typed isn't lost, and messages don't move it."""

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from fulfillment.sources.web_service.models import RequestParameter
from portal.tests.browsing import check, sees, text
from portal.tests.test_browser import press
from portal.tests.test_every_page import enter, open_dialog
from runtime.tests.installation import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(merchant):
    user = merchant.members.get(role="owner").user
    user.set_password("correct horse")
    user.save()
    return user


def test_what_was_typed_survives_a_lost_session(browser, live_server, client, owner):
    enter(browser, live_server, client, owner)
    browser.get(f"{live_server}{reverse('product-add')}")
    browser.get(f"{live_server}{reverse('email-text', args=['all', 'en'])}")
    body = browser.find_element(By.NAME, "body")
    body.clear()
    body.send_keys("My long text {KEY}")
    Session.objects.all().delete()
    press(browser, "Save")
    sign_in_again(browser, owner)
    wait_until(lambda: "/emails/texts/" in browser.current_url)
    assert browser.find_element(By.NAME, "body").get_attribute("value") == "My long text {KEY}"

    press(browser, "Save")
    assert sees(browser, "Saved. New e-mails use this text")
    assert not browser.execute_script("return sessionStorage.getItem('draft')")


def sign_in_again(browser, owner):
    assert sees(browser, "Forgot your password?")
    browser.find_element(By.NAME, "login").send_keys(owner.email)
    browser.find_element(By.NAME, "password").send_keys("correct horse" + Keys.ENTER)


@pytest.mark.parametrize("button", ["Save", "Language"], ids=["saving", "adding another"])
def test_a_list_of_parameters_survives_a_lost_session(browser, live_server, client, owner, make_service, button):
    enter(browser, live_server, client, owner)
    page = live_server.url + reverse("web-service-parameters", args=[make_service(name="Gen").pk])
    browser.get(page)
    browser.find_element(By.CSS_SELECTOR, "#adding summary").click()
    press(browser, "Email")
    name = browser.find_element(By.NAME, "Email-name")
    name.clear()
    name.send_keys("buyer")
    press(browser, "A constant")
    browser.find_element(By.NAME, "new-0-name").send_keys("token")
    browser.find_element(By.NAME, "new-0-value").send_keys("s3cret")
    browser.find_element(By.NAME, "new-0-is_secret").click()
    preview = "return document.getElementById('preview').innerText"
    wait_until(lambda: "token" in browser.execute_script(preview))
    Session.objects.all().delete()
    press(browser, button)
    assert "s3cret" not in browser.execute_script("return JSON.stringify(sessionStorage)")

    sign_in_again(browser, owner)
    wait_until(lambda: browser.current_url == page and browser.find_elements(By.NAME, "Email-name"))
    assert browser.find_element(By.NAME, "Email-name").get_attribute("value") == "buyer"
    assert browser.find_element(By.NAME, "new-0-value").get_attribute("value") == ""
    browser.find_element(By.NAME, "new-0-value").send_keys("s3cret")
    press(browser, "Save")
    assert sees(browser, "Parameters saved.")
    saved = RequestParameter.objects.values_list("name", "parameter", "is_secret")
    assert set(saved) >= {("buyer", "Email", False), ("token", "", True)}


def test_a_message_lies_over_the_page_and_can_be_closed(browser, live_server, client, merchant, owner):
    enter(browser, live_server, client, owner)
    browser.get(f"{live_server}{reverse('checkout-pages')}")
    before = browser.find_element(By.TAG_NAME, "h1").rect["y"]
    page = merchant.checkout_pages.get()
    browser.get(f"{live_server}{reverse('checkout-page-change', args=[page.pk])}")
    press(browser, "Save")
    assert sees(browser, "Checkout page changed.")
    check(browser)
    assert browser.find_element(By.TAG_NAME, "h1").rect["y"] == before

    browser.find_element(By.CSS_SELECTOR, "[data-close-message]").click()
    wait_until(lambda: "Checkout page changed." not in text(browser))


def test_a_message_about_a_success_goes_away_with_the_next_click(browser, live_server, client, merchant, owner):
    enter(browser, live_server, client, owner)
    page = merchant.checkout_pages.get()
    browser.get(f"{live_server}{reverse('checkout-page-change', args=[page.pk])}")
    press(browser, "Save")
    assert sees(browser, "Checkout page changed.")
    browser.find_element(By.TAG_NAME, "h1").click()
    assert "Checkout page changed." in text(browser)

    browser.find_element(By.CSS_SELECTOR, "header.bar details.menu summary").click()
    assert "Checkout page changed." not in text(browser)


def test_the_word_e_mail_is_never_broken(browser, live_server, client, owner):
    enter(browser, live_server, client, owner)
    browser.set_window_size(320, 900)
    browser.get(f"{live_server}{reverse('emails')}")
    # Where there is no room for the whole word.
    narrow = "for (const word of document.querySelectorAll('main .unbroken')) word.parentElement.style.width = '3em';"
    lines = "return [...document.querySelectorAll('main .unbroken')].map((word) => word.getClientRects().length)"

    wait_until(lambda: browser.execute_script(lines))
    assert set(browser.execute_script(narrow + lines)) == {1}
    assert "E-mails to your customers go through Keywell" in text(browser)


def test_back_leads_out_of_a_dialog(browser, live_server, client, owner, make_service):
    """After a dialog was left or answered, Back leads to the page before, and no page is stuck in the dialog."""
    enter(browser, live_server, client, owner)
    service = make_service(name="Gen")
    services, page = live_server.url + reverse("web-services"), live_server.url + service.get_absolute_url()
    browser.get(services)
    browser.get(page)
    open_dialog(browser, "Rotate secret")
    browser.back()
    wait_until(lambda: browser.current_url == services)
    browser.forward()
    wait_until(lambda: browser.current_url == page)
    assert not browser.find_element(By.ID, "dialog").is_displayed()

    open_dialog(browser, "Rotate secret")
    browser.find_element(By.CSS_SELECTOR, "dialog [type=submit]").click()
    assert sees(browser, "Secret rotated.")
    browser.execute_script("history.back()")
    wait_until(lambda: has_arrived(browser, services))
    browser.execute_script("history.forward()")
    wait_until(lambda: has_arrived(browser, page))
    assert not browser.find_element(By.ID, "dialog").is_displayed()


def has_arrived(browser, address):
    """Whether the page is shown, and isn't about to be skipped."""
    is_noted = "return sessionStorage.getItem('entry') === String(navigation.currentEntry.index)"
    return browser.execute_script(f"{is_noted} && !history.state?.answered") and browser.current_url == address
