"""Renewals: which licenses their vendors are told of, and what a renewal waits for."""

from datetime import timedelta
from itertools import count
from urllib.parse import parse_qs

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fulfillment import services, subscriptions
from fulfillment.models import Fulfillment
from fulfillment.services import enter_codes, fulfill, retry
from orders.models import Order, OrderItem, Subscription
from orders.services import refund

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sold(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


@pytest.fixture
def service(make_service, sold, receiver):
    """It gives CODE-A1 for order A1, CODE-A1-2 for its second unit."""

    def respond(received):
        asked = values_of(received)
        unit = "" if asked["Unit"] == "1" else f"-{asked['Unit']}"
        return 200, {}, f"CODE-{asked['Order']}{unit}-{asked['ID']}".removesuffix("-PHOTO-PRO").encode()

    receiver.respond = respond
    return make_service(sold, parameters=["Order", "ID", "Unit", "Key_first_renew", "Key_last_renew"])


def values_of(received):
    return {name: values[0] for name, values in parse_qs(received.body.decode(), keep_blank_values=True).items()}


@pytest.fixture
def report(api, make_payment, sold):
    """Report the payment of an order of a subscription; of the year 2020 unless told otherwise, and so on."""

    def report(number, parent=None, *, year=2020, products=(), quantity=1, subscription: dict | None = None, **fields):
        payment = make_payment(*(products or [sold]), quantity=quantity, order=number)
        payment["paid_at"] = f"{year}-05-01T10:00:00Z"
        reported = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": parent} | (subscription or {})
        for item in payment["items"]:
            item["subscription"] = None if reported["id"] is None else reported
        response = api.post("/api/v1/payments/", payment | fields, format="json")
        assert response.status_code == 201, response.data
        return OrderItem.objects.filter(order__number=number).earliest("pk")

    return report


@pytest.fixture
def told(receiver):
    """What the vendor was told last of an order, unit by unit: the first and the last license."""

    def told(number):
        asked = [values for values in map(values_of, receiver.received) if values["Order"] == number]
        by_unit = {values["Unit"]: (values["Key_first_renew"], values["Key_last_renew"]) for values in asked}
        return by_unit["1"] if len(by_unit) == 1 else by_unit

    return told


def state(number):
    fulfillment = Fulfillment.objects.get(item__order__number=number)
    return fulfillment.status, fulfillment.reason


def let_pass(**age):
    """As if all that is known had been reported longer ago."""
    Order.objects.update(reported_at=timezone.now() - timedelta(**age))
    Fulfillment.objects.waiting().wake()


@pytest.mark.parametrize("type", ["AR", "PMR"])
@pytest.mark.parametrize("order_of_reports", ["012", "021", "102", "120", "201", "210"])
@pytest.mark.parametrize("naming", ["first", "one before"])
def test_renewals_know_the_licenses_before_them(service, report, work, told, order_of_reports, naming, type):
    parents = [None, "P", "P" if naming == "first" else "R1"]
    for index in map(int, order_of_reports):
        report(["P", "R1", "R2"][index], parents[index], year=2024 + index, subscription={"type": type})
        work()
    work()

    assert told("P") == ("", "")
    assert told("R1") == ("CODE-P", "CODE-P")
    assert told("R2") == ("CODE-P", "CODE-R1")
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}


def test_both_ways_of_naming_the_parent_go_together(service, report, work, told):
    for year, (number, parent) in enumerate([("P", None), ("R1", "P"), ("R2", "R1"), ("R3", "P")], 2020):
        report(number, parent, year=year)
        work()

    assert told("R3") == ("CODE-P", "CODE-R2")


def test_each_item_of_an_order_has_its_own_licenses(service, report, work, told, sold, make_product, receiver):
    plugin = make_product(source=None, sku="PLUGIN")
    services_of_plugin = service.fulfillment_methods.get()
    plugin.fulfillment_methods.create(source="web_service", web_service=services_of_plugin.web_service)

    report("P", products=[sold, plugin])
    report("R1", "P", year=2021, products=[plugin, sold])
    work()
    work()

    asked = {values["ID"]: values for values in map(values_of, receiver.received) if values["Order"] == "R1"}
    assert asked["PHOTO-PRO"]["Key_first_renew"] == "CODE-P"
    assert asked["PLUGIN"]["Key_last_renew"] == "CODE-P-PLUGIN"


