"""The pages on which a merchant connects shops and sees what they reported."""

import json
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from merchants.models import Member
from orders.models import Order
from portal.shops.forms import MAX_CONNECTIONS
from shops.changes import Cause
from shops.connecting import connect
from shops.kinds import KINDS
from shops.models import CatchUp, Connection, Event, ExternalProduct
from shops.tests.factories import emails, make_connection, post, process_due
from shops.tests.senders import SECRET, make_order, sign

pytestmark = pytest.mark.django_db

PAYPAL = {"name": "PayPal", "option_environment": "live"}


@pytest.fixture
def manager(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def shop(merchant):
    return make_connection(merchant, "woocommerce", name="Main shop")


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO", name="Photo Pro")


def address(name, *arguments):
    return reverse(f"shop-{name}" if name else "shop", args=[argument.pk for argument in arguments])


def read(client, name, *arguments, query=""):
    return client.get(address(name, *arguments) + query).content.decode()


def do(client, page, *arguments, query="", **data):
    """Post to a page and return the page after it."""
    return client.post(address(page, *arguments) + query, data | {"csrf": "x"}, follow=True).content.decode()


def send(shop, secret=SECRET, **fields):
    body = json.dumps(make_order(**fields)).encode()
    response = post(shop, body, X_WC_Webhook_Topic="order.updated", X_WC_Webhook_Signature=sign(body, secret))
    process_due()
    return response


# Connecting


def test_every_kind_can_be_chosen(manager):
    page = manager.get(reverse("shop-kinds")).content.decode()

    for kind in KINDS.values():
        assert str(kind.name) in page
        assert manager.get(reverse("shop-connect", args=[kind.code])).status_code == 200


def test_a_shop_is_connected_with_a_url_and_a_secret_that_work(manager, merchant, photo):
    assert "No shops yet" in manager.get(reverse("shops")).content.decode()

    fields = {"name": "Main shop", "option_paid_status": "completed", "number_prefix": "EU-", "hold_hours": ""}
    response = manager.post(reverse("shop-connect", args=["woocommerce"]), fields, follow=True)

    shop = merchant.connections.get()
    assert response.redirect_chain[-1][0] == address("start", shop)
    page = response.content.decode()
    assert shop.url in page and shop.secret in page and "Delivery URL" in page
    assert (shop.name, shop.number_prefix, shop.options) == ("Main shop", "EU-", {"paid_status": "completed"})
    assert send(shop, shop.secret, status="completed").status_code == 200
    assert Order.objects.get().number == "EU-727"
    assert "Main shop" in manager.get(reverse("shops")).content.decode()


def test_the_secret_is_not_shown_after_the_first_event(manager, shop, photo):
    assert SECRET in read(manager, "start", shop)
    assert "Waiting for the first event" in read(manager, "start", shop)

    send(shop)

    page = read(manager, "start", shop)
    assert SECRET not in page and shop.url in page
    assert "The shop is connected" in page and 'hx-trigger="every' not in page


def test_a_sample_sale_is_no_first_event(manager, shop, photo):
    do(manager, "sample", shop, product="PHOTO-PRO", quantity=1)

    assert "Waiting for the first event" in read(manager, "start", shop)


def test_the_page_says_why_a_request_was_rejected(manager, shop):
    assert send(shop, "another secret").status_code == 401

    assert "The signature is wrong" in read(manager, "start", shop)
    assert "The signature is wrong" in read(manager, "", shop)


def test_a_shop_that_makes_up_the_secret_gets_it_later(manager, merchant):
    fields = {"name": "Stripe", "secret": "", "number_prefix": "", "hold_hours": ""}
    response = manager.post(reverse("shop-connect", args=["stripe"]), fields, follow=True)
    shop = merchant.connections.get()
    assert shop.secret == "" and "Save secret" in response.content.decode()
    assert "The signing secret is missing" in read(manager, "", shop)

    page = do(manager, "secret", shop, secret=" whsec_x ")

    shop.refresh_from_db()
    assert shop.secret == "whsec_x"
    assert "whsec_x" not in page and "Waiting for the first event" in page


def test_nothing_that_the_shop_shows_later_is_required(manager, merchant):
    page = manager.post(reverse("shop-connect", args=["paypal"]), PAYPAL, follow=True).content.decode()
    shop = merchant.connections.get()
    assert shop.url in page and "Webhook ID, Client ID, Client secret" in page

    page = do(manager, "change", shop, **PAYPAL, option_webhook_id="WH-1", option_client_id="A")

    assert "Waiting for the first event" in page
    assert "<p>Client secret</p>" in page


@pytest.mark.parametrize("kind", KINDS)
def test_the_pages_of_every_kind_show_no_markup(manager, merchant, kind):
    shop = make_connection(merchant, kind)

    for page in ("start", "", "change", "disable"):
        assert not re.search(r"\*\w", re.sub(r"(?s)<head>.*?</head>", "", read(manager, page, shop)))


def test_the_first_secret_has_no_previous_one(manager, merchant):
    shop = make_connection(merchant, "stripe", secret="")

    do(manager, "secret", shop, secret="whsec_x")

    assert "The previous secret" not in read(manager, "", shop)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "This field is required."),
        ("name", "Main shop", "Another shop has this name."),
        ("number_prefix", "x" * 11, "at most 10 characters"),
        ("hold_hours", "-1", "greater than or equal to 0"),
        ("hold_hours", "721", "less than or equal to 720"),
        ("option_paid_status", "paid", "Select a valid choice."),
    ],
)
def test_invalid_settings_are_refused(manager, merchant, shop, field, value, message):
    fields = {"name": "Other", "option_paid_status": "completed", field: value}

    page = manager.post(reverse("shop-connect", args=["woocommerce"]), fields).content.decode()

    assert message in page
    assert merchant.connections.get() == shop


