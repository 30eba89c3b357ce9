"""Mapping a shop's product delivers the sales that waited for it, whenever it happens."""

import pytest

from orders.models import Order
from shops import processing, samples
from shops.mapping import map_product
from shops.models import MAX_ID, Event, ExternalProduct
from shops.tests.factories import make_connection, process_due
from shops.tests.factories import send_order as send
from shops.tests.senders import make_order

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(merchant):
    return make_connection(merchant, "woocommerce")


def line(sku, **fields):
    return {"id": 1, "name": sku, "sku": sku, "quantity": 1, "total": "1.00"} | fields


@pytest.mark.parametrize("known", [True, False], ids=["bundled with a known product", "alone"])
def test_a_product_that_is_mapped_while_its_sale_is_processed_is_not_missed(shop, make_product, monkeypatch, known):
    lines = [line("PHOTO"), *([line(make_product(sku="LITE").sku, id=2)] if known else [])]
    product, end = make_product(sku="PRO"), Event.end

    def end_later(event, **fields):
        monkeypatch.setattr(Event, "end", end)
        map_product(shop, "PHOTO", {product: 1})
        return end(event, **fields)

    monkeypatch.setattr(Event, "end", end_later)
    send(shop, make_order(line_items=lines))
    process_due()

    assert Event.objects.get().state == Event.State.DONE
    assert "PRO" in Order.objects.get().items.values_list("product__sku", flat=True)


def test_mapping_wakes_only_what_waits_for_the_product(shop, make_product):
    for number, sku in enumerate(("A", "B"), start=1):
        send(shop, make_order(id=number, number=str(number), line_items=[line(sku)]))

    assert map_product(shop, "A", {make_product(): 1}) == 1
    process_due()

    assert Order.objects.get().number == "1"
    assert Event.objects.get(state="parked").waits_for == ["B"]


def test_a_mapping_can_be_taken_back(shop, make_product):
    map_product(shop, "A", {make_product(): 1})

    assert map_product(shop, "A", {}) == 0

    assert list(ExternalProduct.objects.decided()) == []


def test_an_overlong_id_is_parked_and_can_be_mapped(shop, make_product):
    send(shop, make_order(line_items=[line("x" * 400)]))
    external = ExternalProduct.objects.get()
    assert len(external.external_id) == MAX_ID

    assert map_product(shop, external.external_id, {make_product(): 1}) == 1
    process_due()

    assert Order.objects.get().codes().count() == 1


def test_processing_a_sample_again_changes_nothing(shop, make_product):
    from_shop = make_product(sku="P").sku
    event = samples.send_sample(shop, external_id=from_shop, quantity=1, email="sam@northlight.example")
    process_due()

    processing.wake(Event.objects.filter(pk=event.pk))
    process_due()

    assert Order.objects.get().codes().count() == 1
    assert Event.objects.get().state == Event.State.DONE
