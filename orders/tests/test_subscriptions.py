"""Renewals: which licenses the vendor gets with a request, and what a renewal waits for."""

from datetime import timedelta
from itertools import count
from urllib.parse import parse_qs

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.tests.factories import place
from delivery.models import Delivery
from delivery.sending import deliver
from fulfillment import engine
from fulfillment.actions import enter_codes, retry
from fulfillment.engine import fulfill
from fulfillment.models import Fulfillment
from fulfillment.product_sources import add_source
from fulfillment.tests.factories import fulfill_due
from orders import subscriptions
from orders.models import Order, OrderItem, Subscription
from orders.services import refund, reinstate

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def subscription_product(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


@pytest.fixture
def work():
    return fulfill_due


@pytest.fixture
def service(make_service, subscription_product, receiver):
    """A web service that returns CODE-A1 for order A1 and CODE-A1-2 for its second unit."""

    def respond(received):
        parameters = parse_parameters(received)
        unit = "" if parameters["Unit"] == "1" else f"-{parameters['Unit']}"
        return 200, {}, f"CODE-{parameters['Order']}{unit}-{parameters['ID']}".removesuffix("-PHOTO-PRO").encode()

    receiver.respond = respond
    return make_service(subscription_product, parameters=["Order", "ID", "Unit", "Key_first_renew", "Key_last_renew"])


def parse_parameters(received):
    return {name: values[0] for name, values in parse_qs(received.body.decode(), keep_blank_values=True).items()}


@pytest.fixture
def report(merchant, make_payment, subscription_product):
    """Return a function that stores a payment for a subscription, from 2020 by default, and returns its first item."""

    def report(number, parent=None, *, year=2020, products=(), quantity=1, subscription: dict | None = None, **fields):
        payment = make_payment(*(products or [subscription_product]), quantity=quantity, order=number)
        payment["paid_at"] = f"{year}-05-01T10:00:00Z"
        payment |= fields
        reported = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": parent} | (subscription or {})
        for item in payment["items"]:
            item["subscription"] = None if reported["id"] is None else reported
        return place(merchant, payment).items.earliest("pk")

    return report


@pytest.fixture
def sent_keys(receiver):
    """Return a function that returns the first and the last license last sent to the vendor, per unit of an order."""

    def sent_keys(number):
        parameters = [values for values in map(parse_parameters, receiver.received) if values["Order"] == number]
        by_unit = {values["Unit"]: (values["Key_first_renew"], values["Key_last_renew"]) for values in parameters}
        return by_unit["1"] if len(by_unit) == 1 else by_unit

    return sent_keys


def state(number):
    fulfillment = Fulfillment.objects.get(item__order__number=number)
    return fulfillment.status, fulfillment.reason


def make_reports_older(**age):
    """Change the report time of all orders to this long ago."""
    Order.objects.update(reported_at=timezone.now() - timedelta(**age))
    Fulfillment.objects.waiting().wake()


@pytest.mark.parametrize("type", ["AR", "PMR"])
@pytest.mark.parametrize("order_of_reports", ["012", "021", "102", "120", "201", "210"])
@pytest.mark.parametrize("naming", ["first", "previous"])
def test_a_renewal_request_contains_the_earlier_licenses(
    service, report, work, sent_keys, order_of_reports, naming, type
):
    parents = [None, "P", "P" if naming == "first" else "R1"]
    for index in map(int, order_of_reports):
        report(["P", "R1", "R2"][index], parents[index], year=2024 + index, subscription={"type": type})
        work()
        work()  # the work that the first round woke

    # R1 is unknown if it is reported last and R2 names the first order.
    unknown = naming == "first" and order_of_reports.endswith("1")
    assert sent_keys("P") == ("", "")
    assert sent_keys("R1") == ("CODE-P", "CODE-P")
    assert sent_keys("R2") == ("CODE-P", "CODE-P" if unknown else "CODE-R1")
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}


def test_both_ways_of_naming_the_parent_can_be_mixed(service, report, work, sent_keys):
    for year, (number, parent) in enumerate([("P", None), ("R1", "P"), ("R2", "R1"), ("R3", "P")], 2020):
        report(number, parent, year=year)
        work()

    assert sent_keys("R3") == ("CODE-P", "CODE-R2")


