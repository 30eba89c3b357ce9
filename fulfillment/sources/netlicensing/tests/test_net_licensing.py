"""Licensees and licenses from a NetLicensing service, including failures at every step."""

from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest
from django.db import connection
from django.db.models.functions import Now

from fulfillment.actions import retry
from fulfillment.engine import fulfill, fulfill_in_turn
from fulfillment.history import order_history
from fulfillment.models import Fulfillment
from fulfillment.product_sources import SourceChangeRefused, add_source, remove_place
from fulfillment.sources.netlicensing import client as net_licensing
from fulfillment.sources.netlicensing.models import Deactivation, IssuedLicense, LicensingAccount
from fulfillment.sources.netlicensing.tests.licensing_server import FAILURES, Proxy, Service, envelope, refusal
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderItem
from orders.services import refund, reinstate
from outbound.models import OutgoingRequest
from portal.netlicensing.own_service import remove_account

STEPS = 8  # requests for one unit with three licenses


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def proxy(service, loopback_allowed, monkeypatch):
    proxy = Proxy(service)
    monkeypatch.setattr(net_licensing, "call", proxy.with_short_timeout(net_licensing.call))
    yield proxy
    proxy.stop()


@pytest.fixture
def account(merchant, proxy):
    return LicensingAccount.objects.create(merchant=merchant, name="Vendor", address=proxy.url, api_key="the-key")


@pytest.fixture
def make_package(merchant, account):
    def make(*products, templates=("T-SUB", "T-PPU"), name="Pro", product_number="P-1", **fields):
        package = merchant.license_packages.create(account=account, name=name, product_number=product_number, **fields)
        set_templates(package, *templates)
        for product in products:
            add_source(product, "netlicensing", package)
        return package

    return make


def set_templates(package, *numbers):
    package.templates.all().delete()
    for position, number in enumerate(numbers, 1):
        number, _, quantity = number.partition(" × ")
        package.templates.create(position=position, number=number, quantity=quantity or 1)


@pytest.fixture
def sold(make_product):
    return make_product(source=None)


def codes_of(number):
    return [code.code for code in ActivationCode.objects.filter(item__order__number=number)]


def forget_codes():
    """Simulate a worker that died before it saved the codes."""
    ActivationCode.objects.all().delete()
    Fulfillment.objects.update(status="waiting", due_at=Now())


def make_all_due():
    """Make everything due again, as if time had passed or somebody had pressed Retry."""
    LicensingAccount.objects.update(failures=0, paused_at=None)
    for item in OrderItem.objects.filter(fulfillment__status="failed"):
        retry(item, actor="Sam")
    for model in (Fulfillment, Deactivation):
        model.objects.filter(due_at__isnull=False).update(due_at=Now())


def test_it_creates_a_licensee_with_licenses_marks_it_and_emails_its_number(
    pay, work, sold, make_package, service, proxy, mailoutbox
):
    make_package(sold, templates=["T-SUB", "T-PPU × 2"])

    order = pay(sold)["order"]
    work()

    [code] = codes_of(order)
    licensee = service.licensees[code]
    assert (licensee["productNumber"], licensee["markedForTransfer"]) == ("P-1", "true")
    assert service.templates_of(code) == ["T-PPU", "T-PPU", "T-SUB"]
    assert Fulfillment.objects.get().status == "done"
    assert code in mailoutbox[0].body
    assert len(proxy.requests) == STEPS


def test_each_unit_gets_a_licensee(pay, work, sold, make_package, service):
    make_package(sold)

    order = pay(sold, quantity=3)["order"]
    work()

    codes = codes_of(order)
    assert len(set(codes)) == 3
    assert all(service.templates_of(code) == ["T-PPU", "T-SUB"] for code in codes)


def test_an_item_can_get_one_licensee_with_multiplied_licenses(pay, work, sold, make_package, service, proxy):
    sold.quantity_rule = "item"
    sold.save()
    make_package(sold, templates=["T-SUB × 2", "T-PPU"])

    order = pay(sold, quantity=30)["order"]
    work()

    [code] = codes_of(order)  # 90 licenses: more than a page of them
    assert service.templates_of(code) == ["T-PPU"] * 30 + ["T-SUB"] * 60

    forget_codes()
    proxy.requests.clear()
    work()
    assert codes_of(order) == [code]
    assert len(proxy.requests) == 3  # the licensee, and two pages of its licenses