def test_a_renewal_under_another_sku_is_found_by_its_subscription(service, report, work, told, make_product):
    cheaper = make_product(source=None, sku="PHOTO-RENEWAL")
    cheaper.fulfillment_methods.create(source="web_service", web_service=service)

    report("P")
    report("R1", "P", year=2021, products=[cheaper])
    work()
    work()

    assert told("R1") == ("CODE-P", "CODE-P")


def test_a_parent_that_was_reported_without_the_subscription_is_found_by_its_number(service, report, work, told):
    report("P", subscription={"id": None})
    report("R1", "P", year=2021)
    report("R2", "R1", year=2022)
    for _ in range(3):
        work()

    assert told("R2") == ("CODE-P", "CODE-R1")


def test_licenses_go_by_unit_when_the_quantity_changes(service, report, work, told):
    report("P", quantity=2)
    work()
    report("R1", "P", year=2021, quantity=3)
    work()
    report("R2", "P", year=2022)
    work()

    assert told("R1") == {"1": ("CODE-P", "CODE-P"), "2": ("CODE-P-2", "CODE-P-2"), "3": ("", "")}
    assert told("R2") == ("CODE-P", "CODE-R1")


def test_a_request_for_all_units_has_the_licenses_of_all(service, report, work, told, receiver):
    service.request_per, service.holds_list = "item", True
    service.save()
    receiver.respond = lambda received: (
        200,
        {},
        f"{values_of(received)['Order']}-1\n2{len(receiver.received)}".encode(),
    )

    report("P", quantity=2)
    work()
    report("R1", "P", year=2021, quantity=2)
    work()

    assert values_of(receiver.received[1])["Key_first_renew"] == "P-1\n21"


