"""Broken and hostile variants of every recorded event: no 5xx, no half-made order, never a second license.

    MUTATIONS=1000 python3 run.py test shops/tests/test_mutations.py

tries a thousand of each. Signatures are left out: anyone who signs could send anything.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db.models import Count, F, Q

from orders.models import Order, OrderItem
from shops.changes import Cause, Parked
from shops.kinds import KINDS
from shops.kinds.base import ShopKind
from shops.models import Event
from shops.reading import Node, read_json
from shops.tests import (
    dialects,
    test_fastspring,
    test_generic,
    test_gumroad,
    test_lemonsqueezy,
    test_noventiq,
    test_paddle,
    test_paypal,
    test_shopify,
    test_standard_webhooks,
    test_stripe,
)
from shops.tests.factories import post, process_due
from shops.tests.mutations import mutate
from shops.tests.senders import make_order
from work.attempts import Failure
from work.models import Incident

pytestmark = pytest.mark.django_db

COUNT = int(os.environ.get("MUTATIONS", "25"))
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass
class Recorded:
    """What a kind of shop sends, and what its API answers."""

    bodies: list[Any]
    answers: list[Any] = field(default_factory=list)
    content_type: str = JSON
    values: dict[str, str] = field(default_factory=dict)

    def encode(self, body: Any) -> bytes:
        return (urlencode(body) if self.content_type == FORM else json.dumps(body)).encode()


def stripe(topic, item):
    return test_stripe.make_event(topic, item)


def paddle(topic, item):
    return test_paddle.make_event(topic, item)


def paypal(topic, item):
    return test_paypal.make_event(topic, item)


def answer_of_paypal(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """One answer for several questions: a token, a subscription and its payments, an order, or what else is made."""
    common = {"access_token": "A21"} | test_paypal.make_subscription() | test_paypal.make_list()
    return common | test_paypal.make_order() | make()


def asking(make: Callable[[], dict[str, str]]) -> Recorded:
    return Recorded([make()], content_type=FORM)


RECORDED = {
    "woocommerce": Recorded(
        [make_order(), make_order(refunds=[{"id": 1, "total": "-1.00"}]), make_order(status="refunded")]
    ),
    "shopify": Recorded([test_shopify.make_order(), test_shopify.make_refund(), test_shopify.make_dispute()]),
    "stripe": Recorded(
        [
            stripe("checkout.session.completed", test_stripe.make_session()),
            stripe("invoice.paid", test_stripe.make_invoice()),
            stripe("refund.created", test_stripe.make_refund()),
            stripe("charge.dispute.created", test_stripe.make_dispute()),
        ],
        [test_stripe.make_list(test_stripe.make_line())],
        values={"api_key": "rk_live_1"},
    ),
    "paddle": Recorded(
        [
            paddle("transaction.completed", test_paddle.make_transaction()),
            paddle("adjustment.updated", test_paddle.make_adjustment()),
        ],
        [{"data": test_paddle.make_customer()}],
        values={"api_key": "pdl_live_1"},
    ),
    "paypal": Recorded(
        [
            paypal("PAYMENT.CAPTURE.COMPLETED", test_paypal.make_capture()),
            paypal("PAYMENT.SALE.COMPLETED", test_paypal.make_payment()),
            paypal("PAYMENT.CAPTURE.REFUNDED", test_paypal.make_refund()),
        ],
        [
            answer_of_paypal(make)
            for make in (test_paypal.make_order, test_paypal.make_capture, test_paypal.make_refund)
        ],
        values={"client_id": "id", "client_secret": "secret", "webhook_id": test_paypal.WEBHOOK_ID},
    ),
    "fastspring": Recorded(
        [
            {"events": [test_fastspring.make_event()]},
            {"events": [test_fastspring.make_event("subscription.charge.completed", test_fastspring.make_charge())]},
            {"events": [test_fastspring.make_event("return.created", test_fastspring.make_return())]},
        ]
    ),
    "lemonsqueezy": Recorded(
        [test_lemonsqueezy.make_order(), test_lemonsqueezy.make_invoice()],
        [test_lemonsqueezy.PRICE, test_lemonsqueezy.YEARLY, {"data": test_lemonsqueezy.SUBSCRIPTION}],
        values={"api_key": "key"},
    ),
    "gumroad": Recorded(
        [test_gumroad.make_ping()],
        [{"success": True, "sale": test_gumroad.make_sale()}],
        FORM,
        {"access_token": "token"},
    ),
    "noventiq": Recorded([test_noventiq.make_webhook(), test_noventiq.make_webhook("product.returned")]),
    "standard_webhooks": Recorded([test_standard_webhooks.make_payment(), test_standard_webhooks.make_refund()]),
    "generic": Recorded([test_generic.make_sale(), {"event": "refund", "order": "5001", "refund": "R-1"}]),
    "fastspring_request": asking(dialects.make_fastspring),
    "twocheckout": asking(dialects.make_twocheckout),
    "paypro": asking(dialects.make_paypro),
    "noventiq_request": asking(dialects.make_noventiq),
    "plain": asking(dialects.make_plain),
}


def test_every_kind_is_tried():
    assert KINDS.keys() - RECORDED.keys() == {"zapier", "n8n", "make"}  # those are generic ones


@pytest.mark.parametrize("kind", RECORDED)
def test_no_event_breaks_it(make_connection, make_product, monkeypatch, kind):
    make_products(make_product, keys=100)
    recorded, random = RECORDED[kind], Random(20)
    shop = make_connection(kind, values=recorded.values)
    leave_out_signatures(monkeypatch, kind)
    monkeypatch.setattr(ShopKind, "ask", lambda *args, **options: answer(recorded, random))

    for body in recorded.bodies:
        for _ in range(COUNT):
            sent = mutate(random, recorded.encode(body))
            response = post(shop, sent, recorded.content_type, **make_id(random))
            assert response.status_code < 500 or response.headers.get("Retry-After"), sent
        process_due()

    assert list(Incident.objects.values_list("traceback", flat=True)) == []
    assert not Event.objects.filter(reason__startswith="Something went wrong")
    check_orders()


def make_products(make_product, **fields):
    for sku in ("PHOTO-PRO", "photo", "6"):  # what Gumroad and Lemon Squeezy call it
        make_product(sku=sku, **fields)


def make_id(random: Random) -> dict[str, str]:
    """Headers with the id of a message, by which some kinds tell events apart."""
    name = f"msg_{random.random()}"
    return {"webhook_id": name, "PayPal_Transmission_Id": name}


def leave_out_signatures(monkeypatch, kind):
    for base in KINDS[kind].__mro__:
        if "verify" in vars(base):
            monkeypatch.setattr(base, "verify", lambda self, incoming: None)


def answer(recorded: Recorded, random: Random) -> Node:
    """What the shop's API answers: mostly what it should."""
    if random.random() < 0.1:
        raise random.choice([Failure("The shop answered 503."), Parked(Cause.ACCESS, "The shop answered 401.")])
    body = json.dumps(random.choice(recorded.answers or [{}])).encode()
    return read_json(mutate(random, body) if random.random() < 0.3 else body)


def check_orders():
    """Each order is whole: known to its shop, with items, and with exactly the codes that it is done with."""
    assert not Order.objects.filter(sale_references=None).exists()
    assert not Order.objects.filter(items=None).exists()
    items = OrderItem.objects.annotate(codes=Count("activation_codes", filter=Q(activation_codes__withdrawn_at=None)))
    assert not items.filter(fulfillment__status="done").exclude(codes=F("units")).exists()
    assert not items.filter(codes__gt=F("units")).exists()
    own = Order.objects.annotate(own=Count("sale_references", filter=Q(sale_references__is_own=True)))
    assert not own.exclude(own=1).exists()