@pytest.mark.parametrize(("start", "sent"), [("none", None), ("now", "now"), ("payment", "2026-11-22T10:30:00.000Z")])
def test_licenses_start_as_the_package_says(pay, work, sold, make_package, service, start, sent):
    make_package(sold, start_date=start)

    [code] = codes_of(pay_and_work(pay, work, sold, paid_at="2026-11-22T11:30:00+01:00"))

    assert {row.get("startDate") for row in service.licenses_of(code)} == {sent}


def pay_and_work(pay, work, sold, **fields):
    order = pay(sold, **fields)["order"]
    work()
    return order


@pytest.mark.parametrize("failure", FAILURES)
def test_the_next_attempt_completes_a_licensee_after_a_failure_at_any_step(
    pay, work, sold, make_package, service, proxy, failure
):
    make_package(sold, templates=["T-SUB", "T-PPU × 2"])
    for step in range(1, STEPS + 1):
        before = set(service.licensees)
        proxy.fail_at(failure, step)
        order = pay_and_work(pay, work, sold)
        if (failure, step) in HARMLESS_STEPS:
            assert len(codes_of(order)) == 1
        else:
            assert codes_of(order) == []

        proxy.stop_failing()
        make_all_due()
        work()

        [code] = codes_of(order)
        assert set(service.licensees) - before == {code}
        assert service.licensees[code]["markedForTransfer"] == "true"
        assert service.templates_of(code) == ["T-PPU", "T-PPU", "T-SUB"]
        assert Fulfillment.objects.get(item__order__number=order).status == "done"


# These answers contain no number to replace.
HARMLESS_STEPS = {("answers with other numbers", 1), ("answers with other numbers", 3)}


def test_a_complete_licensee_is_read_but_not_changed(pay, work, sold, make_package, service, proxy):
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    [code] = codes_of(order)
    forget_codes()

    asked = len(proxy.requests)
    work()

    assert codes_of(order) == [code]
    assert [request.partition(" ")[0] for request in proxy.requests[asked:]] == ["GET", "GET"]
    assert service.templates_of(code) == ["T-PPU", "T-SUB"]


def test_transferred_licenses_are_not_created_again(pay, work, sold, make_package, service):
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    [code] = codes_of(order)
    forget_codes()
    service.transfer(code, "CUSTOMER-1")

    work()

    assert codes_of(order) == [code]
    assert service.templates_of("CUSTOMER-1") == ["T-PPU", "T-SUB"]
    assert service.licenses_of(code) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows.update(productNumber="P-2"), "belongs to the product “P-2”, not to “P-1”"),
        (lambda rows: rows.update(active="false"), "inactive"),
    ],
)
def test_a_licensee_with_the_wrong_product_or_status_is_not_issued(
    pay, work, sold, make_package, service, proxy, change, reason
):
    make_package(sold)
    proxy.fail_at("dies after", 2)
    order = pay_and_work(pay, work, sold)
    [licensee] = service.licensees.values()
    change(licensee)

    proxy.stop_failing()
    make_all_due()
    work()

    assert codes_of(order) == []
    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "failed" and reason in fulfillment.reason


@pytest.mark.parametrize(
    "changed_fields", [{"markedForTransfer": "false"}, {"active": "false"}, {"productNumber": "P-2"}]
)
def test_an_unconfirmed_transfer_mark_fails_the_attempt(pay, work, sold, make_package, service, changed_fields):
    make_package(sold, templates=["T-SUB"])
    original_update = service.update

    def update_without_confirming(kind, number, form):
        answer = original_update(kind, number, form)
        if form.get("markedForTransfer") == "true":
            return envelope(kind, [service.licensees[number] | changed_fields])
        return answer

    service.update = update_without_confirming
    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"product_number": "P-9"}, "Requested product does not exist"),
        ({"templates": ["T-SUB", "T-NONE"]}, "Requested license template does not exist"),
        ({"templates": ["T-OTHER"]}, "The template is another product’s"),
        ({"templates": []}, "has no templates"),
    ],
)
def test_a_package_error_causes_a_notice_and_a_retry_works_once_it_is_fixed(
    pay, work, sold, make_package, service, mailoutbox, fields, reason
):
    package = make_package(sold, **fields)
    order = pay_and_work(pay, work, sold)
    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "failed" and reason in fulfillment.reason
    assert len(mailoutbox) == 1

    package.product_number = "P-1"
    package.save()
    set_templates(package, "T-FEATURE", "T-PPU")
    make_all_due()
    work()

    [code] = codes_of(order)
    assert service.templates_of(code) == ["T-FEATURE", "T-PPU"]


