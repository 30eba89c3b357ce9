"""Undoing a full refund, by a person or by the shop."""

from decimal import Decimal

import pytest
from django.core.management import call_command

from delivery.models import Delivery
from fulfillment.actions import ReturnRefused, return_to_stock
from fulfillment.history import order_history
from fulfillment.models import Fulfillment
from merchants.models import CheckoutPage
from orders.models import ActivationCode, Order
from orders.services import RefundRefused, ReinstateRefused, refund, reinstate
from pools.models import KeyMovement, LicenseKey
from webhooks.models import WebhookEndpoint, WebhookMessage

URL = "/api/v1/payments/"


@pytest.fixture
def payment(make_payment, make_product):
    return make_payment(make_product(5), quantity=2)


@pytest.fixture
def order(api, payment):
    assert api.post(URL, payment, format="json").status_code == 201
    return Order.objects.get()


def codes_of(order):
    return list(order.codes().values_list("pk", flat=True))


def test_keys_leave_quarantine_and_the_codes_stay_the_same(order, client, work, mailoutbox):
    codes = codes_of(order)
    page = order.url.partition("8000")[2]
    work()
    refund(order, actor="Sam")
    assert client.get(page).status_code == 404
    reinstate(order, actor="Olivia")
    work()

    order.refresh_from_db()
    assert (order.status, order.ended_at, str(order.left_to_refund())) == ("paid", None, "59.98")
    assert codes_of(order) == codes
    assert list(LicenseKey.objects.issued().values_list("withdrawn_because", flat=True)) == ["", ""]
    assert KeyMovement.objects.latest("pk").moved_by == "Olivia"
    assert b"are ready" in client.get(page).content
    assert Fulfillment.objects.get().status == "done"
    assert len(mailoutbox) == 1  # nothing is e-mailed again
    assert [(line.text, line.actor) for line in order_history(order)][-1] == ("Full refund undone", "Olivia")


def test_an_email_canceled_by_the_refund_is_sent(order, work, mailoutbox):
    refund(order, actor="Sam")
    work()
    assert Delivery.objects.get().status == "canceled"
    reinstate(order, actor="Sam")
    work()

    assert Delivery.objects.get().status == "sent" and len(mailoutbox) == 1


def test_a_key_that_was_returned_to_stock_is_replaced(order, work, mailoutbox):
    CheckoutPage.objects.update(delivery_allowed=False)
    refund(order, actor="Sam")
    first, second = order.codes().select_related("item")
    return_to_stock(first, actor="Sam")
    CheckoutPage.objects.update(delivery_allowed=True)
    reinstate(order, actor="Sam")
    work()

    now = list(order.codes())
    assert [code.unit for code in now] == [1, 2]
    assert now[1] == second and now[0] != first
    assert LicenseKey.objects.issued().count() == 2
    assert Fulfillment.objects.get().status == "done"


def test_a_reissued_key_cant_be_returned_through_its_old_code(order):
    CheckoutPage.objects.update(delivery_allowed=False)
    Delivery.objects.all().delete()
    old = order.codes().select_related("item")[0]
    refund(order, actor="Sam")
    return_to_stock(old, actor="Sam")
    LicenseKey.objects.available().exclude(fingerprint=old.fingerprint).update(withdrawn_at="2026-01-01T00:00:00Z")
    reinstate(order, actor="Sam")
    refund(order, actor="Sam")

    with pytest.raises(ReturnRefused):
        return_to_stock(old, actor="Sam")
    assert LicenseKey.objects.get(fingerprint=old.fingerprint).withdrawn_because == "refunded"


def test_the_item_waits_if_there_is_no_key_left(order, make_payment, api, payment, work):
    refund(order, actor="Sam")
    Delivery.objects.update(attempts=0)
    return_to_stock(order.codes().select_related("item")[0], actor="Sam")
    LicenseKey.objects.available().update(withdrawn_at="2026-01-01T00:00:00Z")
    reinstate(order, actor="Sam")

    assert Fulfillment.objects.get().status == "waiting" and order.codes().count() == 1


def test_an_earlier_partial_refund_stays(order):
    refund(order, amount=Decimal("9.98"), actor="Sam")
    refund(order, actor="Sam")
    reinstate(order, actor="Olivia")

    assert str(order.left_to_refund()) == "50.00"
    assert [bool(refunded.undone_at) for refunded in order.refunds.order_by("pk")] == [False, True]


@pytest.mark.parametrize("amount", [None, Decimal("1.00")])
def test_only_a_full_refund_can_be_undone(order, amount):
    if amount:
        refund(order, amount=amount, actor="Sam")

    with pytest.raises(ReinstateRefused, match="can only undo a full refund"):
        reinstate(order, actor="Sam")


def test_an_order_can_be_refunded_and_reinstated_repeatedly(order):
    for _ in range(3):
        refund(order, actor="Sam")
        reinstate(order, actor="Sam")

    assert Order.objects.get().status == "paid" and order.codes().count() == 2
    refund(order, actor="Sam")
    assert LicenseKey.objects.withdrawn().count() == 2


def test_a_late_report_doesnt_repeat_an_undone_refund(order):
    refund(order, reference="R-1", actor="shop")
    reinstate(order, actor="Sam")

    assert refund(order, reference="R-1", actor="shop").status == "paid"
    assert refund(order, reference="R-2", actor="shop").status == "deleted"


def test_it_sends_a_webhook(order, merchant):
    WebhookEndpoint.objects.create(merchant=merchant, url="https://shop.example/", events=["order.reinstated"])
    refund(order, actor="Sam")
    reinstate(order, actor="Sam")

    message = WebhookMessage.objects.get()
    assert (message.event, message.data["order"]) == ("order.reinstated", order.number)
    assert message.data["items"] == [{"item": "1", "product": order.items.get().product.sku, "quantity": 2}]


