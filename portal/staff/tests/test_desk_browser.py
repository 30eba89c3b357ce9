"""The work of support staff in a real browser: find an order by the keyboard, and confirm what has consequences."""

import pytest
from django.urls import reverse
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from merchants.models import ApiKey, User
from orders.models import Order
from portal.tests.browsing import check, sees
from runtime.tests.installation import TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def browser(chrome, live_server, client):
    """Signed in as support staff."""
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    chrome.delete_all_cookies()
    chrome.get(f"{live_server}/healthz")
    chrome.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    chrome.set_window_size(1280, 900)
    return chrome


def click(browser, selector):
    element = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def check_at_both_widths(browser):
    for width in (390, 1280):
        browser.set_window_size(width, 900)
        check(browser)


def test_an_order_is_found_by_the_keyboard(browser, live_server, pay, make_product):
    pay(make_product(keys=2), order="A0012345678")
    pay(make_product(keys=2), order="A0012345679")
    browser.get(f"{live_server}/admin/merchants/user/")

    ActionChains(browser).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    ActionChains(browser).send_keys("ada@example.com").perform()
    sees(browser, "A0012345678", "Customers")
    check(browser)
    ActionChains(browser).send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER).perform()

    sees(browser, "Order A0012345678")
    assert browser.current_url.endswith(f"/{Order.objects.get(number='A0012345678').pk}/change/")
    assert "ada" not in browser.current_url


def test_forbidding_delivery_is_confirmed(browser, live_server, merchant, pay, make_product):
    pay(make_product(keys=1), order="A1")
    page = merchant.checkout_pages.get()
    browser.get(f"{live_server}{reverse('admin:merchants_merchant_change', args=[merchant.pk])}")

    click(browser, "[name='checkout_pages-0-delivery_allowed']")
    click(browser, "[name='_save']")
    sees(browser, "Save these changes?", "1 paid order")
    check_at_both_widths(browser)
    page.refresh_from_db()
    assert page.delivery_allowed
    click(browser, ".panel button[type='submit']")

    sees(browser, "was changed successfully")
    page.refresh_from_db()
    assert not page.delivery_allowed


def test_a_new_key_is_copied_and_revoked(browser, live_server, merchant):
    browser.get(f"{live_server}{reverse('admin:merchants_apikey_add')}?merchant={merchant.pk}")
    browser.find_element(By.NAME, "name").send_keys("Shop")
    click(browser, "[name='scopes'][value='orders']")
    click(browser, "[name='_save']")
    sees(browser, "You can’t see it again.")
    check_at_both_widths(browser)
    assert browser.find_element(By.CSS_SELECTOR, "[data-copy='secret']").is_displayed()

    click(browser, "#content p a")
    click(browser, ".object-tools .danger")
    sees(browser, "Revoke the API key “Shop”?", "It has never been used.")
    check_at_both_widths(browser)
    click(browser, ".panel button[type='submit']")

    sees(browser, "API key “Shop” revoked.")
    assert ApiKey.objects.get().revoked_at


def test_what_works_is_one_line_that_opens(browser, live_server, merchant):
    browser.get(f"{live_server}/admin/")

    assert not browser.find_element(By.CSS_SELECTOR, ".fine .status-lines").is_displayed()
    click(browser, ".fine summary")
    assert browser.find_element(By.CSS_SELECTOR, ".fine .status-lines").is_displayed()
    check_at_both_widths(browser)


def test_an_action_is_confirmed_and_can_be_canceled(browser, live_server, make_pool):
    pool = make_pool(3)
    address = f"{live_server}{reverse('admin:pools_licensekey_changelist')}?pool__id__exact={pool.pk}"
    for answer, withdrawn in ((".panel .actions a", 0), (".panel button[type='submit']", 3)):
        browser.get(address)
        click(browser, "#action-toggle")
        click(browser, "select[name='action'] option[value='withdraw']")
        click(browser, "#changelist .actions button")
        sees(browser, "3 keys will never be issued")
        check_at_both_widths(browser)
        click(browser, answer)
        WebDriverWait(browser, TIMEOUT).until(lambda browser: browser.find_elements(By.ID, "result_list"))

        assert browser.current_url == address
        assert pool.keys.withdrawn().count() == withdrawn


def test_filters_open_above_the_list(browser, live_server, merchant, outsider):
    for owner in (merchant, outsider):
        owner.products.create(name=f"Product of {owner}", sku="PRO")
    for width in (1280, 390):
        browser.set_window_size(width, 900)
        browser.get(f"{live_server}{reverse('admin:merchants_product_changelist')}")
        click(browser, "#changelist-filter summary")
        browser.find_element(By.LINK_TEXT, str(outsider)).click()
        sees(browser, f"Merchant: {outsider}", f"Product of {outsider}")
        check(browser)
        assert f"Product of {merchant}" not in browser.find_element(By.ID, "result_list").text


def test_shortcuts_for_times_are_in_24_hours(browser, live_server, merchant):
    key, _ = ApiKey.objects.create_key(merchant=merchant, name="Shop", scopes=["orders"])
    browser.get(f"{live_server}{reverse('admin:merchants_apikey_change', args=[key.pk])}")

    click(browser, ".field-expires_at .clock-icon")

    sees(browser, "18:00")
    assert "p.m." not in browser.page_source