@pytest.mark.parametrize("key", ["wrong-key", "weak-key"])
def test_a_rejected_api_key_causes_one_notice_for_all_items(pay, work, sold, make_package, account, mailoutbox, key):
    make_package(sold)
    account.api_key = key
    account.save()
    for _ in range(3):
        pay(sold)
    work()

    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"failed"}
    assert "ROLE_APIKEY_OPERATION" in Fulfillment.objects.earliest("pk").reason
    assert MerchantNotice.objects.count() == len(mailoutbox) == 1
    assert f"/licensing-accounts/{account.pk}/" in mailoutbox[0].body
    assert "3 order items got no activation code from “Vendor”" in mailoutbox[0].body


def test_a_started_item_keeps_the_templates_it_started_with(pay, work, sold, make_package, service, proxy):
    package = make_package(sold)
    proxy.fail_at("dies before", 6)
    order = pay_and_work(pay, work, sold)
    set_templates(package, "T-FEATURE")
    package.product_number = "P-2"
    package.save()

    proxy.stop_failing()
    make_all_due()
    work()

    [code] = codes_of(order)
    assert service.templates_of(code) == ["T-PPU", "T-SUB"]


def test_logs_contain_neither_licensee_numbers_nor_the_api_key(
    pay, work, sold, make_package, service, proxy, account, caplog
):
    caplog.set_level("DEBUG")
    make_package(sold)
    [code] = codes_of(pay_and_work(pay, work, sold))
    proxy.fail_at("answers 503", 1)
    pay_and_work(pay, work, sold)
    service.transfer(code, "adas-machine")
    forget_codes()
    proxy.stop_failing()
    work()

    kept = "\n".join(
        f"{row.url} {row.sent} {row.answer} {row.error} {row.request_id}" for row in OutgoingRequest.objects.all()
    )
    assert "licensee/••••" in kept and "T-SUB" in kept and "markedForTransfer=true" in kept
    numbers = [code, *service.licensees]
    for secret in [*numbers, "the-key", "Basic", "adas-machine"]:
        assert secret not in kept and secret not in caplog.text
    assert OutgoingRequest.objects.exclude(upstream=account).count() == 0


def test_secrets_repeated_in_an_answer_are_masked_in_the_log(pay, work, sold, make_package, service, proxy):
    make_package(sold)
    proxy.forward = lambda method, target, headers, body: refusal(400, target, f"{target} {headers['Authorization']}")
    order = pay_and_work(pay, work, sold)
    kept = "".join(f"{row.answer} {row.error}" for row in OutgoingRequest.objects.all())
    proxy.forward = service
    make_all_due()
    work()

    [code] = codes_of(order)
    assert "licensee/••••" in kept
    assert code not in kept and "Basic ••••" in kept


def test_numbers_are_long_and_license_numbers_dont_reveal_the_licensees(pay, work, sold, make_package, service):
    make_package(sold)
    [code] = codes_of(pay_and_work(pay, work, sold))

    groups = code.split("-")
    assert groups[0] == "KW" and [len(group) for group in groups[1:]] == [5] * 5
    assert not {part for number in service.licenses for part in number.split("-")} & set(groups)


def test_another_merchants_account_gets_no_requests(pay, work, sold, make_package, outsider, account, proxy):
    make_package(sold)
    LicensingAccount.objects.update(merchant=outsider)

    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == [] and proxy.requests == []


