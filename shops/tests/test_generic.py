"""Any shop: paths to the values, JSON or a form, and a choice of signatures."""

import base64
import hmac
import json
import time
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from merchants.sandbox import get_sandbox
from orders.models import Order
from shops.kinds import KINDS
from shops.models import Event
from shops.processing import wake
from shops.tests.factories import post, process_due
from shops.tests.senders import SECRET, sign

pytestmark = pytest.mark.django_db


def make_sale(**fields):
    return {
        "order": "5001",
        "paid_at": "2026-11-22T10:00:00+01:00",
        "currency": "EUR",
        "customer": {"email": "ada@example.com", "name": "Ada Byron", "country": "GB"},
        "items": [{"item": "1", "product": "PHOTO-PRO", "quantity": 2, "total_price": "59.98"}],
    } | fields


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def send(shop, sale, **headers):
    response = post(shop, sale, **{"Authorization": SECRET} | headers)
    process_due()
    return response


@pytest.mark.parametrize("kind", ["generic", "zapier", "n8n", "make"])
def test_a_sale_becomes_an_order(make_connection, photo, kind):
    assert send(make_connection(kind), make_sale()).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.first_name, order.last_name, order.codes().count()) == ("5001", "Ada", "Byron", 2)


def test_paths_lead_to_other_names(make_connection, photo):
    paths = {
        "order": "data.id",
        "email": "data.buyer[0].mail",
        "items": "data.lines",
        "product": "code",
        "total": "sum",
    }
    shop = make_connection("generic", values={f"path_{name}": path for name, path in paths.items()})
    line = {"code": "PHOTO-PRO", "quantity": 1, "sum": 9.5}
    send(shop, {"currency": "EUR", "data": {"id": 7, "buyer": [{"mail": "ada@example.com"}], "lines": [line]}})

    assert Order.objects.get().total() == Decimal("9.5")


def test_json_may_begin_with_a_byte_order_mark(make_connection, photo):
    send(make_connection("generic"), b"\xef\xbb\xbf" + json.dumps(make_sale()).encode())

    assert Order.objects.exists()


def test_a_form_about_one_item_is_enough(make_connection, photo):
    names = {"order": "txn", "email": "payer_email", "product": "item_number", "total": "gross", "currency": "mc"}
    shop = make_connection("generic", values={f"path_{name}": path for name, path in names.items()})
    form = {"txn": "9X", "payer_email": "ada@example.com", "item_number": "PHOTO-PRO", "gross": "9.00", "mc": "eur"}
    response = post(
        shop, urlencode(form).encode(), "application/x-www-form-urlencoded", Authorization=f"Bearer {SECRET}"
    )
    process_due()

    assert response.status_code == 200
    assert Order.objects.get().codes().count() == 1


@pytest.mark.parametrize(("amount", "status"), [("20.00", "paid"), (None, "deleted"), ("59.98", "deleted")])
def test_a_refund_is_recorded(make_connection, photo, amount, status):
    shop = make_connection("generic")
    send(shop, make_sale())
    for _ in range(2):
        send(shop, {"event": "refund", "order": "5001", "refund": "R-1", "amount": amount})

    order = Order.objects.get()
    assert order.status == status
    assert order.refunds.count() == 1


def test_a_subscription_is_kept(make_connection, photo):
    item = make_sale()["items"][0] | {"subscription": {"id": "SUB-1", "period": "P1M"}}
    shop = make_connection("generic")
    for number in ("5001", "5002"):
        send(shop, make_sale(order=number, items=[item]))

    assert set(Order.objects.values_list("items__subscription__reference", flat=True)) == {"SUB-1"}


def test_a_test_event_becomes_a_test_order(make_connection, photo, merchant):
    send(make_connection("generic"), make_sale(test=True))

    assert Order.objects.get().merchant == get_sandbox(merchant)


def test_ignored_events_change_nothing(make_connection, photo):
    send(make_connection("generic"), make_sale(event="canceled"))

    assert Event.objects.get().state == "ignored"
    assert not Order.objects.exists()


