"""The inbox stores each event once, whatever is posted and however often."""

import json
from urllib.parse import urlsplit

import pytest
from django.test import Client

from orders.models import Order
from shops.connecting import change_secret
from shops.models import Connection, Event
from shops.processing import process
from shops.tests.factories import post, process_due
from shops.tests.senders import SECRET, make_order, sign


def deliver(shop, order, secret=SECRET):
    body = json.dumps(order).encode()
    return post(shop, body, X_WC_Webhook_Signature=sign(body, secret))


@pytest.mark.django_db(transaction=True)
def test_simultaneous_replays_are_one_event_and_one_order(shop, make_product, in_threads):
    make_product(sku="PHOTO-PRO")

    responses = in_threads(lambda _: deliver(shop, make_order()), range(20), threads=10)
    process_due()

    assert {response.status_code for response in responses} == {200}
    assert Event.objects.count() == 1
    assert Order.objects.get().codes().count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_storm_of_updates_is_one_order(shop, make_product, in_threads):
    make_product(sku="PHOTO-PRO")
    orders = [make_order(customer_note=f"update {number}") for number in range(20)]
    for order in orders:
        deliver(shop, order)

    in_threads(process, list(Event.objects.values_list("pk", flat=True)), threads=10)

    assert Order.objects.get().codes().count() == 2
    assert set(Event.objects.values_list("state", flat=True)) == {"done"}


@pytest.mark.django_db
def test_two_secrets_are_valid_while_the_shop_changes_them(shop):
    change_secret(shop, "the next one")

    assert [
        deliver(shop, make_order(id=number), secret).status_code
        for number, secret in enumerate((SECRET, "the next one"))
    ] == [200, 200]
    assert deliver(shop, make_order(), "another").status_code == 401


@pytest.mark.django_db
def test_an_unknown_token_is_a_404(shop):
    assert Client().post("/in/unknown/", b"{}", "application/json").status_code == 404


@pytest.mark.django_db
def test_the_final_slash_of_the_url_may_be_missing(shop):
    body = json.dumps(make_order()).encode()
    path = urlsplit(shop.url).path.rstrip("/")
    headers = {"X-WC-Webhook-Signature": sign(body)}

    assert Client().post(path, body, "application/json", headers=headers).status_code == 200
    assert Event.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "head"])
def test_the_url_can_be_checked(shop, method):
    path = shop.url.partition("//")[2].partition("/")[2]
    assert getattr(Client(), method)(f"/{path}").status_code == 200


@pytest.mark.django_db
def test_a_disabled_connection_takes_nothing(shop):
    Connection.objects.update(disabled_at="2026-11-22T10:00:00Z")

    assert deliver(shop, make_order()).status_code == 403
    assert not Event.objects.exists()


@pytest.mark.django_db
def test_a_large_body_is_refused(shop, settings):
    settings.API_BODY_LIMIT = 1000

    assert deliver(shop, make_order(note="x" * 1000)).status_code == 413


@pytest.mark.django_db
def test_the_body_is_encrypted(shop):
    deliver(shop, make_order())

    stored = Event.objects.get()
    assert b"ada@example.com" not in bytes(stored.__dict__["body"].ciphertext)
    assert b"ada@example.com" in bytes(stored.body)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"', b"{", b"\xff", b"[" * 100_000, b'{"id": NaN}', b'{"id": 1}']
)
def test_signed_nonsense_is_accepted_and_set_aside(shop, body):
    assert post(shop, body, X_WC_Webhook_Signature=sign(body)).status_code == 200
    process_due()

    assert Event.objects.get().state in {"parked", "ignored"}