def test_the_address_guard_applies_to_merchants_urls_but_not_to_our_own_service(
    pay, work, sold, make_package, account, proxy, settings
):
    settings.CALLOUT_NETWORKS = []
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    assert codes_of(order) == [] and proxy.requests == []

    settings.LICENSING_URL = proxy.url
    settings.CALLOUT_PROXY = "http://127.0.0.1:9"
    account.address = ""
    account.save()
    make_all_due()
    work()

    assert len(codes_of(order)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (
            200,
            {},
            b'{"items": {"item": [{"type": "Licensee", "property": [{"name": "number", "value": "I\\u0000"}]}]}}',
        ),
        (400, {}, b'{"infos": {"info": [{"id": "\\ud800", "type": "ERROR", "value": "\\u0000 \\udfff"}]}}'),
        (200, {}, b'{"items": {"item": "no"}, "infos": 5}'),
        (200, {}, b'{"items": null, "infos": null}'),
        (200, {}, b"[" * 50_000),
        (200, {}, b'{"items": {"item": [' + b" " * 70_000 + b"]}}"),
        (404, {}, b"<html>404</html>"),
        (204, {}, b""),
        (302, {"Location": "http://127.0.0.1/"}, b""),
    ],
)
def test_an_invalid_answer_is_an_error_that_the_merchant_can_read(
    pay, work, sold, make_package, service, proxy, answer
):
    make_package(sold)
    proxy.forward = lambda *request: answer
    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == [] and not service.licensees
    assert Fulfillment.objects.get().reason.startswith("Licensing account “Vendor”: The service answered")
    assert OutgoingRequest.objects.latest("pk").milliseconds is not None


def test_an_answer_with_another_licensee_is_rejected(pay, work, sold, make_package, service, proxy):
    make_package(sold)
    theirs = {"number": "THEIRS", "productNumber": "P-1", "active": "true", "markedForTransfer": "true"}
    service.get = lambda kind, number, form: envelope("licensee", [theirs])

    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == []
    assert "without the requested licensee" in Fulfillment.objects.get().reason


# Load


def test_few_requests_reach_an_unavailable_service_and_all_orders_succeed_later(
    pay, work, sold, make_package, service, proxy
):
    make_package(sold)
    for _ in range(12):
        pay(sold)
    proxy.forward = lambda *request: (503, {}, b"")
    work()
    assert len(proxy.requests) == 5

    proxy.forward = service
    make_all_due()
    work()

    assert ActivationCode.objects.count() == 12 == len(service.licensees)


def test_at_most_four_items_per_host_are_nudged(pay, sold, make_package):
    make_package(sold)
    for _ in range(7):
        pay(sold)

    assert Fulfillment.objects.due_in_turn(4).count() == 4


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_fulfill_a_burst_of_orders_once_each(pay, sold, make_package, service, in_threads):
    make_package(sold, templates=["T-SUB"])
    for _ in range(16):
        pay(sold)

    def serve(pk):
        fulfill_in_turn(pk)
        connection.close()

    for _ in range(20):
        pks = list(Fulfillment.objects.filter(status__in=["pending", "waiting"]).values_list("pk", flat=True))
        Fulfillment.objects.filter(due_at__isnull=False).update(due_at=Now())
        if not pks:
            break
        in_threads(serve, pks, threads=8)

    assert ActivationCode.objects.count() == 16
    assert len(service.licensees) == 16 and len(service.licenses) == 16


def test_work_that_exceeds_an_attempt_continues_in_the_next(pay, work, sold, make_package, service, monkeypatch):
    make_package(sold, templates=["T-SUB × 5"])
    clock = count(0, 8).__next__  # each request takes 8 of the 45 seconds
    monkeypatch.setattr(net_licensing, "monotonic", clock)
    monkeypatch.setattr("fulfillment.sources.netlicensing.source.monotonic", clock)
    order = pay(sold)["order"]
    for _ in range(20):
        make_all_due()
        work()
        if codes_of(order):
            break

    [code] = codes_of(order)
    assert Fulfillment.objects.get().attempts > 2
    assert service.templates_of(code) == ["T-SUB"] * 5
    assert LicensingAccount.objects.get().failing_since is None


# Refunds


def refund_order(number):
    order = Order.objects.get(number=number)
    refund(order, actor="Olivia")


def active_flags(service):
    return sorted(row["active"] for row in service.licenses.values())


def test_a_refund_deactivates_only_its_own_licenses_even_after_a_transfer(pay, work, sold, make_package, service):
    make_package(sold)
    [kept] = codes_of(pay_and_work(pay, work, sold))
    order = pay_and_work(pay, work, sold)
    [code] = codes_of(order)
    service.transfer(kept, "CUSTOMER-1")
    service.transfer(code, "CUSTOMER-1")

    refund_order(order)
    work()

    assert Deactivation.objects.get().status == "deactivated"
    inactive = {number for number, row in service.licenses.items() if row["active"] == "false"}
    item = OrderItem.objects.get(order__number=order)
    assert inactive == set(item.issued_licenses.values_list("number", flat=True))
    assert service.licensees["CUSTOMER-1"]["active"] == "true"
    [line] = [line for line in order_history(item.order) if "Licenses" in line.text]
    assert (line.text, line.state) == (f"Licenses of {sold.name} deactivated", "deactivated")