@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_an_hmac_signs_the_body(make_connection, photo, encoding):
    values = {"signature": "hmac", "header": "X-Signature", "encoding": encoding, "prefix": "sha256="}
    shop = make_connection("generic", values=values)
    body = json.dumps(make_sale()).encode()

    assert post(shop, body, X_Signature=f"sha256={sign(body, form=encoding)}").status_code == 200
    assert post(shop, body + b" ", X_Signature=f"sha256={sign(body, form=encoding)}").status_code == 401


@pytest.mark.parametrize(("age", "status"), [(0, 200), (301, 401), (-301, 401)])
def test_standard_webhooks_are_verified_with_their_time(make_connection, photo, age, status):
    key = base64.b64encode(b"k" * 24).decode()
    shop = make_connection("generic", secret=f"whsec_{key}", values={"signature": "standard"})
    body, at = json.dumps(make_sale()).encode(), str(int(time.time()) - age)
    mac = hmac.digest(b"k" * 24, f"msg_1.{at}.".encode() + body, "sha256")
    headers = {
        "webhook_id": "msg_1",
        "webhook_timestamp": at,
        "webhook_signature": f"v1,{base64.b64encode(mac).decode()}",
    }

    assert post(shop, body, **headers).status_code == status


@pytest.mark.parametrize("given", ["", "wrong", "Bearer wrong"])
def test_a_wrong_secret_is_rejected(make_connection, given):
    assert send(make_connection("generic"), make_sale(), Authorization=given).status_code == 401


def test_without_a_secret_the_url_is_enough(make_connection, photo):
    send(make_connection("generic", values={"signature": "none"}), make_sale(), Authorization="")

    assert Order.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_to_do_and_what_happens_while_we_are_down(kind):
    assert KINDS[kind].steps and KINDS[kind].while_down and KINDS[kind].name


@pytest.mark.parametrize(
    ("event", "state"), [("Refunded", "done"), ("order.paid", "done"), ("order.created", "parked")]
)
def test_only_known_events_are_sales_and_refunds(make_connection, photo, event, state):
    shop = make_connection("generic")
    send(shop, make_sale())
    send(shop, make_sale(event=event))

    assert Event.objects.latest("pk").state == state
    assert Order.objects.get().status == ("deleted" if event == "Refunded" else "paid")


def test_the_content_type_does_not_decide_how_a_body_is_read(make_connection, photo):
    shop = make_connection("generic", values={"signature": "hmac", "header": "X-Signature"})
    customer = {"email": "ada@example.com", "name": "x&order=FREE&product=PHOTO-PRO"}
    body = json.dumps(make_sale(customer=customer)).encode()
    for content_type in ("application/json", "application/x-www-form-urlencoded"):
        assert post(shop, body, content_type, X_Signature=sign(body, form="hex")).status_code == 200
    process_due()

    assert Order.objects.get().number == "5001"


def test_a_partial_refund_without_a_number_is_recorded_once_per_event(make_connection, photo):
    shop = make_connection("generic")
    send(shop, make_sale())
    send(shop, {"event": "refund", "order": "5001", "amount": "20.00"})
    wake(Event.objects.all())
    process_due()

    assert Order.objects.get().refunds.count() == 1


def test_a_sale_that_names_no_product_is_parked(make_connection, photo):
    """The path of the product is probably wrong."""
    items = [{"sku": "PHOTO-PRO", "quantity": 1}, {"sku": "MUG", "quantity": 1}]
    send(make_connection("generic"), make_sale(items=items))

    assert (Event.objects.get().state, Event.objects.get().reason) == ("parked", "items[0].product is missing.")


def test_amounts_of_shops_that_calculate_with_floats_are_rounded(make_connection, photo):
    shop = make_connection("generic")
    send(shop, make_sale(items=[{"product": "PHOTO-PRO", "quantity": 3, "total_price": 3 * 1.1}]))
    assert Order.objects.get().total() == Decimal("3.30")

    send(shop, {"event": "refund", "order": "5001", "amount": 3.2999999999999998})
    assert Order.objects.get().status == "deleted"