# By the shop


def test_the_shop_undoes_a_refund_by_reporting_the_payment_again(api, payment, order):
    codes = codes_of(order)
    refund(order, actor="shop")
    plain = api.post(URL, payment, format="json")
    again = api.post(URL, payment | {"reinstated_at": "2026-11-23T10:00:00+01:00"}, format="json")

    assert (plain.status_code, plain.json()["status"]) == (200, "deleted")
    assert (again.status_code, again.json()["status"]) == (200, "paid")
    assert codes_of(order) == codes
    assert order.events.get(kind="reinstated").happened_by == "API key shop-1"


def test_a_repeated_report_doesnt_undo_a_later_refund(api, payment, order):
    refund(order, actor="shop")
    report = payment | {"reinstated_at": "2026-11-23T10:00:00Z"}
    assert api.post(URL, report, format="json").json()["status"] == "paid"
    assert api.post(URL, report, format="json").json()["status"] == "paid"
    refund(order, actor="shop")

    assert api.post(URL, report, format="json").json()["status"] == "deleted"
    earlier_report = payment | {"reinstated_at": "2026-11-23T09:59:59Z"}
    assert api.post(URL, earlier_report, format="json").json()["status"] == "deleted"
    later_report = payment | {"reinstated_at": "2026-11-24T10:00:00Z"}
    assert api.post(URL, later_report, format="json").json()["status"] == "paid"


def test_a_time_in_the_future_doesnt_block_a_later_report(api, order, payment):
    refund(order, actor="Sam")
    future_report = payment | {"reinstated_at": "2999-01-01T00:00:00Z"}
    assert api.post(URL, future_report, format="json").json()["status"] == "paid"
    refund(Order.objects.get(), actor="Sam")

    assert api.post(URL, future_report, format="json").json()["status"] == "deleted"
    present_report = payment | {"reinstated_at": "2026-11-24T10:00:00Z"}
    assert api.post(URL, present_report, format="json").json()["status"] == "paid"


def test_staff_and_the_shop_can_both_undo_a_refund(api, payment, order):
    refund(order, actor="shop")
    reinstate(order, actor="Sam")
    report = payment | {"reinstated_at": "2026-11-23T10:00:00Z"}

    assert api.post(URL, report, format="json").status_code == 200
    refund(order, actor="shop")
    assert api.post(URL, report, format="json").json()["status"] == "deleted"


@pytest.mark.parametrize("empty", [None, ""])
def test_a_report_with_an_empty_time_undoes_nothing(api, payment, order, empty):
    refund(order, actor="shop")

    assert api.post(URL, payment | {"reinstated_at": empty}, format="json").json()["status"] == "deleted"


def test_it_rejects_an_invalid_time(api, payment, order):
    response = api.post(URL, payment | {"reinstated_at": "yesterday"}, format="json")

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "#/reinstated_at")


# Concurrency


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round", range(3))
def test_concurrent_refunds_returns_and_reinstatements_neither_lose_nor_duplicate_keys(order, in_threads, work, round):
    Delivery.objects.all().delete()  # otherwise nothing could be returned
    refund(order, actor="Sam")
    codes = list(order.codes().select_related("item"))

    def act(step):
        try:
            if step % 3 == 0:
                reinstate(order, actor=f"worker {step}")
            elif step % 3 == 1:
                refund(order, actor=f"worker {step}")
            else:
                return_to_stock(codes[step // 3 % 2], actor=f"worker {step}")
        except (RefundRefused, ReinstateRefused, ReturnRefused):
            return 0
        return 1

    in_threads(act, list(range(24)), threads=6)

    call_command("audit", "--texts")
    if Order.objects.get().status == "deleted":
        assert not LicenseKey.objects.issued().exists()
        reinstate(order, actor="Sam")
    work()
    call_command("audit", "--texts")
    assert LicenseKey.objects.issued().count() == order.codes().count() == 2
    assert ActivationCode.objects.values("fingerprint").distinct().count() == 2


@pytest.mark.django_db(transaction=True)
def test_concurrent_reinstatements_succeed_once(order, in_threads):
    refund(order, actor="Sam")

    def try_to_reinstate(actor):
        try:
            reinstate(order, actor=actor)
        except ReinstateRefused:
            return 0
        return 1

    assert sum(in_threads(try_to_reinstate, [f"worker {number}" for number in range(8)], threads=8)) == 1
    assert order.events.filter(kind="reinstated").count() == 1
    call_command("audit")


# In the portal and the admin


def test_members_can_undo_a_refund_on_the_order_page(order, support):
    page = f"/orders/{order.number}/"
    assert "Undo refund" not in support.get(page).content.decode()
    assert support.post(f"{page}reinstate/").status_code == 409
    refund(order, actor="Sam")
    assert f"{page}reinstate/" in support.get(page).content.decode()
    assert "paid again" in support.get(f"{page}reinstate/").content.decode()

    text = support.post(f"{page}reinstate/", follow=True).content.decode()
    assert "Refund undone" in text and "Full refund undone" in text
    assert Order.objects.get().status == "paid"


def test_support_staff_can_undo_a_refund_in_the_admin(order, admin_client):
    refund(order, actor="Sam")
    page = f"/admin/orders/order/{order.pk}/"
    assert "Undo refund" in admin_client.get(f"{page}change/").content.decode()
    admin_client.post(f"{page}reinstate/")

    assert order.events.get(kind="reinstated").happened_by.endswith(", support staff")
