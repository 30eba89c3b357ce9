"""Shops that ask for a license within a request, in all dialects."""

from threading import Barrier, Thread
from urllib.parse import urlsplit

import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from delivery.models import Delivery
from fulfillment.engine import serve_waiting
from fulfillment.holds import approve
from fulfillment.tests.factories import fulfill_due
from orders.models import ActivationCode, Order
from orders.services import refund
from pools.models import LicenseKey
from pools.tests.factories import make_pool, stock
from shops import answers
from shops.models import Event
from shops.tests.dialects import DIALECTS, SECRETS
from shops.tests.senders import SECRET

pytestmark = pytest.mark.django_db


@pytest.fixture(params=DIALECTS)
def kind(request):
    return request.param


@pytest.fixture
def shop(make_connection, kind):
    return make_connection(kind, secret=SECRETS.get(kind, SECRET))


@pytest.fixture
def ask(kind):
    return DIALECTS[kind][0]


@pytest.fixture
def read(kind):
    return DIALECTS[kind][1]


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def codes():
    return [code.code for code in ActivationCode.objects.order_by("item", "unit")]


def test_a_quantity_of_zero_is_no_order(shop, ask, photo):
    response = ask(shop, quantity=0)

    assert response.status_code == 503
    assert "The quantity must be at least 1." in response.content.decode()
    assert not Order.objects.exists()


def test_a_query_is_not_answered_like_a_license(shop, client):
    """Whatever has status 200 may be shown to the customer."""
    response = client.get(urlsplit(shop.url).path, {"anything": "1"})

    assert 400 <= response.status_code < 500


def test_the_answer_has_the_codes_of_the_order(shop, ask, read, photo):
    response = ask(shop, quantity=2)

    assert response.status_code == 200
    assert read(response) == codes()
    assert len(codes()) == 2
    event = Event.objects.get()
    assert (event.state, event.order) == ("done", Order.objects.get())


def test_the_same_request_gets_the_same_answer(shop, ask, read, photo):
    first, again = ask(shop), ask(shop)

    assert read(first) == read(again) == codes()
    assert Order.objects.count() == 1


def test_another_sale_gets_another_license(shop, ask, read, photo):
    assert read(ask(shop)) != read(ask(shop, order="1002"))


def test_each_product_of_an_order_is_answered(shop, ask, read, photo, make_product, kind):
    make_product(sku="MUSIC-PRO")
    changed = {"ORDER_ITEM_ID": "10012"} if kind == "paypro" else {}
    ask(shop)

    assert len(read(ask(shop, product="MUSIC-PRO", **changed))) == 1
    assert len(codes()) == 2


def test_customers_get_no_e_mail_from_us(shop, ask, photo):
    ask(shop)

    assert not Delivery.objects.exists()


def test_an_empty_pool_is_a_temporary_error(shop, ask, read, make_product):
    pool = make_pool(shop.merchant)
    make_product(sku="PHOTO-PRO", pool=pool)
    response = ask(shop)
    assert response.status_code == 503
    assert response["Retry-After"] == "60"

    stock(pool, 1, "NEW")
    serve_waiting(pool)

    assert read(ask(shop)) == codes() != []


def test_a_part_of_the_codes_is_no_answer(shop, ask, make_product):
    make_product(1, sku="PHOTO-PRO")

    assert ask(shop, quantity=2).status_code == 503


def test_a_held_order_is_answered_after_it_is_approved(make_connection, kind, ask, read, photo):
    shop = make_connection(kind, secret=SECRETS.get(kind, SECRET), hold_hours=0)

    assert ask(shop).status_code == 503
    assert not codes()

    approve(Order.objects.get(), actor="Ada")
    fulfill_due()

    assert read(ask(shop)) == codes() != []


def test_an_unknown_product_is_a_temporary_error_until_it_is_mapped(shop, ask, read, make_product):
    assert ask(shop).status_code == 503
    assert Event.objects.get().cause == "unmapped"

    make_product(sku="PHOTO-PRO")
    Event.objects.update(due_at=timezone.now())

    assert read(ask(shop)) == codes() != []


def test_another_worker_that_has_the_event_is_waited_for(shop, ask, photo, monkeypatch):
    monkeypatch.setattr(answers, "process", lambda pk: None)

    assert ask(shop).status_code == 503


def test_no_task_competes_with_the_request(shop, ask, photo, monkeypatch, django_capture_on_commit_callbacks):
    queued: list[Event] = []
    monkeypatch.setattr(Event, "_publish", lambda event: queued.append(event))
    with django_capture_on_commit_callbacks(execute=True):
        ask(shop)

    assert not queued


def test_a_refunded_order_is_no_longer_answered(shop, ask, photo):
    ask(shop)
    refund(Order.objects.get(), amount=None, reference="", actor="Ada")

    assert ask(shop).status_code == 503


def test_a_key_that_was_handed_over_does_not_return_to_stock(shop, ask, photo):
    ask(shop)

    assert ActivationCode.objects.get().seen_at


def test_test_requests_get_test_keys(shop, ask, read, merchant, photo):
    [code] = read(ask(shop, is_test=True))

    assert Order.objects.get().merchant.live == merchant
    assert not LicenseKey.objects.filter(pool__merchant=merchant).exclude(issued_at=None).exists()
    assert code


def test_a_wrong_signature_is_rejected(shop, ask, photo):
    secret = "whsec_YW5vdGhlciBzZWNyZXQgb2YgMjQgY2hhcnM=" if shop.kind == "noventiq_request" else "another"

    assert ask(shop, secret=secret).status_code == 401
    assert not Event.objects.exists()


def test_a_bad_quantity_is_no_sale(shop, ask, photo):
    for number, value in enumerate(["x", "0", "-1", "1e9"]):
        assert ask(shop, order=f"100{number}", quantity=value).status_code == 503
    assert not codes()


def test_a_get_request_without_a_query_explains_the_address(shop, photo):
    response = Client().get(urlsplit(shop.url).path)

    assert response.status_code == 200
    assert b"POST" in response.content


@pytest.mark.django_db(transaction=True)
def test_simultaneous_requests_get_one_license(shop, ask, read, photo):
    barrier, answered = Barrier(8), []

    def request():
        barrier.wait()
        answered.append(ask(shop))
        database.close()

    threads = [Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {response.status_code for response in answered} <= {200, 503}
    found = {tuple(read(response)) for response in answered if response.status_code == 200}
    assert found == {tuple(codes())}
    assert len(codes()) == 1
