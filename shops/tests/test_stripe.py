"""Events of Stripe: Checkout Sessions, invoices, refunds and disputes. Signed by Stripe's own library."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import stripe
import time_machine

from orders.models import ActivationCode, Order, Subscription
from pools.models import LicenseKey
from shops.kinds import KINDS
from shops.models import Event, ExternalProduct
from shops.tests.api_server import FakeApi
from shops.tests.factories import emails, post, process_due
from shops.tests.senders import SECRET

pytestmark = pytest.mark.django_db

PAID_AT = datetime(2026, 11, 22, 17, 28, 8, tzinfo=UTC)


def make_session(**fields):
    return {
        "id": "cs_test_a1",
        "object": "checkout.session",
        "amount_subtotal": 4000,
        "amount_total": 4760,
        "client_reference_id": None,
        "currency": "eur",
        "customer_details": {
            "address": {"city": "London", "country": "GB", "line1": None, "postal_code": "W1", "state": None},
            "business_name": None,
            "email": "ada@example.com",
            "name": "Ada Byron",
            "phone": None,
        },
        "customer_email": None,
        "invoice": None,
        "livemode": True,
        "locale": "de",
        "metadata": {},
        "mode": "payment",
        "payment_intent": "pi_1",
        "payment_link": None,
        "payment_status": "paid",
        "status": "complete",
        "subscription": None,
    } | fields


def make_line(**fields):
    return {
        "id": "li_1",
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": 4000,
        "amount_tax": 760,
        "amount_total": 4760,
        "currency": "eur",
        "description": "Photo Pro",
        "price": {"id": "price_1", "lookup_key": None, "product": "PHOTO-PRO", "recurring": None, "type": "one_time"},
        "quantity": 2,
    } | fields


def make_invoice(**fields):
    """A renewal, in the shape of version 2025-03-31."""
    return {
        "id": "in_1",
        "object": "invoice",
        "billing_reason": "subscription_cycle",
        "created": 1795368400,
        "currency": "eur",
        "customer_address": {"country": "GB"},
        "customer_email": "ada@example.com",
        "customer_name": "Ada Byron",
        "lines": {"object": "list", "data": [make_invoice_line()], "has_more": False},
        "livemode": True,
        "metadata": {},
        "number": "A1B2-0002",
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": {"campaign": "spring"}, "subscription": "sub_1"},
            "type": "subscription_details",
        },
        "status": "paid",
        "status_transitions": {"paid_at": 1795368488},
    } | fields


def make_invoice_line(**fields):
    return {
        "id": "il_1",
        "object": "line_item",
        "amount": 3000,
        "currency": "eur",
        "description": "1 × Photo Pro",
        "discount_amounts": [{"amount": 500, "discount": "di_1"}],
        "parent": {"subscription_item_details": {"proration": False, "subscription": "sub_1"}},
        "period": {"start": 1795368400, "end": 1826904400},
        "pricing": {"price_details": {"price": "price_1", "product": "PHOTO-PRO"}, "type": "price_details"},
        "quantity": 1,
        "taxes": [{"amount": 475, "tax_behavior": "exclusive"}, {"amount": 7, "tax_behavior": "inclusive"}],
    } | fields


def make_old_invoice(**fields):
    """The same in the shape of earlier versions."""
    line = make_invoice_line(
        price={"id": "price_1", "product": "PHOTO-PRO", "recurring": {"interval": "year", "interval_count": 1}},
        tax_amounts=[{"amount": 475, "inclusive": False}, {"amount": 7, "inclusive": True}],
    )
    del line["pricing"], line["taxes"]
    lines = {"object": "list", "data": [line], "has_more": False}
    old = {"lines": lines, "parent": None, "subscription": "sub_1", "payment_intent": "pi_2", "charge": "ch_2"}
    return make_invoice(**old | fields)


def make_refund(**fields):
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 4760,
        "charge": "ch_1",
        "currency": "eur",
        "payment_intent": "pi_1",
        "status": "succeeded",
    } | fields


def make_dispute(**fields):
    dispute = {"id": "dp_1", "object": "dispute", "status": "needs_response", "reason": "fraudulent"}
    return make_refund(**dispute | fields)


def make_event(topic, item, **fields):
    return {
        "id": f"evt_{topic}_{item['id']}",
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": int(PAID_AT.timestamp()),
        "data": {"object": item},
        "livemode": True,
        "type": topic,
    } | fields


def send(shop, topic, item, secret=SECRET, **fields):
    body = json.dumps(make_event(topic, item, **fields))
    header = stripe.WebhookSignature.generate_signature_header(body, secret)
    response = post(shop, body.encode(), Stripe_Signature=header)
    process_due()
    return response


def make_list(*entries, has_more=False):
    return {"object": "list", "data": list(entries), "has_more": has_more}


@pytest.fixture
def api(receiver, monkeypatch):
    api = FakeApi(receiver)
    monkeypatch.setattr(KINDS["stripe"], "api", api.url)
    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = make_list(make_line())
    return api


@pytest.fixture
def shop(make_connection, api):
    return make_connection("stripe", values={"api_key": "rk_live_1"})


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def sell(shop, **fields):
    return send(shop, "checkout.session.completed", make_session(**fields))


def test_a_session_gets_its_licenses(shop, api, photo):
    assert sell(shop).status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.country, order.language) == ("pi_1", "ada@example.com", "GB", "de")
    assert (order.first_name, order.last_name, order.paid_at) == ("Ada", "Byron", PAID_AT)
    assert order.codes().count() == 2
    assert order.total() == Decimal("47.60")
    assert emails() == ["ada@example.com"]
    assert api.received[0].headers["authorization"] == "Bearer rk_live_1"


def test_a_session_with_many_lines_is_read_page_by_page(shop, api, photo):
    def answer(request):
        is_first = "starting_after" not in request.path
        line = make_line() if is_first else make_line(id="li_2", quantity=1)
        return make_list(line, has_more=is_first)

    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = answer
    sell(shop)

    assert Order.objects.get().codes().count() == 3
    assert "starting_after=li_1" in api.received[1].path


def test_other_goods_of_a_session_get_no_license(shop, api, photo):
    mug = make_line(id="li_2", price={"id": "price_9", "product": "MUG"}, quantity=1, amount_total=1000)
    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = make_list(make_line(), mug)
    sell(shop)

    order = Order.objects.get()
    assert order.codes().count() == 2
    assert order.total() == Decimal("57.60")
    assert Event.objects.get().waits_for == ["price_9"]


def test_a_busy_api_is_asked_again(shop, api, photo):
    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = 503
    sell(shop)
    assert Event.objects.get().due_at and not Order.objects.exists()

    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = make_list(make_line())
    Event.objects.update(due_at=PAID_AT)
    process_due()

    assert Order.objects.get().codes().count() == 2


def test_a_wrong_api_key_parks_the_event(shop, api, photo):
    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = 401
    sell(shop)

    assert Event.objects.get().cause == "access"


@pytest.mark.parametrize("key", ["rk_live_…4242", "rk_live_1\r\nX: 2"])
def test_an_api_key_that_cannot_be_sent_parks_the_event(make_connection, photo, key):
    sell(make_connection("stripe", values={"api_key": key}))

    assert Event.objects.get().cause == "access"


def test_without_an_api_key_the_payment_link_is_the_product(make_connection, photo):
    sell(make_connection("stripe"), payment_link="PHOTO-PRO")

    order = Order.objects.get()
    assert (order.codes().count(), order.total()) == (1, Decimal("47.60"))
    assert not Event.objects.get().fetches


def test_without_an_api_key_a_session_of_unknown_content_is_parked(make_connection, photo):
    sell(make_connection("stripe"))

    assert (Event.objects.get().state, Event.objects.get().cause) == ("parked", "access")


def test_a_bank_debit_is_parked_until_it_is_paid(shop, photo):
    sell(shop, payment_status="unpaid")
    assert Event.objects.get().cause == "unpaid"

    send(shop, "checkout.session.async_payment_succeeded", make_session())

    assert Order.objects.get().codes().count() == 2


def test_a_session_that_only_saves_a_card_is_not_a_sale(shop, photo):
    sell(shop, mode="setup", payment_status="no_payment_required", payment_intent=None)

    assert Event.objects.get().state == "ignored"


@pytest.mark.parametrize(
    ("currency", "minor", "total"),
    [("jpy", 900, "900"), ("kwd", 5120, "5.120"), ("isk", 50000, "500"), ("ugx", 50000, "500"), ("mga", 900, "900")],
)
def test_amounts_have_the_minor_units_of_stripe(shop, api, photo, currency, minor, total):
    line = make_line(currency=currency, amount_total=minor)
    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = make_list(line)
    sell(shop, currency=currency)

    order = Order.objects.get()
    assert (order.currency, order.total()) == (currency.upper(), Decimal(total))
    send(shop, "refund.created", make_refund(currency=currency, amount=minor))
    assert Order.objects.get().status == "deleted"


def test_a_sandbox_sale_is_an_order_in_the_sandbox(shop, merchant, photo):
    send(shop, "checkout.session.completed", make_session(livemode=False), livemode=False)

    order = Order.objects.get()
    assert order.merchant.is_test and order.merchant.live == merchant
    assert not LicenseKey.objects.filter(pool__merchant=merchant).exclude(issued_at=None).exists()


# Renewals


@pytest.mark.parametrize("make", [make_invoice, make_old_invoice])
def test_a_renewal_belongs_to_its_subscription(shop, api, photo, make):
    yearly = {"id": "price_1", "product": "PHOTO-PRO", "recurring": {"interval": "year", "interval_count": 1}}
    api.answers["/v1/checkout/sessions/cs_test_a1/line_items"] = make_list(make_line(quantity=1, price=yearly))
    api.answers["/v1/invoice_payments"] = make_list()
    sell(shop, mode="subscription", subscription="sub_1", payment_intent=None, invoice="in_0")
    send(shop, "invoice.paid", make())

    first, renewal = Order.objects.order_by("pk")
    subscription = Subscription.objects.get()
    assert (subscription.reference, subscription.period) == ("sub_1", "P1Y")
    assert {item.order for item in subscription.order_items.all()} == {first, renewal}
    assert renewal.number == "A1B2-0002"
    assert renewal.total() == Decimal("29.75")  # 30.00 - 5.00 + 4.75
    assert renewal.codes().count() == 1


def test_a_refund_finds_the_invoice_by_its_payment(shop, api, photo):
    payment = {"type": "payment_intent", "payment_intent": "pi_2"}
    api.answers["/v1/invoice_payments"] = make_list({"id": "inpay_1", "invoice": "in_1", "payment": payment})
    send(shop, "invoice.paid", make_invoice())
    send(shop, "refund.created", make_refund(payment_intent="pi_2", charge="ch_2", amount=2975))

    assert "invoice=in_1" in api.received[0].path
    assert Order.objects.get().status == "deleted"


def test_the_first_invoice_of_a_checkout_is_left_to_its_session(shop, api, photo):
    api.answers["/v1/checkout/sessions"] = make_list(make_session())
    api.answers["/v1/invoice_payments"] = make_list()
    send(shop, "invoice.paid", make_invoice(billing_reason="subscription_create"))

    assert Event.objects.get().state == "ignored"


def test_the_first_invoice_of_another_subscription_is_a_sale(shop, api, photo):
    api.answers["/v1/checkout/sessions"] = make_list()
    api.answers["/v1/invoice_payments"] = make_list()
    send(shop, "invoice.paid", make_invoice(billing_reason="subscription_create"))

    assert Order.objects.get().codes().count() == 1


@pytest.mark.parametrize(("sessions", "codes"), [([make_session()], 0), ([], 1)])
def test_an_invoice_by_hand_is_a_sale_unless_a_checkout_made_it(shop, api, photo, sessions, codes):
    api.answers["/v1/checkout/sessions"] = make_list(*sessions)
    send(shop, "invoice.paid", make_old_invoice(billing_reason="manual", subscription=None))

    assert ActivationCode.objects.count() == codes
    assert "payment_intent=pi_2" in api.received[-1].path


def test_without_an_api_key_an_invoice_by_hand_is_not_sold_again(make_connection, photo):
    shop = make_connection("stripe")
    sell(shop, metadata={"sku": "PHOTO-PRO"})
    send(shop, "invoice.paid", make_invoice(billing_reason="manual"))

    assert Order.objects.count() == 1
    assert "API key" in Event.objects.get(state="ignored").reason


def test_a_changed_subscription_gets_no_second_license(shop, photo):
    send(shop, "invoice.paid", make_invoice(billing_reason="subscription_update"))

    assert Event.objects.get().state == "ignored"


@pytest.mark.parametrize(
    "fields", [{"proration": True}, {"parent": {"subscription_item_details": {"proration": True}}}]
)
def test_what_a_changed_plan_costs_is_no_second_license(shop, api, photo, fields):
    api.answers["/v1/invoice_payments"] = make_list()
    proration = make_invoice_line(id="il_2", amount=500, **fields)
    send(shop, "invoice.paid", make_invoice(lines=make_list(make_invoice_line(), proration)))

    order = Order.objects.get()
    assert (order.codes().count(), order.total()) == (1, Decimal("34.50"))
    assert Event.objects.get().state == "done"


def test_the_lines_of_a_long_invoice_are_fetched(shop, api, photo):
    api.answers["/v1/invoice_payments"] = make_list()
    api.answers["/v1/invoices/in_1/lines"] = make_list(make_invoice_line(), make_invoice_line(id="il_2"))
    send(shop, "invoice.paid", make_invoice(lines=make_list(make_invoice_line(), has_more=True)))

    assert Order.objects.get().codes().count() == 2


# Refunds and disputes


def test_a_full_refund_puts_the_keys_into_quarantine(shop, photo):
    sell(shop)
    send(shop, "refund.created", make_refund())

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_partial_refund_is_recorded_once(shop, photo):
    sell(shop)
    partial = make_refund(amount=1000)
    send(shop, "refund.created", partial)
    send(shop, "refund.updated", partial)
    send(shop, "charge.refunded", {"id": "ch_1", "payment_intent": "pi_1", "refunds": make_list(partial)})

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("37.60"))


def test_a_fully_refunded_charge_is_a_full_refund(shop, photo):
    sell(shop)
    send(shop, "charge.refunded", {"id": "ch_1", "payment_intent": "pi_1", "refunded": True})

    assert Order.objects.get().status == "deleted"


def test_a_partly_refunded_charge_without_its_refunds_is_parked(shop, photo):
    sell(shop)
    send(shop, "charge.refunded", {"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 5, "currency": "eur"})

    assert "refund.created" in Event.objects.get(state="parked").reason


def test_a_pending_refund_counts_once_it_succeeds(shop, photo):
    sell(shop)
    pending = make_refund(status="pending")
    send(shop, "refund.created", pending)
    send(
        shop,
        "charge.refunded",
        {"id": "ch_1", "payment_intent": "pi_1", "refunded": True, "refunds": make_list(pending)},
    )
    assert Order.objects.get().status == "paid"

    send(shop, "refund.updated", make_refund())
    assert Order.objects.get().status == "deleted"


@pytest.mark.parametrize("status", ["pending", "failed", "canceled", "requires_action"])
def test_a_refund_that_has_not_succeeded_changes_nothing(shop, photo, status):
    sell(shop)
    send(shop, "refund.updated", make_refund(status=status))

    assert Order.objects.get().status == "paid"
    assert Event.objects.filter(state="ignored").count() == 1


def test_a_refund_before_the_sale_waits_for_it(shop, photo):
    send(shop, "refund.created", make_refund())
    assert Event.objects.get().cause == "no_sale"

    sell(shop)

    assert Order.objects.get().status == "deleted"


def test_a_dispute_takes_the_keys_back_until_it_is_won(shop, photo):
    sell(shop)
    send(shop, "charge.dispute.created", make_dispute())
    assert Order.objects.get().status == "deleted"

    send(shop, "charge.dispute.closed", make_dispute(status="won"))
    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize(
    ("topic", "status"),
    [("charge.dispute.created", "warning_needs_response"), ("charge.dispute.closed", "warning_closed")],
)
def test_an_inquiry_of_a_bank_changes_nothing(shop, photo, topic, status):
    sell(shop)
    send(shop, topic, make_dispute(status=status))

    assert Order.objects.get().status == "paid"


def test_a_dispute_reported_after_it_was_won_changes_nothing(shop, photo):
    """Fetching missed events lists the newest first."""
    sell(shop)
    send(shop, "charge.dispute.closed", make_dispute(status="won"))
    send(shop, "charge.dispute.created", make_dispute(created=int(PAID_AT.timestamp()) - 60))

    assert Order.objects.get().status == "paid"


def test_an_approved_review_ends_the_fraud_hold(make_connection, api, photo):
    shop = make_connection("stripe", values={"api_key": "rk_live_1"}, hold_hours=0)
    sell(shop)
    assert not Order.objects.get().codes().exists()

    review = {"id": "prv_1", "object": "review", "payment_intent": "pi_1", "reason": "approved"}
    send(shop, "review.closed", review)

    assert Order.objects.get().codes().count() == 2


# Receiving


def test_the_reference_signature():
    body, secret = '{"hello":"world"}', "whsec_test_secret"
    header = stripe.WebhookSignature.generate_signature_header(body, secret, 1700000000)
    assert header == "t=1700000000,v1=86748dbec9cc87a9219f8a96632da703271bf5e85aa0afa2b310c37ba059d514"


def test_a_wrong_signature_is_rejected(shop):
    assert send(shop, "refund.created", make_refund(), secret="another").status_code == 401
    assert not Event.objects.exists()


def test_an_old_signature_is_rejected(shop):
    with time_machine.travel(datetime.now(UTC) - timedelta(minutes=6)):
        header = stripe.WebhookSignature.generate_signature_header("{}", SECRET)

    assert post(shop, b"{}", Stripe_Signature=header).status_code == 401
    assert not Event.objects.exists()


@pytest.mark.parametrize("header", ["", "t=,v1=", "t=1;v1=2", "v1=00", "t=1700000000"])
def test_a_malformed_signature_is_rejected(shop, header):
    assert post(shop, b"{}", Stripe_Signature=header).status_code in {400, 401}


def test_a_repeated_event_is_stored_once(shop, photo):
    for _ in range(3):
        sell(shop)

    assert Event.objects.count() == 1


def test_an_unknown_price_is_parked_and_listed(shop):
    sell(shop)

    assert Event.objects.get().waits_for == ["price_1"]
    assert ExternalProduct.objects.get().name == "Photo Pro"


def test_missed_events_are_listed(shop, api, photo):
    missed = [make_event("checkout.session.completed", make_session()), make_event("refund.created", make_refund())]
    api.answers["/v1/events"] = make_list(*missed, has_more=True)
    kind = KINDS["stripe"](shop)

    page = kind.list_missed(PAID_AT, None)

    assert [event.key for event in page.events] == [event["id"] for event in missed]
    assert page.cursor == missed[-1]["id"]
    assert f"created%5Bgte%5D={int(PAID_AT.timestamp())}" in api.received[0].path
    assert kind.can_catch_up
