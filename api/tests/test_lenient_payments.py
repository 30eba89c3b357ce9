"""The API never rejects a payment because of data that no license depends on."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.core.management import call_command

from delivery.models import Delivery
from orders.models import ActivationCode, Order, OrderItem, OtherItem
from orders.placing import map_items

URL = "/api/v1/payments/"


@pytest.fixture
def report(api):
    def report(payment):
        return api.post(URL, json.dumps(payment), content_type="application/json")

    return report


OPTIONAL = [
    ("checkout_page",),
    ("language",),
    ("additional_parameters",),
    ("customer", "first_name"),
    ("customer", "last_name"),
    ("customer", "company"),
    ("customer", "country"),
    ("items", 0, "subscription"),
]


@pytest.mark.parametrize("empty", [None, "", "  ", [], {}], ids=repr)
@pytest.mark.parametrize("path", OPTIONAL, ids=str)
def test_empty_optional_fields_count_as_omitted(report, make_payment, product, path, empty):
    payment = make_payment(product)
    place = payment
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = empty

    first = report(payment)
    del place[path[-1]]
    again = report(payment)

    assert (first.status_code, again.status_code) == (201, 200)


def test_the_parent_of_a_first_order_can_be_an_empty_string(report, make_payment, product):
    payment = make_payment(product)
    payment["items"][0]["subscription"] = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": ""}

    assert report(payment).status_code == 201
    assert OrderItem.objects.get().parent_order == ""


@pytest.mark.parametrize(
    "sent, kept, customer_language",
    [
        ("de", "de", "de"),
        ("de_DE", "de-DE", "de"),
        ("de_DE.UTF-8", "de-DE", "de"),
        ("DE", "DE", "de"),
        ("es-419", "es-419", "es"),
        ("ru_RU@euro", "ru-RU", "ru"),
        ("tlh", "tlh", "en"),
        ("klingon, please", "en", "en"),
        (7, "en", "en"),
        ("\ud800", "en", "en"),
        ("a" * 4000, "en", "en"),
    ],
)
def test_it_accepts_any_language(report, make_payment, product, sent, kept, customer_language):
    assert report(make_payment(product, language=sent)).status_code == 201
    order = Order.objects.get()
    assert (order.language, order.customer_language) == (kept, customer_language)


@pytest.mark.parametrize(
    "field, sent, kept",
    [
        ("first_name", "A\0da", "Ada"),
        ("last_name", "B" * 201, "B" * 200),
        ("company", ["x"], ""),
        ("company", 1984, "1984"),
        ("company", True, ""),
        ("company", "\ud800Engines", "Engines"),
        ("country", "gb", "GB"),
        ("country", "Great Britain", ""),
        ("country", "G\0B", "GB"),
    ],
)
def test_customer_data_never_causes_an_error(report, make_payment, product, field, sent, kept):
    payment = make_payment(product)
    payment["customer"][field] = sent

    assert report(payment).status_code == 201
    assert getattr(Order.objects.get(), field) == kept


def test_it_drops_parameters_that_cannot_be_stored(report, make_payment, product):
    sent = {"referer1": "x" * 1001, "referer2": None, "referer3": 7, "referer4": {"deep": 1}, "a b": "x", "c\0": "x"}
    many = {f"n{number}": "x" for number in range(200)}

    assert report(make_payment(product, additional_parameters=sent | many)).status_code == 201
    kept = Order.objects.get().additional_parameters
    assert (kept["referer1"], kept["referer2"], kept["referer3"], kept["referer4"]) == ("x" * 1000, "", "7", "")
    assert "a b" not in kept and len(kept) == 100


@pytest.mark.parametrize(
    "utc_offset, day",
    [
        ("Z", 22),
        ("z", 22),
        ("+00:00", 22),
        ("-00:00", 22),
        ("+02:00", 22),
        ("+0200", 22),
        ("+02", 22),
        ("+2:00", 22),
        ("\N{MINUS SIGN}03:00", 22),
        ("+05:45", 22),
        ("+14:00", 22),
        ("-12:00", 22),
        ("+23:59", 22),
    ],
)
def test_the_customer_sees_the_date_in_the_shops_time_zone(
    report, make_payment, product, work, mailoutbox, client, utc_offset, day
):
    # A time whose date differs in UTC, whatever the sign of the offset.
    clock = "T23:30:00" if utc_offset[0] in "-\N{MINUS SIGN}" else "T00:30:00"
    response_data = report(make_payment(product, paid_at=f"2026-11-22{clock}{utc_offset}")).json()
    work()

    assert "22 November 2026" in mailoutbox[0].body
    assert "22 November 2026" in client.get(response_data["order_url"].partition("8000")[2]).content.decode()
    order = Order.objects.get()
    assert order.paid_by_shop_clock == order.paid_at
    assert f"{order.paid_by_shop_clock:%d}" == str(day)


def test_the_same_moment_in_another_time_zone_is_the_same_payment(report, make_payment, product):
    payment = make_payment(product, paid_at="2026-11-22T10:00:00Z")

    assert report(payment).status_code == 201
    assert report(payment | {"paid_at": "2026-11-22T12:00:00+02:00"}).status_code == 200
    assert Order.objects.get().paid_at == datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "currency, sent, in_response, in_mail",
    [
        ("JPY", "5000", "5000", "¥5,000"),
        ("JPY", "5000.00", "5000", "¥5,000"),
        ("KWD", "1.525", "1.525", "KWD\xa01.525"),
        ("KWD", "1.52", "1.520", "KWD\xa01.520"),
        ("EUR", "59.98", "59.98", "€59.98"),
        ("UYW", "12.3456", "12.3456", "12.3456"),
        ("CLP", "9990", "9990", "9,990"),
        ("XAU", "1.00", "1.00", "1.00"),
        ("EUR", "0.00", "0.00", "€0.00"),
    ],
)
def test_it_accepts_prices_with_the_currencys_decimals_or_two(
    report, api, make_payment, product, work, mailoutbox, currency, sent, in_response, in_mail
):
    payment = make_payment(product, currency=currency)
    payment["items"][0]["total_price"] = sent
    response = report(payment)
    work()

    assert response.status_code == 201
    assert response.json()["items"][0]["total_price"] == in_response
    assert in_mail in mailoutbox[0].body
    if float(sent):
        number = payment["order"]
        refund = api.post(f"/api/v1/orders/{number}/refund/", {"amount": sent}, format="json")
        assert refund.json()["status"] == "deleted"


def test_the_error_for_other_decimals_shows_the_right_format(report, make_payment, product):
    payment = make_payment(product, currency="KWD")
    payment["items"][0]["total_price"] = "1.5"

    assert report(payment).json()["errors"] == [
        {
            "pointer": "#/items/0/total_price",
            "detail": "A price in KWD is a string with two or 3 decimals, such as “1234.500”.",
        }
    ]


def test_the_same_price_with_other_decimals_is_the_same_payment(report, make_payment, product):
    payment = make_payment(product, currency="JPY")
    payment["items"][0]["total_price"] = "5000"
    report(payment)
    payment["items"][0]["total_price"] = "5000.00"

    assert report(payment).status_code == 200


# Items that are not ours


NOT_OURS = [
    {"product": "T-SHIRT"},
    {"product": ""},
    {"product": None},
    {"quantity": 0},
    {"quantity": -1},
    {"total_price": "-5.00"},
    {"product": "SHIPPING", "quantity": 50_000},
    {"product": "SHIPPING", "quantity": None},
    {"product": "SHIPPING", "quantity": 1.5},
    {"product": "SHIPPING", "total_price": None},
    {"product": "SHIPPING", "total_price": 4.9},
    {"product": "SHIPPING", "total_price": "1.005"},
    {"product": "SHIPPING", "subscription": {"id": "S-1", "type": "weekly"}},
    {"product": "SHIPPING", "subscription": "S-1"},
    {"product": "x" * 300},
]


@pytest.mark.parametrize("fields", NOT_OURS, ids=str)
def test_an_item_that_is_not_ours_does_not_block_the_others(report, make_payment, product, fields, api):
    payment = make_payment(product, product)
    payment["items"][1].update(fields)

    response = report(payment)

    assert response.status_code == 201
    ours, other = response.json()["items"]
    assert (ours["fulfillment"], other["fulfillment"], other["activation_codes"]) == ("done", "not_ours", [])
    assert response.json()["unmapped"] is False
    assert report(payment).status_code == 200
    assert ActivationCode.objects.count() == 1
    assert api.get(f"/api/v1/orders/{payment['order']}/").json()["items"] == response.json()["items"]


@pytest.mark.parametrize("fields", NOT_OURS, ids=str)
def test_an_order_without_any_item_of_ours_is_unmapped(report, api, make_payment, product, work, mailoutbox, fields):
    payment = make_payment(product)
    payment["items"][0].update(fields)

    first, again = report(payment), report(payment)
    work()

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["unmapped"] is True and first.json() == again.json()
    assert not ActivationCode.objects.exists() and not mailoutbox
    (listed,) = api.get("/api/v1/orders/?unmapped=true").json()["results"]
    assert listed["order"] == payment["order"]


def test_an_empty_subscription_counts_as_none(report, make_payment, product):
    payment = make_payment(product)
    payment["items"][0]["subscription"] = {"id": None, "type": "", "period": None, "parent_order": ""}

    assert report(payment).status_code == 201
    assert OrderItem.objects.get().subscription is None


@pytest.mark.parametrize(
    ("currency", "price", "shown"),
    [("JPY", "5000", "5000"), ("JPY", "500.50", "500.50"), ("JPY", "500.00", "500"), ("KWD", "1.525", "1.525")],
)
def test_it_shows_an_amount_with_the_decimals_of_its_currency(
    report, make_payment, product, support, currency, price, shown
):
    payment = make_payment(product)
    payment["currency"], payment["items"][0]["total_price"] = currency, price

    response_data = report(payment).json()

    assert response_data["items"][0]["total_price"] == shown
    assert f"{currency} {Decimal(shown):,}" in support.get("/orders/").content.decode()
    payment["items"][0]["total_price"] = shown
    assert report(payment).status_code == 200


def test_a_full_refund_includes_items_that_are_not_ours(report, api, make_payment, product):
    payment = make_payment(product, "SHIPPING", "DISCOUNT")
    payment["items"][1]["total_price"], payment["items"][2]["total_price"] = "5.00", "-4.98"
    report(payment)

    assert str(Order.objects.get().left_to_refund()) == "60.00"
    refund = api.post(f"/api/v1/orders/{payment['order']}/refund/", {"amount": "60.00"}, format="json")
    assert refund.json()["status"] == "deleted"


def test_reporting_again_once_the_product_exists_issues_the_codes(
    report, make_payment, make_product, work, mailoutbox
):
    payment = make_payment("LATER", quantity=2)
    payment["items"][0]["subscription"] = {"id": "S-1", "type": "AR", "period": "P1M", "parent_order": None}
    report(payment)
    make_product(sku="LATER")

    response, again = report(payment), report(payment)
    work()

    assert (response.status_code, response.json()["unmapped"]) == (200, False)
    (item,) = response.json()["items"]
    assert (item["fulfillment"], len(item["activation_codes"])) == ("done", 2)
    assert again.json()["items"][0]["activation_codes"] == item["activation_codes"]
    assert OrderItem.objects.get(subscription__reference="S-1")
    assert not OtherItem.objects.exists() and len(mailoutbox) == 1


def test_it_does_not_map_a_refunded_order(report, api, make_payment, make_product):
    payment = make_payment("LATER")
    report(payment)
    api.post(f"/api/v1/orders/{payment['order']}/refund/", {}, format="json")
    make_product(sku="LATER")

    assert report(payment).json()["unmapped"] is True
    assert not ActivationCode.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_items_mapped_concurrently_get_their_codes_once(report, make_payment, make_product, in_threads):
    payment = make_payment("LATER", "LATER-TOO")
    report(payment)
    make_product(sku="LATER"), make_product(sku="LATER-TOO")
    order = Order.objects.get()

    counts = in_threads(
        lambda actor: map_items(order, actor=actor), [f"worker {number}" for number in range(8)], threads=8
    )

    assert sum(counts) == 2
    assert OrderItem.objects.count() == ActivationCode.objects.count() == 2
    assert order.events.filter(kind="mapped").count() == Delivery.objects.count() == 1
    call_command("audit")


def test_a_payment_stays_the_same_after_its_product_is_renamed(report, make_payment, product):
    payment = make_payment(product)
    report(payment)
    product.sku = "RENAMED"
    product.save()

    assert report(payment).status_code == 200


# Numbers


NUMBERS = [
    "#1001",
    "gid://shopify/Order/450789469",
    "A:1",
    "100% off?",
    "A\\1",
    "A 1",
    "id:x7",
    "A/refund",
    "A/items/1",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_api_finds_an_order_by_any_number(report, api, make_payment, product, number, work, mailoutbox):
    payment = make_payment(product, order=number)
    payment["items"][0]["item"] = f"line/{number}"
    response_data = report(payment).json()
    work()
    for name in {f"id:{response_data['id']}", *([] if number in {"A/refund"} else [number])}:
        path = f"/api/v1/orders/{quote(name, safe='')}/"
        assert api.get(path).json()["order"] == number
        assert api.put(f"{path}address/", {"email": "eve@example.com"}, format="json").json()["order"] == number
        assert api.post(f"{path}link/").json()["order"] == number
        if "/items/" not in name:
            for item in (quote(f"line/{number}", safe=""), f"id:{response_data['items'][0]['id']}"):
                assert api.post(f"{path}items/{item}/resend/").status_code == 202
        assert api.post(f"{path}refund/", {"amount": "1.00"}, format="json").json()["order"] == number
    assert api.get("/api/v1/orders/", {"number": number}).json()["results"][0]["order"] == number
    assert number in mailoutbox[0].body


def test_an_id_of_another_merchants_order_is_a_404(make_api, outsider, pay, product):
    order = pay(product)

    assert make_api(outsider).get(f"/api/v1/orders/id:{order['id']}/").status_code == 404