def test_a_merchant_can_have_only_so_many_shops(manager, merchant):
    for number in range(MAX_CONNECTIONS):
        connect(merchant, "woocommerce", name=f"Shop {number}")

    fields = {"name": "Other", "option_paid_status": "completed"}
    page = manager.post(reverse("shop-connect", args=["woocommerce"]), fields).content.decode()

    assert "has reached the limit of 50 shops" in page


def test_an_unknown_kind_does_not_exist(manager):
    assert manager.get(reverse("shop-connect", args=["unknown"])).status_code == 404


# Health and settings


def test_the_page_shows_the_shops_health(manager, shop):
    assert "No event has arrived yet" in read(manager, "", shop)

    send(shop)

    page = read(manager, "", shop)
    assert "1 product of the shop isn’t mapped" in page
    assert "unknown product" in page and "727" not in strip_tags(page)
    assert Connection.objects.with_health().get().state == Connection.State.PARKED


def test_saved_credentials_are_kept_but_not_shown(manager, merchant):
    shop = connect(merchant, "woocommerce", values={"consumer_key": "ck_1234567", "store": "https://shop.example"})
    page = read(manager, "change", shop)
    assert "ck_1234567" not in page and "https://shop.example" in page

    fields = {"option_paid_status": "processing", "option_store": "https://other.example"}
    page = do(manager, "change", shop, name="Renamed", option_consumer_secret="cs_7654321", **fields)

    shop.refresh_from_db()
    assert json.loads(shop.credentials) == {"consumer_key": "ck_1234567", "consumer_secret": "cs_7654321"}
    assert (shop.name, shop.options["store"]) == ("Renamed", "https://other.example")
    assert "cs_7654321" not in page


def test_the_previous_secret_stays_valid_for_a_day(manager, shop, photo):
    suggested = manager.get(address("secret", shop)).context["form"]["secret"].value()

    page = do(manager, "secret", shop, secret=suggested)

    assert suggested not in page and "The previous secret is valid until" in page
    assert send(shop, suggested).status_code == send(shop, SECRET, id=1).status_code == 200


def test_a_shop_can_get_a_new_url(manager, shop, photo):
    before = Connection.objects.get()

    assert "/in/" in do(manager, "url", shop)

    assert send(before).status_code == 404
    assert send(Connection.objects.get()).status_code == 200