def test_a_partial_refund_deactivates_nothing(pay, work, sold, make_package, service):
    make_package(sold)
    order = pay_and_work(pay, work, sold)

    refund(Order.objects.get(number=order), amount=Decimal(1), actor="Olivia")
    work()

    assert active_flags(service) == ["true", "true"] and not Deactivation.objects.exists()


@pytest.mark.parametrize("failure", FAILURES)
def test_a_deactivation_is_retried_after_a_failure_at_any_step(pay, work, sold, make_package, service, proxy, failure):
    make_package(sold)
    for step in (1, 2):
        order = pay_and_work(pay, work, sold)
        proxy.fail_at(failure, step)
        refund_order(order)
        work()
        assert Deactivation.objects.latest("pk").status == "queued"

        proxy.stop_failing()
        make_all_due()
        work()

        assert Deactivation.objects.latest("pk").status == "deactivated"
        assert set(active_flags(service)) == {"false"}


def test_licenses_added_after_a_refund_by_a_running_attempt_are_deactivated_too(
    pay, work, sold, make_package, service, monkeypatch
):
    make_package(sold)
    order = pay(sold)["order"]
    call, asked = net_licensing.call, []

    def refund_during_call(*args, **fields):
        asked.append(args)
        if len(asked) == 5:  # about to add the first
            refund_order(order)
            work()
        return call(*args, **fields)

    monkeypatch.setattr(net_licensing, "call", refund_during_call)
    fulfill(Fulfillment.objects.get().pk)
    assert codes_of(order) == [] and active_flags(service) == ["true", "true"]
    assert Deactivation.objects.get().status == "queued"

    make_all_due()
    work()
    assert active_flags(service) == ["false", "false"]
    assert Deactivation.objects.get().status == "deactivated"


def test_nothing_is_created_if_the_order_is_refunded_just_before(
    pay, work, sold, make_package, service, proxy, monkeypatch
):
    make_package(sold)
    order = pay(sold)["order"]
    monkeypatch.setattr(net_licensing, "let_through", lambda account: refund_order(order))
    fulfill(Fulfillment.objects.get().pk)

    assert not IssuedLicense.objects.exists() and proxy.requests == []
    assert Fulfillment.objects.get().due_at is None


def test_a_license_counts_as_deactivated_only_if_the_answer_says_so(pay, work, sold, make_package, service):
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    original_update = service.update
    service.update = lambda kind, number, form: envelope(kind, [service.licenses[number]])
    refund_order(order)
    work()
    assert Deactivation.objects.get().status == "queued"

    service.update = original_update
    make_all_due()
    work()
    assert Deactivation.objects.get().status == "deactivated" and active_flags(service) == ["false", "false"]


def test_undoing_a_refund_reactivates_the_licenses(pay, work, sold, make_package, service):
    make_package(sold)
    order = Order.objects.get(number=pay_and_work(pay, work, sold))
    for _ in range(2):
        refund_order(order.number)
        work()
        assert set(active_flags(service)) == {"false"}
        reinstate(order, actor="Olivia")
        make_all_due()
        work()

        assert set(active_flags(service)) == {"true"}
        assert Deactivation.objects.get().status == "activated"
        assert not IssuedLicense.objects.exclude(deactivated_at=None).exists()
    lines = [line.text for line in order_history(order)]
    assert f"Licenses of {sold.name} activated again" in lines


def test_reactivation_waits_for_a_running_deactivation(pay, work, sold, make_package, service, monkeypatch):
    make_package(sold)
    order = Order.objects.get(number=pay_and_work(pay, work, sold))
    refund_order(order.number)
    call, asked = net_licensing.call, []

    def undo_during_call(*args, **fields):
        asked.append(args)
        if len(asked) == 1:  # about to deactivate the first
            reinstate(order, actor="Olivia")
            work()  # nothing is due before the attempt under way has ended
        return call(*args, **fields)

    monkeypatch.setattr(net_licensing, "call", undo_during_call)
    work()
    assert Deactivation.objects.get().status == "queued"
    assert set(active_flags(service)) == {"false"}

    make_all_due()
    work()
    assert set(active_flags(service)) == {"true"}
    assert Deactivation.objects.get().status == "activated"


