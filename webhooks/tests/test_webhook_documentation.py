"""docs/webhooks.md is accurate."""

import json
import re
from pathlib import Path

import pytest

from delivery.events import emit_bounce
from orders.models import Order
from orders.services import refund, reinstate
from webhooks import sending as webhooks
from webhooks.models import TEST_EVENT, WebhookEndpoint, WebhookEvent

PAGE = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def shape(value):
    """Return a payload with its values replaced by their types."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value).__name__


@pytest.fixture
def endpoint(merchant, receiver):
    return WebhookEndpoint.objects.create(
        merchant=merchant, url=receiver.url, events=WebhookEvent.values, secret=WebhookEndpoint.make_secret()
    )


@pytest.mark.django_db(transaction=True)
def test_every_event_matches_its_documented_example(endpoint, receiver, pay, make_product, make_pool, work):
    product = make_product(pool=make_pool(2, threshold=1))
    webhooks.send_test(endpoint)
    pay(product)
    pay(product)
    work()
    order = Order.objects.earliest("pk")
    emit_bounce(order.deliveries.get())
    refund(order, actor="shop")
    reinstate(order, actor="shop")
    work()

    examples = [json.loads(block) for block in blocks("json")]
    received = [json.loads(received.body) for received in receiver.received]
    assert {example["type"] for example in examples} == {*WebhookEvent.values, TEST_EVENT}
    assert {event["type"]: shape(event) for event in received} == {event["type"]: shape(event) for event in examples}
    assert all(f"`{event}`" in PAGE for event in WebhookEvent.values)


def test_the_documented_code_recognizes_genuine_webhooks(endpoint, receiver, work):
    code: dict = {}
    for block in blocks("python"):
        exec(block, code)
    webhooks.send_test(endpoint)
    work()

    (received,) = receiver.received
    assert code["receive"](received.body, received.headers, endpoint.secret)["type"] == TEST_EVENT
    assert code["verify"](endpoint.secret, received.headers, received.body)
    assert not code["verify"](endpoint.secret, received.headers, received.body + b" ")
    assert not code["verify"](WebhookEndpoint.make_secret(), received.headers, received.body)
    received.headers["webhook-timestamp"] = "1700000000"
    assert not code["verify"](endpoint.secret, received.headers, received.body)