def test_each_item_of_an_order_has_its_own_licenses(
    service, report, work, sent_keys, subscription_product, make_product, receiver
):
    plugin = make_product(source=None, sku="PLUGIN")
    services_of_plugin = service.fulfillment_methods.get()
    add_source(plugin, "web_service", services_of_plugin.kind.place)

    report("P", products=[subscription_product, plugin])
    report("R1", "P", year=2021, products=[plugin, subscription_product])
    work()
    work()

    parameters = {
        values["ID"]: values for values in map(parse_parameters, receiver.received) if values["Order"] == "R1"
    }
    assert parameters["PHOTO-PRO"]["Key_first_renew"] == "CODE-P"
    assert parameters["PLUGIN"]["Key_last_renew"] == "CODE-P-PLUGIN"


def test_it_finds_a_renewal_under_another_sku_by_its_subscription(service, report, work, sent_keys, make_product):
    cheaper = make_product(source=None, sku="PHOTO-RENEWAL")
    add_source(cheaper, "web_service", service)

    report("P")
    report("R1", "P", year=2021, products=[cheaper])
    work()
    work()

    assert sent_keys("R1") == ("CODE-P", "CODE-P")


def test_it_finds_a_parent_without_a_subscription_by_its_order_number(service, report, work, sent_keys):
    report("P", subscription={"id": None})
    report("R1", "P", year=2021)
    report("R2", "R1", year=2022)
    for _ in range(3):
        work()

    assert sent_keys("R2") == ("CODE-P", "CODE-R1")


def test_licenses_are_matched_by_unit_when_the_quantity_changes(service, report, work, sent_keys):
    report("P", quantity=2)
    work()
    report("R1", "P", year=2021, quantity=3)
    work()
    report("R2", "P", year=2022)
    work()

    assert sent_keys("R1") == {"1": ("CODE-P", "CODE-P"), "2": ("CODE-P-2", "CODE-P-2"), "3": ("", "")}
    assert sent_keys("R2") == ("CODE-P", "CODE-R1")


def test_a_request_for_all_units_contains_the_licenses_of_all_units(service, report, work, sent_keys, receiver):
    service.request_per, service.holds_list = "item", True
    service.save()
    receiver.respond = lambda received: (
        200,
        {},
        f"{parse_parameters(received)['Order']}-1\nB-{len(receiver.received)}".encode(),
    )

    report("P", quantity=2)
    work()
    report("R1", "P", year=2021, quantity=2)
    work()

    assert parse_parameters(receiver.received[1])["Key_first_renew"] == "P-1\nB-1"


