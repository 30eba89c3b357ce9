"""Every recorded event, repeated 20 times at once while tasks translate it: one event, one order, its codes once."""

from collections.abc import Callable
from typing import Any

import pytest

from orders.models import Order, Refund
from shops.kinds.base import ShopKind
from shops.models import Event
from shops.processing import process
from shops.reading import Node
from shops.tests.factories import post, process_due
from shops.tests.test_mutations import RECORDED, Recorded, check_orders, leave_out_signatures, make_products
from work.models import Incident

REPLAYS = 20
# Kinds whose recorded events are a sale and a renewal.
RENEWING = {"stripe", "paypal", "fastspring", "lemonsqueezy"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", RECORDED)
def test_simultaneous_replays_are_one_order(make_connection, make_product, monkeypatch, in_threads, kind):
    make_products(make_product)
    recorded = RECORDED[kind]
    shop = make_connection(kind, values=recorded.values)
    leave_out_signatures(monkeypatch, kind)
    monkeypatch.setattr(ShopKind, "ask", answer_rightly(recorded))

    for number, body in enumerate(recorded.bodies):
        headers = {"webhook_id": f"msg_{number}", "PayPal_Transmission_Id": f"msg_{number}"}

        def replay(_: int, sent: bytes = recorded.encode(body), headers: dict[str, str] = headers) -> int:
            response = post(shop, sent, recorded.content_type, **headers)
            for pk in Event.objects.due().values_list("pk", flat=True):
                process(pk)
            return response.status_code

        assert set(in_threads(replay, range(REPLAYS), threads=REPLAYS)) <= {200, 503}
        process_due()

    assert Event.objects.count() == len(recorded.bodies)
    assert set(Event.objects.values_list("state", flat=True)) == {"done"}
    assert Order.objects.count() == (2 if kind in RENEWING else 1)
    assert Refund.objects.count() == Refund.objects.values("order", "reference").distinct().count()
    assert not Incident.objects.exists()
    check_orders()


def answer_rightly(recorded: Recorded) -> Callable[..., Node]:
    def ask(kind: ShopKind, method: str, url: str, **options: Any) -> Node:
        answers = [Node(answer) for answer in recorded.answers]
        names = [answer["data"]["id"].text() or answer["id"].text("?") for answer in answers]
        return next((answer for answer, name in zip(answers, names, strict=True) if f"/{name}" in url), answers[0])

    return ask