def test_a_shop_can_be_switched_off_and_on(manager, shop, photo):
    assert "never repeats a webhook" in read(manager, "disable", shop)
    assert "Switched off" in do(manager, "disable", shop)
    assert send(shop).status_code == 403

    assert "Shop switched on" in do(manager, "enable", shop)
    assert send(shop).status_code == 200


def test_a_removed_shop_is_gone_but_its_orders_stay(manager, shop, photo):
    send(shop)

    assert "Main shop removed" in do(manager, "remove", shop)

    assert manager.get(address("", shop)).status_code == 404
    assert send(shop).status_code == 404
    assert Order.objects.get().codes().count() == 2


def test_the_home_page_counts_shops_with_problems(manager, shop, merchant):
    connect(merchant, "woocommerce", name="Quiet shop")
    assert "unmapped product" not in manager.get(reverse("home")).content.decode()

    send(shop)

    assert ": 1 sale of an unmapped product</a>" in manager.get(reverse("home")).content.decode()


# Events


def test_an_event_shows_its_content_without_personal_data(manager, shop, photo):
    send(shop)

    page = read(manager, "event", shop, Event.objects.get())

    assert "PHOTO-PRO" in page and "16.45" not in page
    assert "Byron" not in page and "ada@example.com" not in page
    assert f"/orders/{Order.objects.get().id_key}/" in page


def test_the_log_is_filtered_by_state_and_cause(manager, shop):
    send(shop)
    send(shop, id=2, number="2", status="on-hold", date_paid_gmt=None)
    unpaid = Event.objects.get(cause=Cause.UNPAID)

    page = read(manager, "", shop, query="?state=parked&cause=unpaid")

    assert str(unpaid.key[:19]) in page and "unknown product" in page
    assert len(manager.get(address("", shop) + "?state=parked&cause=unpaid").context["page"].rows) == 1
    assert len(manager.get(address("", shop) + "?state=parked").context["page"].rows) == 2
    assert manager.get(address("", shop) + "?state=failed").context["page"].rows == []


def test_parked_events_are_processed_again(manager, shop, make_product):
    send(shop)
    make_product(sku="PHOTO-PRO")

    assert "1 event is being processed" in do(manager, "process", shop, query="?state=parked&cause=unmapped")
    process_due()

    assert Order.objects.get().codes().count() == 2


def test_a_filter_leaves_other_events_alone(manager, shop, make_product):
    send(shop)

    assert "0 events are being processed" in do(manager, "process", shop, query="?state=parked&cause=unpaid")
    assert Event.objects.get().due_at is None


def test_one_event_is_processed_again(manager, shop, make_product):
    send(shop)
    make_product(sku="PHOTO-PRO")

    assert "The event is being processed" in do(manager, "event-process", shop, Event.objects.get())
    process_due()

    assert Event.objects.get().state == "done"


def test_an_order_is_delivered_to_the_entered_address(manager, shop, photo):
    send(shop, billing={"email": ""})
    event = Event.objects.get()
    assert event.cause == Cause.NO_ADDRESS and "Enter address" in read(manager, "event", shop, event)

    do(manager, "event-address", shop, event, email="ada@byron.example")
    process_due()

    assert emails() == ["ada@byron.example"]
    assert manager.get(address("event-address", shop, event)).status_code == 404


@pytest.mark.parametrize("email", ["", "nobody", "a@b@c"])
def test_an_invalid_address_is_refused(manager, shop, photo, email):
    send(shop, billing={"email": ""})

    assert "errorlist" in do(manager, "event-address", shop, Event.objects.get(), email=email)
    assert Event.objects.get().entered_email == ""


# Products


def test_mapping_a_product_delivers_what_is_parked_for_it(manager, shop, make_product):
    send(shop)
    external = ExternalProduct.objects.get()
    assert "Photo Pro" in read(manager, "products", shop)
    lite, pro = make_product(sku="L", name="Lite"), make_product(sku="P", name="Pro")

    rows = {"product_0": lite.pk, "multiplier_0": 3, "product_1": pro.pk, "multiplier_1": ""}
    assert "1 parked event is being processed" in do(manager, "product", shop, external, **rows)
    process_due()

    assert {item.product.sku: item.quantity for item in Order.objects.get().items.all()} == {"L": 6, "P": 2}
    assert "Every product" in read(manager, "products", shop)
    assert "Lite</a> ×&nbsp;3" in read(manager, "products", shop, query="?show=mapped")