def test_a_renewal_waits_for_the_license_before_it_and_says_so(service, report, work, told, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (503, {}, b"")
    report("P")
    report("R1", "P", year=2021)
    work()
    assert state("R1") == ("waiting", "It waits for the license of order P, which is waiting.")

    receiver.respond = answer
    service.refresh_from_db()
    Fulfillment.objects.filter(item__order__number="P").wake()
    work()
    assert Fulfillment.objects.due().get().item.order.number == "R1"
    work()

    assert told("R1") == ("CODE-P", "CODE-P")


def test_a_renewal_waits_for_one_that_failed_until_that_is_retried_and_done(service, report, work, told, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (404, {}, b"")
    first = report("P")
    report("R1", "P", year=2021)
    work()
    work()
    assert state("R1") == ("waiting", "It waits for the license of order P, which is failed.")
    assert not Fulfillment.objects.due().exists()

    receiver.respond = answer
    retry(first, by="Sam")
    work()
    work()

    assert told("R1") == ("CODE-P", "CODE-P")


def test_a_code_that_a_person_enters_wakes_the_renewal(service, report, work, told, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (404, {}, b"")
    first = report("P")
    report("R1", "P", year=2021)
    work()
    work()

    receiver.respond = answer
    enter_codes(first, {1: "BY-HAND"}, by="Sam")
    work()

    assert told("R1") == ("BY-HAND", "BY-HAND")


def test_a_refunded_order_issued_no_license_but_stays_the_first(service, report, work, told):
    report("P")
    report("R1", "P", year=2021)
    work()
    work()
    for number in ("P", "R1"):
        refund(Order.objects.get(number=number), by="Sam")

    report("R2", "P", year=2022)
    work()

    assert told("R2") == ("CODE-P", "")


def test_a_refund_of_what_it_waits_for_wakes_the_renewal(service, report, work, told, receiver):
    answer, receiver.respond = receiver.respond, lambda received: (404, {}, b"")
    report("P")
    report("R1", "P", year=2021)
    work()
    work()

    receiver.respond = answer
    refund(Order.objects.get(number="P"), by="Sam")
    work()

    assert told("R1") == ("", "")


def test_what_the_vendor_sent_itself_is_not_known(service, report, work, told):
    service.sends_itself = True
    service.save()
    report("P")
    work()
    service.sends_itself = False
    service.save()

    report("R1", "P", year=2021)
    work()

    assert told("R1") == ("", "")


def test_a_parent_that_is_not_reported_within_an_hour_is_not_waited_for(service, report, work, told):
    """Customers of a time before Keywell have one."""
    report("R1", "OLD", year=2021)
    work()
    assert state("R1") == ("waiting", "It waits for order OLD, the parent of R1, to be reported.")
    let_pass(minutes=59)
    work()
    assert state("R1")[0] == "waiting"
    let_pass(minutes=61)
    work()
    assert told("R1") == ("", "")

    # Nor is it again for the renewals that follow, whichever way they name it.
    report("R2", "R1", year=2022)
    work()
    report("R3", "OLD", year=2023)
    work()

    assert told("R2") == ("", "CODE-R1")
    assert told("R3") == ("", "CODE-R2")


def test_where_a_period_is_missing_a_renewal_may_be_late(service, report, work, told):
    report("P")
    report("R2", "P", year=2022)
    work()
    work()
    assert state("R2")[1].startswith("Since order P more than one period has passed: it waits some minutes")
    let_pass(minutes=14)
    work()
    assert state("R2")[0] == "waiting"
    let_pass(minutes=16)
    work()

    assert told("R2") == ("CODE-P", "CODE-P")


@pytest.mark.parametrize("period", ["P1D", "P9999Y"])
def test_periods_of_any_length_are_gone_by(service, report, work, told, period):
    report("P", subscription={"period": period})
    report("R1", "P", year=2021, subscription={"period": period})
    let_pass(minutes=16)
    work()
    work()

    assert told("R1") == ("CODE-P", "CODE-P")


def test_a_first_order_may_name_itself(service, report, work, told):
    report("P", "P")
    work()
    report("R1", "P", year=2021)
    work()

    assert told("P") == ("", "")
    assert told("R1") == ("CODE-P", "CODE-P")


def test_orders_that_name_each_other_in_a_circle_go_by_time(service, report, work, told):
    report("A", "C")
    report("B", "A", year=2021)
    report("C", "B", year=2022)
    for _ in range(3):
        work()

    assert told("A") == ("", "")
    assert told("B") == ("CODE-A", "CODE-A")
    assert told("C") == ("CODE-A", "CODE-B")


def test_another_merchants_order_is_nobodys_parent(
    service, report, work, told, outsider, make_api, make_payment, make_product
):
    theirs = make_product(merchant=outsider, sku="PHOTO-PRO")
    payment = make_payment(theirs, order="P", paid_at="2020-05-01T10:00:00Z")
    payment["items"][0]["subscription"] = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": None}
    assert make_api(outsider).post("/api/v1/payments/", payment, format="json").status_code == 201

    report("R1", "P", year=2021)
    work()

    assert state("R1")[1] == "It waits for order P, the parent of R1, to be reported."


def test_of_orders_paid_in_the_same_moment_the_lower_number_comes_first(service, report, work, told):
    report("A1")
    report("A10", "A1", year=2021)
    report("A9", "A1", year=2021)
    for _ in range(3):
        work()

    assert told("A9") == ("CODE-A1", "CODE-A1")
    assert told("A10") == ("CODE-A1", "CODE-A9")


@pytest.mark.parametrize("naming", ["first", "one before"])
def test_hundreds_of_renewals_take_one_query(report, make_product, naming):
    free = make_product(keys=400, sku="FREE")
    report("M0", products=[free], year=2000)
    numbers = count(1)
    first = Order.objects.get()
    start = timezone.now() - timedelta(days=2000)

    def renew(times):
        orders, items = [], []
        for number in (next(numbers) for _ in range(times)):
            orders.append(copy(first, number=f"M{number}", paid_at=start + timedelta(days=number)))
        Order.objects.bulk_create(orders)
        for order in orders:
            number = int(order.number[1:])
            parent = "M0" if naming == "first" else f"M{number - 1}"
            items.append(copy(first.items.get(), order=order, parent_order=parent))
        OrderItem.objects.bulk_create(items)
        Fulfillment.objects.bulk_create(Fulfillment(item=item, status="done") for item in items)
        return items[-1]

    counts = []
    for times in (2, 1200):
        last = renew(times)
        with CaptureQueriesContext(connection) as queries:
            links = subscriptions.chain(last)
        counts.append(len(queries))

    assert [link.number for link in links] == [f"M{number}" for number in range(1203)]
    assert counts == [1, 1]


def copy(row, **fields):
    left_out = {"id", "link_token", "link_fingerprint", "short_number", "customer_text", *fields}
    kept = [field for field in row._meta.concrete_fields if field.name not in left_out]
    return type(row)(**{field.attname: getattr(row, field.attname) for field in kept} | fields)


def test_no_wake_up_is_lost_when_the_first_is_done_while_the_renewal_looks(
    service, report, work, told, receiver, monkeypatch
):
    """The renewal finds the first order waiting; that one is done before the renewal has noted that it waits."""
    answer, receiver.respond = receiver.respond, lambda received: (503, {}, b"")
    first = report("P")
    work()
    renewal = report("R1", "P", year=2021)
    receiver.respond = answer
    note = services._note_what_is_missing

    def meanwhile(*arguments):
        if not first.activation_codes.exists():
            enter_codes(first, {1: "BY-HAND"}, by="Sam")
        note(*arguments)

    monkeypatch.setattr(services, "_note_what_is_missing", meanwhile)
    fulfill(renewal.fulfillment.pk)

    assert Fulfillment.objects.due().filter(item=renewal).exists()
    work()
    assert told("R1") == ("BY-HAND", "BY-HAND")


def test_all_are_served_when_reports_and_workers_are_at_it_at_once(service, report, told, in_threads):
    numbers = ["P", *(f"R{number}" for number in range(1, 6))]

    def do(task):
        if task in numbers:
            report(task, None if task == "P" else "P", year=2020 + numbers.index(task))
        for pk in Fulfillment.objects.due().values_list("pk", flat=True):
            services.fulfill_by_callout(pk)

    in_threads(do, [*reversed(numbers), *range(12)], 6)
    let_pass(minutes=20)
    for _ in range(6):
        do(None)

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done"}
    assert told("R5")[0] == "CODE-P"


def test_a_renewal_from_a_pool_waits_for_nothing(report, make_product):
    pooled = make_product(keys=2)

    report("R1", "NEVER-REPORTED", products=[pooled])

    assert state("R1") == ("done", "")


def test_a_mail_names_the_license_of_the_first_order(report, make_product, merchant, work, mailoutbox):
    pooled = make_product(keys=0)
    merchant.email_templates.create(product=pooled, language="en", body="{KEY} renews {PARENT_KEY}.")
    for year, (number, parent) in enumerate([("P", None), ("R1", "P"), ("R2", "R1")], 2020):
        enter_codes(report(number, parent, products=[pooled], year=year), {1: f"CODE-{number}"}, by="Sam")
    work()

    text = "\n".join(mail.body for mail in mailoutbox)
    for line in ("CODE-P renews .", "CODE-R1 renews CODE-P.", "CODE-R2 renews CODE-P."):
        assert line in text


def test_type_and_period_are_those_of_the_order_that_was_paid_last(service, report):
    report("R1", "P", year=2021, subscription={"type": "PMR", "period": "P1M"})
    report("P", year=2020)
    subscription = Subscription.objects.get()
    assert (subscription.type, subscription.period) == ("PMR", "P1M")

    report("R2", "P", year=2022, subscription={"period": "P3M"})

    subscription.refresh_from_db()
    assert (subscription.type, subscription.period) == ("AR", "P3M")
