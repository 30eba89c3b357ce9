"""Sales, refunds and mappings, whatever shop they come from."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from api.tests.factories import make_payment, place
from fulfillment.actions import enter_codes, issue_from_reserve
from fulfillment.holds import approve
from merchants.sandbox import get_sandbox
from orders.models import Order
from pools.models import LicenseKey
from shops.changes import Cause
from shops.connecting import remove
from shops.models import Event, ExternalProduct, ProductMapping
from shops.processing import process, waiting, wake, wake_forgotten
from shops.tests.factories import emails, process_due
from shops.tests.senders import make_order
from work.refusals import Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


@pytest.fixture
def video(make_product):
    return make_product(sku="VIDEO-PRO")


def map_product(shop, external_id, *products, multiplier=1, **fields):
    external, _ = ExternalProduct.objects.update_or_create(connection=shop, external_id=external_id, defaults=fields)
    for product in products:
        ProductMapping.objects.create(external=external, product=product, multiplier=multiplier)
    wake(waiting(shop, Cause.UNMAPPED, [external_id]))
    process_due()


def line(**fields):
    return make_order()["line_items"][0] | fields


def enter_a_code(item):
    enter_codes(item, {1: "CODE-1"}, actor="Bo")


def take_from_the_reserve(item):
    issue_from_reserve(item, actor="Bo")


def test_mapping_a_product_processes_what_is_parked_for_it(send, shop, photo):
    order = make_order(line_items=[line(sku="", variation_id=0, product_id=93)])
    send(shop, order)
    assert Event.objects.get().waits_for == ["93"]

    map_product(shop, "93", photo)

    assert Order.objects.get().codes().count() == 2
    assert Event.objects.get().state == "done"


def test_a_three_pack_is_three_units(send, shop, photo):
    map_product(shop, "93", photo, multiplier=3)
    send(shop, make_order(line_items=[line(sku="")]))

    assert Order.objects.get().codes().count() == 6


def test_a_bundle_is_several_products(send, shop, photo, video):
    map_product(shop, "BUNDLE", photo, video)
    send(shop, make_order(line_items=[line(sku="BUNDLE")], shipping_lines=[]))

    order = Order.objects.get()
    assert [(item.product, item.units) for item in order.items.order_by("pk")] == [(photo, 2), (video, 2)]
    assert order.total() == Decimal("6.45")


def test_an_order_gets_its_known_products_first_and_the_others_once_mapped(send, shop, photo, video):
    send(shop, make_order(line_items=[line(), line(id=316, sku="CLIP", name="Clip", product_id=94)]))
    assert Order.objects.get().codes().count() == 2
    assert (Event.objects.get().state, Event.objects.get().waits_for) == ("parked", ["CLIP"])

    map_product(shop, "CLIP", video, multiplier=2)

    order = Order.objects.get()
    assert {item.product: item.activation_codes.count() for item in order.items.all()} == {photo: 2, video: 4}
    assert Event.objects.get().state == "done"


def test_ignored_products_hold_nothing_up(send, shop, photo):
    map_product(shop, "MUG", ignored=True)
    send(shop, make_order(line_items=[line(), line(id=316, sku="MUG")]))
    send(shop, make_order(id=728, number="728", line_items=[line(sku="MUG")]))

    assert sorted(Event.objects.values_list("state", flat=True)) == ["done", "ignored"]
    assert Order.objects.get().codes().count() == 2


def test_an_ignored_product_is_not_sold_although_its_sku_is_ours(send, shop, photo):
    map_product(shop, "PHOTO-PRO", ignored=True)
    send(shop, make_order())

    assert not Order.objects.exists()


def test_a_refund_before_its_sale_waits_for_it(send, shop, photo):
    send(shop, make_order(status="refunded"))
    assert Event.objects.get().cause == "no_sale"

    send(shop, make_order())
    process_due()

    assert Order.objects.get().status == "deleted"
    assert not LicenseKey.objects.issued().exists()  # nothing was left to deliver
    assert emails() == []


def test_a_part_refunded_before_its_sale_delays_it_for_a_minute(send, shop, photo):
    send(shop, make_order(status="refunded"))
    send(shop, make_order(), later=True)
    process(Event.objects.latest("pk").pk)

    order = Order.objects.get()
    assert order.held_until and timedelta(0) < order.held_until - timezone.now() <= timedelta(minutes=1)


def test_a_refund_whose_worker_died_is_found(send, shop, photo):
    send(shop, make_order(status="refunded"))
    send(shop, make_order(), later=True)
    process(Event.objects.latest("pk").pk)
    Event.objects.filter(cause="no_sale").update(due_at=None)

    wake_forgotten()
    process_due()

    assert Order.objects.get().status == "deleted"


def test_a_test_sale_and_a_real_one_may_have_the_same_id(send, merchant, shop, photo):
    send(shop, make_order(), later=True)
    Event.objects.update(is_test=True)
    process_due()
    send(shop, make_order(customer_note="real"))

    assert merchant.orders.get().codes().count() == 2
    assert get_sandbox(merchant).orders.count() == 1


def test_what_a_person_decided_about_a_variation_counts_before_the_sku(send, shop, photo, video):
    map_product(shop, "57", video, multiplier=3)
    map_product(shop, "58", ignored=True)
    lines = [line(variation_id=57, quantity=1), line(id=316, variation_id=58)]
    send(shop, make_order(line_items=lines))

    assert [(item.product, item.units) for item in Order.objects.get().items.all()] == [(video, 3)]


def test_ids_that_begin_alike_are_one_product(send, shop):
    lines = [line(sku="x" * 300 + "a"), line(id=316, sku="x" * 300 + "b")]
    send(shop, make_order(line_items=lines))

    assert ExternalProduct.objects.get().external_id == "x" * 255


def test_a_shop_that_is_connected_again_sells_no_order_twice(send, shop, make_connection, photo):
    send(shop, make_order())
    remove(shop)
    again = make_connection("woocommerce")
    send(again, make_order())
    assert Order.objects.count() == 1

    send(again, make_order(status="refunded"))
    assert Order.objects.get().status == "deleted"


def test_another_shop_with_the_same_ids_is_not_taken_for_a_removed_one(send, shop, make_connection, photo):
    send(shop, make_order())
    remove(shop)
    send(make_connection("woocommerce"), make_order(billing={"email": "bob@example.com"}))

    assert Order.objects.count() == 2


def test_a_payment_after_an_unpaid_report_leaves_nothing_parked(send, shop, photo):
    send(shop, make_order(status="on-hold", date_paid_gmt=None))
    send(shop, make_order())
    process_due()

    assert set(Event.objects.values_list("state", flat=True)) == {"done"}


@pytest.mark.parametrize("act", [enter_a_code, take_from_the_reserve])
def test_a_person_has_to_approve_a_held_order_first(send, make_connection, photo, act):
    send(make_connection("woocommerce", hold_hours=0), make_order())

    with pytest.raises(Refused, match="The order is being checked."):
        act(Order.objects.get().items.get())
    assert not Order.objects.get().codes().exists()


def test_a_product_that_is_held_is_held_when_it_is_mapped_later(send, shop, photo, video):
    send(shop, make_order(line_items=[line(), line(id=316, sku="CLIP")]))
    map_product(shop, "CLIP", video, hold_hours=0)

    counts = {item.product: item.activation_codes.count() for item in Order.objects.get().items.all()}
    assert counts == {photo: 2, video: 0}


def test_two_shops_may_have_the_same_numbers(send, shop, make_connection, photo):
    for each in (shop, make_connection("woocommerce")):
        send(each, make_order())

    assert sorted(Order.objects.values_list("number", flat=True))[0] == "727"
    assert [order.codes().count() for order in Order.objects.all()] == [2, 2]


def test_a_number_that_was_reported_to_the_api_is_another_order(send, merchant, shop, photo):
    place(merchant, make_payment(photo) | {"order": "727"})
    send(shop, make_order())

    assert Order.objects.count() == 2


def test_a_sale_without_an_address_waits_until_one_is_entered(send, shop, photo):
    send(shop, make_order(billing={"email": ""}))
    event = Event.objects.get()
    assert event.cause == "address"

    Event.objects.update(entered_email="ada@example.com")
    wake(Event.objects.all())
    process_due()

    assert Order.objects.get().email == "ada@example.com"


def test_earlier_reports_without_an_address_are_done_once_the_shop_knows_it(send, shop, photo):
    for note in ("", "call her"):
        send(shop, make_order(billing={"email": ""}, customer_note=note))
    send(shop, make_order())
    process_due()

    assert Order.objects.get().codes().count() == 2
    assert set(Event.objects.values_list("state", flat=True)) == {"done"}


def test_a_held_order_gets_its_codes_when_it_is_approved(send, make_connection, photo):
    send(make_connection("woocommerce", hold_hours=0), make_order())
    order = Order.objects.get()
    assert not order.codes().exists()

    approve(order, actor="Bo")
    process_due()

    assert order.codes().count() == 2


def test_a_hold_ends_by_the_clock(send, make_connection, photo, work):
    send(make_connection("woocommerce", hold_hours=2), make_order())
    order = Order.objects.get()
    assert order.held_until
    assert timedelta(hours=1.9) < order.held_until - timezone.now() <= timedelta(hours=2)
    work()
    assert not order.codes().exists()

    Order.objects.update(held_until=timezone.now())
    order.items.get().fulfillment.__class__.objects.update(due_at=timezone.now())
    process_due()

    assert order.codes().count() == 2


def test_new_keys_do_not_end_a_hold(send, make_connection, photo, work):
    send(make_connection("woocommerce", hold_hours=0), make_order())
    work()

    assert not Order.objects.get().codes().exists()


@pytest.mark.parametrize(("currency", "total", "stored"), [("JPY", "900", "900"), ("KWD", "1.525", "1.525")])
def test_currencies_have_their_own_decimals(send, shop, photo, currency, total, stored):
    order = make_order(currency=currency, line_items=[line(total=total, total_tax="0")], shipping_lines=[])
    send(shop, order)

    assert Order.objects.get().total() == Decimal(stored)


@pytest.mark.parametrize(
    "number", ["#1001", "id:5", ".", "x" * 80, "a/b", "1 000", "\u200b7"], ids=lambda number: number[:5]
)
def test_any_number_becomes_an_order(send, shop, photo, number):
    send(shop, make_order(number=number))

    assert Order.objects.get().codes().count() == 2


def test_test_events_become_test_orders(send, merchant, shop, photo):
    send(shop, make_order(), later=True)
    Event.objects.update(is_test=True)
    process_due()

    assert Order.objects.get().merchant == get_sandbox(merchant)
    assert not LicenseKey.objects.issued().filter(pool__merchant=merchant).exists()


def test_sales_of_a_shop_may_have_the_same_number(send, shop, photo):
    for pk in range(3):
        send(shop, make_order(id=pk, number="727"))

    assert [order.codes().count() for order in Order.objects.all()] == [2, 2, 2]


def test_two_shops_may_have_the_same_long_numbers(send, shop, make_connection, photo):
    for each in (shop, make_connection("woocommerce")):
        for pk in range(2):
            send(each, make_order(id=pk, number=f"{'x' * 60}{pk}"))

    assert Order.objects.count() == 4


@pytest.mark.parametrize("fields", [{"quantity": 0}, {"quantity": -1}, {"total": "-9.00"}])
def test_a_sale_of_nothing_is_no_order(send, shop, photo, fields):
    send(shop, make_order(line_items=[line(**fields)]))

    assert Event.objects.get().state == "ignored"
    assert not Order.objects.exists()


def test_goods_that_are_sold_by_weight_hold_nothing_up(send, shop, photo):
    send(shop, make_order(line_items=[line(), line(id=316, sku="COFFEE", quantity=0.5)]))

    assert Order.objects.get().codes().count() == 2


def test_a_part_of_a_license_is_parked(send, shop, photo):
    send(shop, make_order(line_items=[line(quantity=1.5)]))

    assert Event.objects.get().cause == "invalid"