def test_an_ignored_product_is_not_waited_for(manager, shop):
    send(shop)

    do(manager, "product", shop, ExternalProduct.objects.get(), ignored="on")
    process_due()

    assert Event.objects.get().state == Event.State.IGNORED
    assert "PHOTO-PRO" in read(manager, "products", shop, query="?show=ignored")


def test_a_product_can_be_mapped_before_its_first_sale(manager, shop, make_product):
    do(manager, "product-add", shop, external_id="PHOTO-PRO", product_0=make_product(sku="P").pk, hold_hours=0)
    send(shop)

    assert Order.objects.get().is_held


def test_the_list_says_how_many_events_wait_for_a_product(manager, shop):
    for number in range(3):
        send(shop, id=number + 1)

    (row,) = manager.get(address("products", shop)).context["page"].rows
    assert (row.external_id, row.parked) == ("PHOTO-PRO", 3)


def test_a_product_cannot_be_chosen_twice(manager, shop, photo):
    rows = {"product_0": photo.pk, "product_1": photo.pk}

    page = do(manager, "product-add", shop, external_id="X", **rows)

    assert "Choose each product only once" in page
    assert not ExternalProduct.objects.exists()


def test_another_merchants_product_cannot_be_chosen(manager, shop, outsider, make_product):
    page = do(manager, "product-add", shop, external_id="X", product_0=make_product(merchant=outsider).pk)

    assert "Select a valid choice" in page


# Samples


def test_a_sample_sale_becomes_a_test_order(manager, shop, photo, sandbox):
    page = do(manager, "sample", shop, product="PHOTO-PRO", quantity=2)
    assert "sample" in page
    process_due()

    order = Order.objects.get()
    assert (order.merchant, order.codes().count(), order.email) == (sandbox, 2, "manager-sam@northlight.example")
    assert order.number in read(manager, "event", shop, Event.objects.get())


def test_a_sample_sale_uses_the_mapping(manager, shop, make_product, sandbox):
    do(manager, "product-add", shop, external_id="price_1", product_0=make_product(sku="P").pk, multiplier_0=5)

    do(manager, "sample", shop, product="price_1", quantity=1)
    process_due()

    assert Order.objects.get().items.get().quantity == 5


# Ownership and queries


PAGES = ["", "start", "change", "secret", "url", "disable", "remove", "sample", "process", "products", "product-add"]


@pytest.mark.parametrize("name", PAGES)
def test_another_merchants_shop_does_not_exist(manager, outsider, name):
    other = make_connection(outsider, "woocommerce")

    assert manager.get(address(name, other)).status_code == 404


@pytest.mark.parametrize("name", ["event", "event-process", "event-address"])
def test_another_shops_event_does_not_exist(manager, merchant, outsider, shop, name):
    other = make_connection(outsider, "woocommerce")
    send(other)

    assert manager.get(address(name, shop, Event.objects.get())).status_code == 404
    assert manager.get(address(name, other, Event.objects.get())).status_code == 404


def test_another_shops_product_does_not_exist(manager, outsider, shop):
    send(make_connection(outsider, "woocommerce"))

    assert manager.get(address("product", shop, ExternalProduct.objects.get())).status_code == 404


def test_the_lists_run_as_many_queries_for_many_rows_as_for_few(manager, merchant, shop, make_product):
    counts = []
    for number in range(2):
        for place in range(1 + 20 * number):
            sku = f"{number}-{place}"
            send(shop, id=f"{sku}", line_items=[{"id": 1, "sku": sku, "quantity": 1, "total": "1.00"}])
            connect(merchant, "stripe", name=sku)
        counts.append(
            [count_queries(manager, url) for url in (reverse("shops"), address("", shop), address("products", shop))]
        )

    assert counts[0] == counts[1]


def count_queries(client, url):
    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        client.get(url)
    return len(queries)


