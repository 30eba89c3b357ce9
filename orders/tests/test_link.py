"""The link to the customer's order page: secret and revocable."""

import base64

import pytest
from django.db import IntegrityError, transaction

from orders.models import ActivationCode, Order, OrderEvent
from orders.services import OrderClosed, renew_link, revoke_link, show_to_customer


@pytest.fixture
def order(pay, product):
    pay(product, order="A1")
    return Order.objects.get()


def events():
    return list(OrderEvent.objects.order_by("pk").values_list("kind", "happened_by"))


def find(token):
    return Order.objects.with_link_token(token).first()


def test_links_have_192_random_bits_independent_of_the_order(pay, product):
    tokens = [pay(product)["order_url"].rstrip("/").rpartition("/")[2] for _ in range(5)]

    assert {len(base64.urlsafe_b64decode(token)) for token in tokens} == {24}
    # Tokens made from one counter, clock or order would share letters at the same positions.
    assert all(len(set(letters)) > 1 for letters in zip(*tokens, strict=True))


def test_a_revoked_link_does_not_work(order):
    token = order.link_token

    assert revoke_link(order, actor="Sam")

    assert find(token) is None
    assert (order.url, Order.objects.get().url) == ("", "")
    assert events() == [("revoke", "Sam")]


def test_revoking_twice_records_one_event(order):
    revoke_link(order, actor="Sam")

    assert not revoke_link(order, actor="Bo")
    assert events() == [("revoke", "Sam")]


@pytest.mark.parametrize("revoked", [False, True])
def test_only_the_renewed_link_works(order, revoked):
    old = order.link_token
    if revoked:
        revoke_link(order, actor="Sam")

    renew_link(order, actor="Bo")

    assert find(old) is None
    assert find(order.link_token) == order and order.link_token in order.url
    assert events()[-1] == ("renew", "Bo")


def test_the_database_rejects_half_a_link(order):
    with pytest.raises(IntegrityError), transaction.atomic():
        Order.objects.update(link_token=None)


def test_the_api_revokes_and_renews(api, order):
    revoked = api.delete("/api/v1/orders/A1/link/")
    assert (revoked.status_code, revoked.json()["order_url"]) == (200, None)

    renewed = api.post("/api/v1/orders/A1/link/")
    assert renewed.json()["order_url"] == Order.objects.get().url != order.url
    assert events() == [("revoke", "API key shop-1"), ("renew", "API key shop-1")]


def test_an_outsider_gets_a_404(order, outsider, make_api):
    for method in ("post", "delete"):
        assert getattr(make_api(outsider), method)("/api/v1/orders/A1/link/").status_code == 404
    assert find(order.link_token) == order


# Showing codes


def test_codes_are_shown_through_the_link(order):
    (code,) = show_to_customer(order, first=1, count=50)

    assert "-KEY-" in code.code
    assert ActivationCode.objects.get().seen_at


def test_codes_are_not_shown_after_the_link_was_renewed(order):
    renew_link(Order.objects.get(), actor="Sam")

    with pytest.raises(OrderClosed):
        show_to_customer(order, first=1, count=50)
    assert ActivationCode.objects.get().seen_at is None