def test_the_merchant_is_notified_of_licenses_that_cant_be_reactivated(
    pay, work, sold, make_package, service, mailoutbox
):
    make_package(sold)
    order = Order.objects.get(number=pay_and_work(pay, work, sold))
    refund_order(order.number)
    work()
    service.licenses.clear()
    reinstate(order, actor="Olivia")
    make_all_due()
    work()
    assert Deactivation.objects.get().status == "queued"

    Deactivation.objects.update(created_at=Now() - timedelta(days=2), due_at=Now())
    work()
    assert Deactivation.objects.get().status == "failed"
    mail = mailoutbox[-1]
    assert "still inactive" in mail.subject
    assert all(license.number in mail.body for license in IssuedLicense.objects.all())


def test_an_account_that_rejects_requests_doesnt_block_the_others(
    pay, work, sold, make_package, service, proxy, account
):
    package = make_package(sold)
    order = pay_and_work(pay, work, sold)
    [first, second] = IssuedLicense.objects.order_by("pk")
    other = LicensingAccount.objects.create(
        merchant=account.merchant, name="Old", address=proxy.url, api_key="revoked"
    )
    IssuedLicense.objects.filter(pk=first.pk).update(account=other)
    gone = IssuedLicense.objects.get(pk=first.pk)
    gone.pk, gone.account, gone.number = None, None, "KL-GONE"
    gone.save()

    refund_order(order)
    work()

    assert service.licenses[second.number]["active"] == "false"
    assert Deactivation.objects.get().status == "queued"
    assert "API key" in Deactivation.objects.get().reason
    assert package.account == account


def test_a_missing_license_is_looked_for_until_no_attempt_can_still_be_running(
    pay, work, sold, make_package, service, proxy
):
    make_package(sold)
    proxy.fail_at("answers 503", 6)
    order = pay_and_work(pay, work, sold)
    proxy.stop_failing()
    refund_order(order)
    work()
    assert Deactivation.objects.get().status == "queued"

    Deactivation.objects.update(created_at=Now() - timedelta(minutes=3), due_at=Now())
    work()

    assert Deactivation.objects.get().status == "deactivated"
    assert active_flags(service) == ["false"]


def test_after_a_day_the_merchant_is_notified_of_licenses_still_active(
    pay, work, sold, make_package, proxy, mailoutbox
):
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    proxy.forward = lambda *request: (503, {}, b"")
    refund_order(order)
    work()
    Deactivation.objects.update(created_at=Now() - timedelta(hours=25), due_at=Now())
    work()

    assert Deactivation.objects.get().status == "failed"
    notice = mailoutbox[-1]
    assert "still active" in notice.subject and "503" in notice.body
    assert all(license.number in notice.body for license in IssuedLicense.objects.all())


# Settings


def test_a_package_or_account_in_use_cant_be_removed(sold, make_package, account):
    package = make_package(sold)
    with pytest.raises(SourceChangeRefused, match="is a source of"):
        remove_place(package)
    with pytest.raises(SourceChangeRefused, match="has license packages"):
        remove_account(account)

    sold.fulfillment_methods.all().delete()
    remove_place(package)
    remove_account(account)

    assert not LicensingAccount.objects.exists()


def test_a_refund_after_the_account_was_removed_shows_the_reason(pay, work, sold, make_package, account):
    package = make_package(sold)
    order = pay_and_work(pay, work, sold)
    sold.fulfillment_methods.all().delete()
    remove_place(package)
    remove_account(account)

    refund_order(order)
    work()

    assert "was removed" in Deactivation.objects.get().reason


def test_a_test_order_creates_no_licensee(pay_as_test, work, sold, make_package, service, proxy):
    make_package(sold)

    [item] = pay_as_test(sold)["items"]
    work()

    assert item["activation_codes"][0]["code"].startswith("TEST-")
    assert not service.licensees
    assert not OutgoingRequest.objects.exists()
    refund(Order.objects.get(), actor="Ada")
    assert not Deactivation.objects.exists()