# Fetching missed orders


@pytest.fixture
def shop_with_keys(merchant):
    keys = {"store": "https://shop.example.com", "consumer_key": "ck_1", "consumer_secret": "cs_1"}
    return make_connection(merchant, "woocommerce", name="Main shop", values=keys)


def test_missed_orders_are_fetched_since_a_time(manager, shop_with_keys):
    since = f"{timezone.now() - timedelta(days=2):%Y-%m-%dT%H:%M}"
    page = do(manager, "fetch", shop_with_keys, since=since)

    assert "We are fetching the orders." in page and "being fetched" in page
    assert f"{CatchUp.objects.get().since:%Y-%m-%dT%H:%M}" == since


@pytest.mark.parametrize("since", ["", "yesterday", "2019-01-01T00:00", "2999-01-01T00:00"])
def test_a_wrong_time_is_refused(manager, shop_with_keys, since):
    assert "We are fetching" not in do(manager, "fetch", shop_with_keys, since=since)
    assert not CatchUp.objects.exists()


def test_the_page_tells_how_fetching_ended(manager, shop_with_keys):
    CatchUp.objects.create(connection=shop_with_keys, since=timezone.now(), due_at=None, ended_at=Now(), found=3)
    assert "3 new events" in read(manager, "", shop_with_keys)

    CatchUp.objects.update(reason="The shop answered 401. Check the API key.")
    assert "The shop answered 401." in read(manager, "", shop_with_keys)


def test_without_access_to_the_shop_there_is_nothing_to_fetch(manager, shop):
    assert "Fetch missed orders" not in read(manager, "", shop)
    assert manager.get(address("fetch", shop)).status_code == 404


def test_keys_that_are_entered_later_allow_it(manager, shop):
    values = {"option_store": "https://shop.example.com", "option_consumer_key": "ck_1", "option_consumer_secret": "c"}
    do(manager, "change", shop, name="Main shop", option_paid_status="completed", writes_back="on", **values)

    shop.refresh_from_db()
    assert shop.catches_up and shop.writes_back


def test_paypal_shows_its_webhook_id_only_after_it_has_the_url(manager, merchant):
    manager.post(reverse("shop-connect", args=["paypal"]), {"name": "PayPal", "option_environment": "live"})
    shop = merchant.connections.get()

    page = read(manager, "start", shop)

    assert shop.url in page
    assert address("change", shop) in page


@pytest.fixture
def own_shop(merchant):
    return make_connection(merchant, "generic")


def try_content(client, shop, content):
    return client.post(reverse("shop-try", args=[shop.pk]), {"content": content}).content.decode()


def test_a_request_is_tried_without_an_order(manager, own_shop, make_product):
    make_product(sku="PRO-1")
    items = [{"product": "PRO-1", "quantity": 2, "total_price": "59.98"}, {"product": "MUG", "total_price": "9.00"}]
    sale = {"order": "5001", "currency": "EUR", "customer": {"email": "ada@example.com"}, "items": items}
    page = try_content(manager, own_shop, json.dumps(sale))

    assert "This is a sale: order 5001" in page and "ada@example.com" in page
    assert "2 × EUR 59.98 → 1 × PRO-1" in page and "not mapped" in page
    assert not Event.objects.exists() and not Order.objects.exists()


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ('{"event": "refund", "order": "5001"}', "This is a refund of everything in order 5001."),
        ("event=refund&order=5001&amount=9.99", "This is a refund of 9.99 in order 5001."),
        ("{", "isn’t JSON"),
        ('{"event": "moved"}', "don’t say what events of the kind moved are"),
        ('{"event": "canceled"}', "ignore events of the kind canceled"),
        ("", "This field is required."),
    ],
)
def test_trying_tells_what_else_a_request_means(manager, own_shop, content, answer):
    assert answer in try_content(manager, own_shop, content)


def test_the_paths_are_folded_away(manager):
    page = manager.get(reverse("shop-connect", args=["generic"])).content.decode()
    folded = page.partition('<details class="field"')[2].partition("</details>")[0]

    assert 'name="option_path_email"' in folded
    assert 'name="option_header"' not in folded
