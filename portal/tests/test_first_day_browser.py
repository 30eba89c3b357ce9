"""From the invitation to a product with keys and an API key, in a browser."""

from django.urls import reverse
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from merchants.models import ApiKey
from merchants.onboarding import create_merchant
from portal.tests.browsing import check
from runtime.tests.installation import TIMEOUT


def press(browser, text):
    """Press a button or link, and wait for the next page."""
    body = browser.find_element(By.TAG_NAME, "body")
    pressed = browser.find_element(By.XPATH, f"//main//*[self::button or self::a][normalize-space()='{text}']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", pressed)
    pressed.click()
    WebDriverWait(browser, TIMEOUT).until(lambda browser: browser.find_element(By.TAG_NAME, "body") != body)


def fill(browser, **values):
    for name, value in values.items():
        browser.find_element(By.NAME, name).send_keys(value)


def test_an_invited_owner_gets_from_the_link_to_an_api_key(browser, live_server):
    merchant, _, token = create_merchant("Foo", "ada@foo.example")

    browser.get(f"{live_server}{reverse('open-invitation', args=[token])}")
    fill(browser, first_name="Ada", last_name="Byron", password="battery staple")
    press(browser, "Create account and join")
    assert "Welcome to Foo! Your role: Owner." in browser.page_source
    check(browser)

    press(browser, "Add product")
    fill(browser, name="Photo Pro", sku="PHOTO-PRO", text="AAAA-1\nBBBB-2")
    check(browser)
    press(browser, "Add product")
    assert "Product added with 2 keys." in browser.page_source

    browser.get(f"{live_server}/")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".steps .done")) == 2
    press(browser, "Create API key")
    fill(browser, name="Shop")
    check(browser)
    press(browser, "Create key")
    text = browser.find_element(By.ID, "secret").text
    assert ApiKey.authenticate(text) == merchant.api_keys.get()
    check(browser)

    browser.get(f"{live_server}/")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".steps .done")) == 3
    assert browser.find_element(By.CSS_SELECTOR, ".steps .primary").text == "Send test order"
    check(browser)


def test_a_key_is_revoked_in_a_dialog(browser, live_server, client, merchant):
    key, _ = ApiKey.objects.create_key(merchant=merchant, name="Shop", scopes=["orders"])
    client.force_login(merchant.members.get().user)
    browser.get(f"{live_server}/healthz")
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    browser.get(f"{live_server}{reverse('api-keys')}")

    browser.find_element(By.LINK_TEXT, "Revoke").click()
    WebDriverWait(browser, TIMEOUT).until(lambda browser: browser.find_element(By.CSS_SELECTOR, "dialog[open] form"))
    browser.find_element(By.CSS_SELECTOR, "dialog .primary.danger").click()

    assert "API key “Shop” revoked." in browser.find_element(By.CSS_SELECTOR, ".flash.success").text
    key.refresh_from_db()
    assert key.revoked_at is not None
