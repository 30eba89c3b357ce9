"""A merchant connects a shop in a real browser, up to the first delivered order."""

import json

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from orders.models import Order
from portal.tests.browsing import check, sees
from portal.tests.test_every_page import enter
from runtime.tests.installation import TIMEOUT
from shops.kinds import KINDS
from shops.tests.api_server import FakeApi
from shops.tests.factories import emails, post, process_due
from shops.tests.senders import make_order, sign
from shops.tests.test_stripe import make_line, make_list, make_session, send

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def merchant(make_merchant):
    return make_merchant()


@pytest.fixture
def signed_in(browser, live_server, client, merchant, settings):
    settings.BASE_URL = live_server.url
    enter(browser, live_server, client, merchant.members.get().user)
    browser.get(f"{live_server}{reverse('shops')}")
    return browser


def click(browser, text, tag="a"):
    element = browser.find_element(By.XPATH, f"//{tag}[contains(normalize-space(.), '{text}')]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def connect(browser, kind):
    click(browser, "Connect a shop")
    click(browser, kind)
    check(browser)
    click(browser, "Continue", "button")
    assert sees(browser, "Waiting for the first event…")
    check(browser)


def test_woocommerce_is_connected_from_scratch(signed_in, merchant, make_product, mailoutbox):
    browser = signed_in
    make_product(sku="PRO-1", name="Photo Pro for Mac")
    connect(browser, "WooCommerce")
    url, secret = (browser.find_element(By.ID, name).text for name in ("shop-url", "shop-secret"))

    # The shop reports its first sale, of a product that isn't mapped.
    shop = merchant.connections.get()
    assert url == shop.url
    body = json.dumps(make_order()).encode()
    assert (
        post(shop, body, X_WC_Webhook_Topic="order.updated", X_WC_Webhook_Signature=sign(body, secret)).status_code
        == 200
    )
    process_due()
    assert sees(browser, "The shop is connected", "These products aren’t mapped to yours: Photo Pro.")
    check(browser)

    click(browser, "Show the shop")
    assert sees(browser, "1 product of the shop isn’t mapped")
    check(browser)
    click(browser, "Map products")
    check(browser)
    browser.find_element(By.LINK_TEXT, "Map").click()
    Select(browser.find_element(By.NAME, "product_0")).select_by_visible_text("Photo Pro for Mac (PRO-1)")
    check(browser)
    click(browser, "Save", "button")
    assert sees(browser, "1 parked event is being processed")
    process_due()

    order = Order.objects.get()
    assert order.codes().count() == 2 and emails() == ["ada@example.com"]
    browser.get(f"{shop.url.partition('/in/')[0]}{shop.get_absolute_url()}")
    click(browser, "order.updated")
    assert sees(browser, "727", "Done", "••••")
    check(browser)
    click(browser, "727")
    assert sees(browser, "Order 727", "Payment reported")


@pytest.fixture
def stripe_api(receiver, monkeypatch):
    api = FakeApi(receiver)
    monkeypatch.setattr(KINDS["stripe"], "api", api.url)
    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = make_list(make_line())


def test_stripe_is_connected_from_scratch(signed_in, merchant, make_product, stripe_api):
    browser = signed_in
    make_product(sku="PRO-1", name="Photo Pro for Mac")
    click(browser, "Connect a shop")
    click(browser, "Stripe")
    browser.find_element(By.NAME, "option_api_key").send_keys("rk_live_1")
    click(browser, "Continue", "button")
    assert sees(browser, "Waiting for the first event…")
    check(browser)

    # Stripe shows the secret once the endpoint has the URL.
    browser.find_element(By.NAME, "secret").send_keys("whsec_1234")
    click(browser, "Save secret", "button")
    assert sees(browser, "Secret saved.", "Waiting for the first event…")
    shop = merchant.connections.get()
    assert shop.secret == "whsec_1234"
    assert "whsec_1234" not in browser.page_source and "rk_live_1" not in browser.page_source

    assert send(shop, "checkout.session.completed", make_session(), "whsec_1234").status_code == 200
    assert sees(browser, "The shop is connected", "These products aren’t mapped to yours: Photo Pro.")
    check(browser)
    click(browser, "Show the shop")
    click(browser, "Map products")
    check(browser)
    browser.find_element(By.LINK_TEXT, "Map").click()
    Select(browser.find_element(By.NAME, "product_0")).select_by_visible_text("Photo Pro for Mac (PRO-1)")
    click(browser, "Save", "button")
    assert sees(browser, "1 parked event is being processed")
    process_due()

    assert Order.objects.get().codes().count() == 2 and emails() == ["ada@example.com"]
    browser.get(f"{shop.url.partition('/in/')[0]}{shop.get_absolute_url()}")
    assert sees(browser, "healthy")
    check(browser)


def test_a_sample_sale_shows_its_outcome(signed_in, merchant, make_product):
    browser = signed_in
    make_product(sku="PRO-1", name="Photo Pro for Mac")
    connect(browser, "WooCommerce")
    browser.get(browser.current_url.replace("start/", "sample/"))
    check(browser)
    click(browser, "Send sample sale", "button")
    assert sees(browser, "PRO-1")

    process_due()

    assert sees(browser, "Done", "SAMPLE-")
    check(browser)


def test_a_held_order_is_approved_in_a_dialog(browser, live_server, client, merchant, make_product, pay):
    pay(make_product(), order="A1")
    Order.objects.update(held_until="9999-01-01T00:00:00Z")
    enter(browser, live_server, client, merchant.members.get().user)
    browser.get(f"{live_server}{reverse('order', args=['A1'])}")
    check(browser)

    click(browser, "Approve")
    button = WebDriverWait(browser, TIMEOUT).until(
        lambda browser: browser.find_element(By.CSS_SELECTOR, "dialog[open] [type=submit]")
    )
    check(browser)
    button.click()

    assert sees(browser, "Order approved.")