def test_a_renewal_waits_for_the_earlier_license_and_shows_the_reason(service, report, work, sent_keys, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (503, {}, b"")
    report("P")
    report("R1", "P", year=2021)
    work()
    assert state("R1") == ("waiting", "Waiting for the license of order P, which is waiting.")

    receiver.respond = answer
    service.refresh_from_db()
    Fulfillment.objects.filter(item__order__number="P").wake()
    work()
    assert Fulfillment.objects.due().get().item.order.number == "R1"
    work()

    assert sent_keys("R1") == ("CODE-P", "CODE-P")


def test_a_renewal_waits_for_a_failed_order_until_a_retry_succeeds(service, report, work, sent_keys, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (404, {}, b"")
    first = report("P")
    report("R1", "P", year=2021)
    work()
    work()
    assert state("R1") == ("waiting", "Waiting for the license of order P, which is failed.")
    assert not Fulfillment.objects.due().exists()

    receiver.respond = answer
    retry(first, actor="Sam")
    work()
    work()

    assert sent_keys("R1") == ("CODE-P", "CODE-P")


def test_a_manually_entered_code_wakes_the_renewal(service, report, work, sent_keys, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (404, {}, b"")
    first = report("P")
    report("R1", "P", year=2021)
    work()
    work()

    receiver.respond = answer
    enter_codes(first, {1: "BY-HAND"}, actor="Sam")
    work()

    assert sent_keys("R1") == ("BY-HAND", "BY-HAND")


# Which of P, R1 and R2 are refunded, and which licenses the request for R3 contains.
REFUNDED = [
    ("", ("CODE-P", "CODE-R2")),
    ("P", ("CODE-R1", "CODE-R2")),
    ("R1", ("CODE-P", "CODE-R2")),
    ("R2", ("CODE-P", "CODE-R1")),
    ("P R1", ("CODE-R2", "CODE-R2")),
    ("R1 R2", ("CODE-P", "CODE-P")),
    ("P R1 R2", ("", "")),
]


@pytest.mark.parametrize("naming", ["first", "previous"])
@pytest.mark.parametrize("refunded, expected", REFUNDED, ids=[refunded or "none" for refunded, _ in REFUNDED])
def test_it_does_not_renew_licenses_of_refunded_orders(service, report, work, sent_keys, refunded, expected, naming):
    parent = None
    for year, number in enumerate(["P", "R1", "R2"], 2020):
        report(number, parent, year=year)
        work()
        parent = "P" if naming == "first" else number
    for number in refunded.split():
        refund(Order.objects.get(number=number), actor="Sam")
    report("R3", parent, year=2023)
    work()

    assert sent_keys("R3") == expected


def test_a_reinstated_order_counts_again(service, report, work, sent_keys):
    report("P")
    work()
    refund(Order.objects.get(), actor="Sam")
    reinstate(Order.objects.get(), actor="Sam")
    report("R1", "P", year=2021)
    work()

    assert sent_keys("R1") == ("CODE-P", "CODE-P")


def test_weeks_are_sent_as_days(make_service, subscription_product, report, work, receiver):
    receiver.respond = lambda received: (200, {}, b"CODE")
    make_service(subscription_product, parameters=["Order", "Subscription_period"])
    report("P", subscription={"period": "P2W"})
    work()

    assert parse_parameters(receiver.received[-1])["Subscription_period"] == "P14D"


def test_refunding_the_order_it_waits_for_wakes_the_renewal(service, report, work, sent_keys, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (404, {}, b"")
    report("P")
    report("R1", "P", year=2021)
    work()
    work()

    receiver.respond = answer
    refund(Order.objects.get(number="P"), actor="Sam")
    work()

    assert sent_keys("R1") == ("", "")


def test_licenses_that_the_vendor_sent_itself_are_unknown(service, report, work, sent_keys):
    service.sends_itself = True
    service.save()
    report("P")
    work()
    service.sends_itself = False
    service.save()

    report("R1", "P", year=2021)
    work()

    assert sent_keys("R1") == ("", "")


def test_it_waits_at_most_an_hour_for_an_unreported_parent(service, report, work, sent_keys):
    """Customers from before Keywell have such parents."""
    report("R1", "OLD", year=2021)
    work()
    assert state("R1") == ("waiting", "Waiting for a report of order OLD, the parent of R1.")
    make_reports_older(minutes=59)
    work()
    assert state("R1")[0] == "waiting"
    make_reports_older(minutes=61)
    work()
    assert sent_keys("R1") == ("", "")

    # Later renewals don't wait for it either, however they name it.
    report("R2", "R1", year=2022)
    work()
    report("R3", "OLD", year=2023)
    work()

    assert sent_keys("R2") == ("", "CODE-R1")
    assert sent_keys("R3") == ("", "CODE-R2")


# Renewals that are or seem late: type, period of the first order, period of the renewal, days between them.
LATE = [
    ("PMR", "P1M", "P1M", 75),
    ("AR", "P30D", "P30D", 62),
    ("AR", "P1Y", "P1M", 400),
    ("PMR", "P1Y", "P1Y", 1200),
    ("AR", "P2W", "P2W", 40),
    ("AR", "P1W", "P1Y", 8),
    ("AR", "P1D", "P1D", 2000),
    ("PMR", "P9999Y", "P9999Y", 30),
    ("PMR", "P9999W", "P9999W", 30),
]


@pytest.mark.parametrize("naming", ["first", "previous", "unnamed"])
@pytest.mark.parametrize("type, before, after, days", LATE, ids=str)
def test_a_late_renewal_does_not_wait(service, report, work, sent_keys, type, before, after, days, naming):
    now = timezone.now()
    report("P", subscription={"type": type, "period": before}, paid_at=now - timedelta(days=3 * days))
    work()
    parent = None if naming == "unnamed" else "P"
    for number, age in (("R1", 2), ("R2", 1)):
        report(number, parent, subscription={"type": type, "period": after}, paid_at=now - timedelta(days=age * days))
        work()
        assert state(number) == ("done", "")
        parent = number if naming == "previous" else parent

    if parent:
        assert sent_keys("R1") == ("CODE-P", "CODE-P") and sent_keys("R2") == ("CODE-P", "CODE-R1")


# State of the parent order: whether the renewal waits, for which reason, and whether the wait has a deadline.
WAITS = [
    ("nothing was reported", True, "Waiting for a report of order P, the parent of R1.", True),
    ("it is pending", True, "Waiting for the license of order P, which is pending.", False),
    ("it is waiting", True, "Waiting for the license of order P, which is waiting.", False),
    ("it is done", False, "", False),
    ("it was refunded", False, "", False),
    ("it was refunded before it was done", False, "", False),
    ("it was first named two hours ago", False, "", False),
    ("it is unmapped", False, "", False),
    ("it has only other products", False, "", False),
]


@pytest.mark.parametrize("known, waits, reason, has_deadline", WAITS, ids=[known for known, *_ in WAITS])
def test_a_renewal_waits_only_for_an_order_that_may_still_get_codes(
    service, report, work, api, make_payment, make_product, known, waits, reason, has_deadline, support
):
    match known:
        case "it is pending" | "it is waiting" | "it was refunded before it was done":
            first = report("P")
            if known == "it is waiting":
                Fulfillment.objects.update(status="waiting", due_at=None)
            elif known != "it is pending":
                refund(first.order, actor="Sam")
            Fulfillment.objects.update(due_at=None)
        case "it is done" | "it was refunded":
            report("P")
            work()
            if known == "it was refunded":
                refund(Order.objects.get(), actor="Sam")
        case "it is unmapped":
            assert api.post("/api/v1/payments/", make_payment("T-SHIRT", order="P"), format="json").status_code == 202
        case "it has only other products":
            others = make_product(), make_product()
            assert api.post("/api/v1/payments/", make_payment(*others, order="P"), format="json").status_code == 201
    renewal = report("R1", "P", year=2021)
    if known == "it was first named two hours ago":
        make_reports_older(hours=2)
    Fulfillment.objects.exclude(item=renewal).update(due_at=None)
    work()

    assert state("R1") == (("waiting", reason) if waits else ("done", ""))
    wait = subscriptions.find_wait(OrderItem.objects.get(pk=renewal.pk))
    assert bool(wait) == waits and (not wait or bool(wait.until) == has_deadline)
    if waits:
        page = support.get("/orders/R1/").content.decode()
        assert reason in page
        assert (
            "this item continues without it" if has_deadline else "This item continues when that order has its codes"
        ) in page


def test_it_tries_again_when_its_wait_ends(service, report, work, sent_keys):
    renewal = report("R1", "OLD", year=2021)
    make_reports_older(minutes=58)
    work()
    assert state("R1")[0] == "waiting"

    due_at = Fulfillment.objects.get(item=renewal).due_at
    assert due_at and due_at < timezone.now() + timedelta(minutes=2, seconds=5)


def test_a_first_order_can_name_itself_as_its_parent(service, report, work, sent_keys):
    report("P", "P")
    work()
    report("R1", "P", year=2021)
    work()

    assert sent_keys("P") == ("", "")
    assert sent_keys("R1") == ("CODE-P", "CODE-P")


def test_orders_with_circular_parents_are_ordered_by_time(service, report, work, sent_keys):
    report("A", "C")
    report("B", "A", year=2021)
    report("C", "B", year=2022)
    for _ in range(3):
        work()

    assert sent_keys("A") == ("", "")
    assert sent_keys("B") == ("CODE-A", "CODE-A")
    assert sent_keys("C") == ("CODE-A", "CODE-B")


def test_an_order_of_another_merchant_is_never_a_parent(
    service, report, work, sent_keys, outsider, make_api, make_payment, make_product
):
    theirs = make_product(merchant=outsider, sku="PHOTO-PRO")
    payment = make_payment(theirs, order="P", paid_at="2020-05-01T10:00:00Z")
    payment["items"][0]["subscription"] = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": None}
    assert make_api(outsider).post("/api/v1/payments/", payment, format="json").status_code == 201

    report("R1", "P", year=2021)
    work()

    assert state("R1")[1] == "Waiting for a report of order P, the parent of R1."


def test_orders_paid_at_the_same_moment_are_ordered_by_number(service, report, work, sent_keys):
    report("A1")
    report("A10", "A1", year=2021)
    report("A9", "A1", year=2021)
    for _ in range(3):
        work()

    assert sent_keys("A9") == ("CODE-A1", "CODE-A1")
    assert sent_keys("A10") == ("CODE-A1", "CODE-A9")


@pytest.mark.parametrize("naming", ["first", "previous"])
def test_hundreds_of_renewals_take_one_query(report, make_product, naming):
    free = make_product(keys=1, sku="FREE")
    report("M0", products=[free], year=2000)
    numbers = count(1)
    first, item = Order.objects.get(), OrderItem.objects.get()
    start = timezone.now() - timedelta(days=2000)

    def renew(times):
        orders, items = [], []
        for number in (next(numbers) for _ in range(times)):
            orders.append(copy(first, number=f"M{number}", paid_at=start + timedelta(days=number)))
        Order.objects.bulk_create(orders)
        for order in orders:
            number = int(order.number[1:])
            parent = "M0" if naming == "first" else f"M{number - 1}"
            items.append(copy(item, order=order, parent_order=parent))
        OrderItem.objects.bulk_create(items)
        Fulfillment.objects.bulk_create(Fulfillment(item=item, status="done") for item in items)
        return items[-1]

    counts = []
    for times in (2, 1200):
        last = renew(times)
        with CaptureQueriesContext(connection) as queries:
            links = subscriptions.subscription_orders(last)
        counts.append(len(queries))

    assert [link.number for link in links] == [f"M{number}" for number in range(1203)]
    assert counts == [1, 1]


def copy(row, **fields):
    left_out = {"id", "link_token", "link_fingerprint", "short_number", "customer_text", *fields}
    kept = [field for field in row._meta.concrete_fields if field.name not in left_out]
    return type(row)(**{field.attname: getattr(row, field.attname) for field in kept} | fields)


def test_no_wake_up_is_lost_when_the_first_order_is_done_while_the_renewal_checks_it(
    service, report, work, sent_keys, receiver, monkeypatch
):
    """The first order is done after the renewal saw it waiting, but before the renewal recorded that it waits."""
    answer, receiver.respond = receiver.respond, lambda received: (503, {}, b"")
    first = report("P")
    work()
    renewal = report("R1", "P", year=2021)
    receiver.respond = answer
    note = engine._record_shortage

    def enter_codes_first(*arguments):
        if not first.activation_codes.exists():
            enter_codes(first, {1: "BY-HAND"}, actor="Sam")
        note(*arguments)

    monkeypatch.setattr(engine, "_record_shortage", enter_codes_first)
    fulfill(renewal.fulfillment.pk)

    assert Fulfillment.objects.due().filter(item=renewal).exists()
    work()
    assert sent_keys("R1") == ("BY-HAND", "BY-HAND")


def test_concurrent_reports_and_workers_complete_all_orders(service, report, sent_keys, in_threads):
    numbers = ["P", *(f"R{number}" for number in range(1, 6))]

    def do(task):
        if task in numbers:
            report(task, None if task == "P" else "P", year=2020 + numbers.index(task))
        for pk in Fulfillment.objects.due().values_list("pk", flat=True):
            engine.fulfill_in_turn(pk)

    in_threads(do, [*reversed(numbers), *range(12)], 6)
    make_reports_older(minutes=20)
    for _ in range(6):
        do(None)

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}
    assert sent_keys("R5")[0] == "CODE-P"


def test_a_renewal_from_a_pool_does_not_wait(report, make_product):
    pooled = make_product(keys=2)

    report("R1", "NEVER-REPORTED", products=[pooled])

    assert state("R1") == ("done", "")


def test_an_email_contains_the_license_of_the_first_order(report, make_product, merchant, mailoutbox):
    pooled = make_product(keys=0)
    merchant.email_templates.create(product=pooled, language="en", body="{KEY} renews {PARENT_KEY}.")
    for year, (number, parent) in enumerate([("P", None), ("R1", "P"), ("R2", "R1")], 2020):
        enter_codes(report(number, parent, products=[pooled], year=year), {1: f"CODE-{number}"}, actor="Sam")
    for delivery in Delivery.objects.due():
        deliver(delivery.pk)

    text = "\n".join(mail.body for mail in mailoutbox)
    for line in ("CODE-P renews .", "CODE-R1 renews CODE-P.", "CODE-R2 renews CODE-P."):
        assert line in text


def test_type_and_period_come_from_the_order_that_was_paid_last(service, report):
    report("R1", "P", year=2021, subscription={"type": "PMR", "period": "P1M"})
    report("P", year=2020)
    subscription = Subscription.objects.get()
    assert (subscription.type, subscription.period) == ("PMR", "P1M")

    report("R2", "P", year=2022, subscription={"period": "P3M"})

    subscription.refresh_from_db()
    assert (subscription.type, subscription.period) == ("AR", "P3M")
