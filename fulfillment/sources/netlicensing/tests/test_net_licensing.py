"""Licensees with licenses from a NetLicensing service, whatever happens to it on the way."""

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
from fulfillment.sources.netlicensing.tests.licensing_server import TROUBLES, Proxy, Service, envelope, refusal
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderItem
from orders.services import refund, reinstate
from outbound.models import OutgoingRequest
from portal.netlicensing.own_service import remove_account

STEPS = 8  # of one unit with three licenses


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def proxy(service, inside, monkeypatch):
    proxy = Proxy(service)
    monkeypatch.setattr(net_licensing, "call", proxy.impatiently(net_licensing.call))
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
    """As if the worker had died before it saved them."""
    ActivationCode.objects.all().delete()
    Fulfillment.objects.update(status="waiting", due_at=Now())


def again():
    """Have all be tried once more, as if time had passed or somebody had pressed Retry."""
    LicensingAccount.objects.update(failures=0, paused_at=None)
    for item in OrderItem.objects.filter(fulfillment__status="failed"):
        retry(item, actor="Sam")
    for model in (Fulfillment, Deactivation):
        model.objects.filter(due_at__isnull=False).update(due_at=Now())


def test_a_licensee_is_made_with_its_licenses_and_marked_and_its_number_is_mailed(
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
    assert len(proxy.asked) == STEPS


def test_each_unit_has_a_licensee(pay, work, sold, make_package, service):
    make_package(sold)

    order = pay(sold, quantity=3)["order"]
    work()

    codes = codes_of(order)
    assert len(set(codes)) == 3
    assert all(service.templates_of(code) == ["T-PPU", "T-SUB"] for code in codes)


def test_or_an_item_has_one_with_as_many_licenses(pay, work, sold, make_package, service, proxy):
    sold.quantity_rule = "item"
    sold.save()
    make_package(sold, templates=["T-SUB × 2", "T-PPU"])

    order = pay(sold, quantity=30)["order"]
    work()

    [code] = codes_of(order)  # 90 licenses: more than a page of them
    assert service.templates_of(code) == ["T-PPU"] * 30 + ["T-SUB"] * 60

    forget_codes()
    proxy.asked.clear()
    work()
    assert codes_of(order) == [code]
    assert len(proxy.asked) == 3  # the licensee, and two pages of its licenses


@pytest.mark.parametrize(("start", "sent"), [("none", None), ("now", "now"), ("payment", "2026-11-22T10:30:00.000Z")])
def test_licenses_start_as_the_package_says(pay, work, sold, make_package, service, start, sent):
    make_package(sold, start_date=start)

    [code] = codes_of(pay_and_work(pay, work, sold, paid_at="2026-11-22T11:30:00+01:00"))

    assert {row.get("startDate") for row in service.licenses_of(code)} == {sent}


def pay_and_work(pay, work, sold, **fields):
    order = pay(sold, **fields)["order"]
    work()
    return order


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_at_any_step_gives_no_number_and_the_next_attempt_completes_what_is_there(
    pay, work, sold, make_package, service, proxy, trouble
):
    make_package(sold, templates=["T-SUB", "T-PPU × 2"])
    for step in range(1, STEPS + 1):
        before = set(service.licensees)
        proxy.make_trouble(trouble, step)
        order = pay_and_work(pay, work, sold)
        if (trouble, step) in HARMLESS:
            assert len(codes_of(order)) == 1
        else:
            assert codes_of(order) == []

        proxy.make_none()
        again()
        work()

        [code] = codes_of(order)
        assert set(service.licensees) - before == {code}
        assert service.licensees[code]["markedForTransfer"] == "true"
        assert service.templates_of(code) == ["T-PPU", "T-PPU", "T-SUB"]
        assert Fulfillment.objects.get(item__order__number=order).status == "done"


# These answers name nobody.
HARMLESS = {("answers for another", 1), ("answers for another", 3)}


def test_what_was_complete_already_is_looked_at_and_left_as_it_is(pay, work, sold, make_package, service, proxy):
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    [code] = codes_of(order)
    forget_codes()

    asked = len(proxy.asked)
    work()

    assert codes_of(order) == [code]
    assert [request.partition(" ")[0] for request in proxy.asked[asked:]] == ["GET", "GET"]
    assert service.templates_of(code) == ["T-PPU", "T-SUB"]


def test_licenses_that_were_transferred_already_are_not_made_again(pay, work, sold, make_package, service):
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
    ("change", "words"),
    [
        (lambda rows: rows.update(productNumber="P-2"), "belongs to the product “P-2”, not to “P-1”"),
        (lambda rows: rows.update(active="false"), "inactive"),
    ],
)
def test_a_licensee_that_is_not_what_it_should_be_is_not_handed_out(
    pay, work, sold, make_package, service, proxy, change, words
):
    make_package(sold)
    proxy.make_trouble("dies after", 2)
    order = pay_and_work(pay, work, sold)
    [licensee] = service.licensees.values()
    change(licensee)

    proxy.make_none()
    again()
    work()

    assert codes_of(order) == []
    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "failed" and words in fulfillment.reason


@pytest.mark.parametrize("lie", [{"markedForTransfer": "false"}, {"active": "false"}, {"productNumber": "P-2"}])
def test_a_mark_that_is_not_confirmed_does_not_count(pay, work, sold, make_package, service, lie):
    make_package(sold, templates=["T-SUB"])
    really = service.update

    def forgetful(kind, number, form):
        answer = really(kind, number, form)
        if form.get("markedForTransfer") == "true":
            return envelope(kind, [service.licensees[number] | lie])
        return answer

    service.update = forgetful
    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"product_number": "P-9"}, "Requested product does not exist"),
        ({"templates": ["T-SUB", "T-NONE"]}, "Requested license template does not exist"),
        ({"templates": ["T-OTHER"]}, "The template is another product’s"),
        ({"templates": []}, "has no templates"),
    ],
)
def test_what_the_package_has_wrong_is_told_and_mended_by_a_retry(
    pay, work, sold, make_package, service, mailoutbox, fields, words
):
    package = make_package(sold, **fields)
    order = pay_and_work(pay, work, sold)
    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "failed" and words in fulfillment.reason
    assert len(mailoutbox) == 1

    package.product_number = "P-1"
    package.save()
    set_templates(package, "T-FEATURE", "T-PPU")
    again()
    work()

    [code] = codes_of(order)
    assert service.templates_of(code) == ["T-FEATURE", "T-PPU"]


@pytest.mark.parametrize("key", ["wrong-key", "weak-key"])
def test_a_key_that_is_refused_is_told_once_for_all_items(pay, work, sold, make_package, account, mailoutbox, key):
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
    assert "3 order items got no activation code from your licensing account “Vendor”" in mailoutbox[0].body


def test_an_item_that_was_begun_goes_on_with_what_it_was_begun_with(pay, work, sold, make_package, service, proxy):
    package = make_package(sold)
    proxy.make_trouble("dies before", 6)
    order = pay_and_work(pay, work, sold)
    set_templates(package, "T-FEATURE")
    package.product_number = "P-2"
    package.save()

    proxy.make_none()
    again()
    work()

    [code] = codes_of(order)
    assert service.templates_of(code) == ["T-PPU", "T-SUB"]


def test_no_log_tells_the_number_or_the_key(pay, work, sold, make_package, service, proxy, account, caplog):
    caplog.set_level("DEBUG")
    make_package(sold)
    [code] = codes_of(pay_and_work(pay, work, sold))
    proxy.make_trouble("is down", 1)
    pay_and_work(pay, work, sold)
    service.transfer(code, "adas-machine")
    forget_codes()
    proxy.make_none()
    work()

    kept = "\n".join(
        f"{row.url} {row.sent} {row.answer} {row.error} {row.request_id}" for row in OutgoingRequest.objects.all()
    )
    assert "licensee/••••" in kept and "T-SUB" in kept and "markedForTransfer=true" in kept
    numbers = [code, *service.licensees]
    for secret in [*numbers, "the-key", "Basic", "adas-machine"]:
        assert secret not in kept and secret not in caplog.text
    assert OutgoingRequest.objects.exclude(upstream=account).count() == 0


def test_a_service_that_repeats_what_it_was_asked_for_tells_no_log(pay, work, sold, make_package, service, proxy):
    make_package(sold)
    proxy.forward = lambda method, target, headers, body: refusal(400, target, f"{target} {headers['Authorization']}")
    order = pay_and_work(pay, work, sold)
    kept = "".join(f"{row.answer} {row.error}" for row in OutgoingRequest.objects.all())
    proxy.forward = service
    again()
    work()

    [code] = codes_of(order)
    assert "licensee/••••" in kept
    assert code not in kept and "Basic ••••" in kept


def test_numbers_are_long_and_those_of_licenses_do_not_tell_the_licensees(pay, work, sold, make_package, service):
    make_package(sold)
    [code] = codes_of(pay_and_work(pay, work, sold))

    groups = code.split("-")
    assert groups[0] == "KW" and [len(group) for group in groups[1:]] == [5] * 5
    assert not {part for number in service.licenses for part in number.split("-")} & set(groups)


def test_another_merchants_account_is_not_asked(pay, work, sold, make_package, outsider, account, proxy):
    make_package(sold)
    LicensingAccount.objects.update(merchant=outsider)

    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == [] and proxy.asked == []


def test_an_address_that_a_merchant_typed_is_guarded_and_our_own_is_not(
    pay, work, sold, make_package, account, proxy, settings
):
    settings.CALLOUT_NETWORKS = []
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    assert codes_of(order) == [] and proxy.asked == []

    settings.LICENSING_URL = proxy.url
    settings.CALLOUT_PROXY = "http://127.0.0.1:9"
    account.address = ""
    account.save()
    again()
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
def test_an_answer_that_makes_no_sense_is_an_error_that_the_merchant_reads(
    pay, work, sold, make_package, service, proxy, answer
):
    make_package(sold)
    proxy.forward = lambda *request: answer
    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == [] and not service.licensees
    assert Fulfillment.objects.get().reason.startswith("Licensing account “Vendor”: The service answered")
    assert OutgoingRequest.objects.latest("pk").milliseconds is not None


def test_somebody_elses_licensee_is_not_taken_for_ours(pay, work, sold, make_package, service, proxy):
    make_package(sold)
    theirs = {"number": "THEIRS", "productNumber": "P-1", "active": "true", "markedForTransfer": "true"}
    service.get = lambda kind, number, form: envelope("licensee", [theirs])

    order = pay_and_work(pay, work, sold)

    assert codes_of(order) == []
    assert "without the requested licensee" in Fulfillment.objects.get().reason


# Many at once


def test_of_many_orders_at_a_service_that_is_away_few_ask_and_all_get_theirs_later(
    pay, work, sold, make_package, service, proxy
):
    make_package(sold)
    for _ in range(12):
        pay(sold)
    proxy.forward = lambda *request: (503, {}, b"")
    work()
    assert len(proxy.asked) == 5

    proxy.forward = service
    again()
    work()

    assert ActivationCode.objects.count() == 12 == len(service.licensees)


def test_no_more_than_a_hosts_share_are_nudged_at_once(pay, sold, make_package):
    make_package(sold)
    for _ in range(7):
        pay(sold)

    assert Fulfillment.objects.due_in_turn(4).count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_burst_is_served_by_those_who_have_a_turn(pay, sold, make_package, service, in_threads):
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


def test_what_takes_longer_than_an_attempt_goes_on_in_the_next(pay, work, sold, make_package, service, monkeypatch):
    make_package(sold, templates=["T-SUB × 5"])
    clock = count(0, 8).__next__  # each request takes 8 of the 45 seconds
    monkeypatch.setattr(net_licensing, "monotonic", clock)
    monkeypatch.setattr("fulfillment.sources.netlicensing.source.monotonic", clock)
    order = pay(sold)["order"]
    for _ in range(20):
        again()
        work()
        if codes_of(order):
            break

    [code] = codes_of(order)
    assert Fulfillment.objects.get().attempts > 2
    assert service.templates_of(code) == ["T-SUB"] * 5
    assert LicensingAccount.objects.get().failing_since is None


# Refunds


def refunded(number):
    order = Order.objects.get(number=number)
    refund(order, actor="Olivia")


def activity(service):
    return sorted(row["active"] for row in service.licenses.values())


def test_a_refund_deactivates_the_licenses_wherever_they_are_and_no_others(pay, work, sold, make_package, service):
    make_package(sold)
    [kept] = codes_of(pay_and_work(pay, work, sold))
    order = pay_and_work(pay, work, sold)
    [code] = codes_of(order)
    service.transfer(kept, "CUSTOMER-1")
    service.transfer(code, "CUSTOMER-1")

    refunded(order)
    work()

    assert Deactivation.objects.get().status == "deactivated"
    inactive = {number for number, row in service.licenses.items() if row["active"] == "false"}
    item = OrderItem.objects.get(order__number=order)
    assert inactive == set(item.issued_licenses.values_list("number", flat=True))
    assert service.licensees["CUSTOMER-1"]["active"] == "true"
    [line] = [line for line in order_history(item.order) if "Licenses" in line.text]
    assert (line.text, line.state) == (f"Licenses of {sold.name} deactivated", "deactivated")


def test_a_refund_of_a_part_deactivates_nothing(pay, work, sold, make_package, service):
    make_package(sold)
    order = pay_and_work(pay, work, sold)

    refund(Order.objects.get(number=order), amount=Decimal(1), actor="Olivia")
    work()

    assert activity(service) == ["true", "true"] and not Deactivation.objects.exists()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_with_a_refund_is_overcome(pay, work, sold, make_package, service, proxy, trouble):
    make_package(sold)
    for step in (1, 2):
        order = pay_and_work(pay, work, sold)
        proxy.make_trouble(trouble, step)
        refunded(order)
        work()
        assert Deactivation.objects.latest("pk").status == "queued"

        proxy.make_none()
        again()
        work()

        assert Deactivation.objects.latest("pk").status == "deactivated"
        assert set(activity(service)) == {"false"}


def test_a_license_that_an_attempt_under_way_adds_after_the_refund_is_deactivated_as_well(
    pay, work, sold, make_package, service, monkeypatch
):
    make_package(sold)
    order = pay(sold)["order"]
    call, asked = net_licensing.call, []

    def refund_meanwhile(*args, **fields):
        asked.append(args)
        if len(asked) == 5:  # about to add the first
            refunded(order)
            work()
        return call(*args, **fields)

    monkeypatch.setattr(net_licensing, "call", refund_meanwhile)
    fulfill(Fulfillment.objects.get().pk)
    assert codes_of(order) == [] and activity(service) == ["true", "true"]
    assert Deactivation.objects.get().status == "queued"

    again()
    work()
    assert activity(service) == ["false", "false"]
    assert Deactivation.objects.get().status == "deactivated"


def test_nothing_is_begun_for_an_order_that_is_refunded_a_moment_before(
    pay, work, sold, make_package, service, proxy, monkeypatch
):
    make_package(sold)
    order = pay(sold)["order"]
    monkeypatch.setattr(net_licensing, "let_through", lambda account: refunded(order))
    fulfill(Fulfillment.objects.get().pk)

    assert not IssuedLicense.objects.exists() and proxy.asked == []
    assert Fulfillment.objects.get().due_at is None


def test_a_license_counts_as_deactivated_only_if_the_answer_says_so(pay, work, sold, make_package, service):
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    really = service.update
    service.update = lambda kind, number, form: envelope(kind, [service.licenses[number]])
    refunded(order)
    work()
    assert Deactivation.objects.get().status == "queued"

    service.update = really
    again()
    work()
    assert Deactivation.objects.get().status == "deactivated" and activity(service) == ["false", "false"]


def test_undoing_a_refund_activates_the_licenses_again(pay, work, sold, make_package, service):
    make_package(sold)
    order = Order.objects.get(number=pay_and_work(pay, work, sold))
    for _ in range(2):
        refunded(order.number)
        work()
        assert set(activity(service)) == {"false"}
        reinstate(order, actor="Olivia")
        again()
        work()

        assert set(activity(service)) == {"true"}
        assert Deactivation.objects.get().status == "activated"
        assert not IssuedLicense.objects.exclude(deactivated_at=None).exists()
    lines = [line.text for line in order_history(order)]
    assert f"Licenses of {sold.name} activated again" in lines


def test_an_undone_refund_waits_for_a_deactivation_that_is_under_way(
    pay, work, sold, make_package, service, monkeypatch
):
    make_package(sold)
    order = Order.objects.get(number=pay_and_work(pay, work, sold))
    refunded(order.number)
    call, asked = net_licensing.call, []

    def undo_meanwhile(*args, **fields):
        asked.append(args)
        if len(asked) == 1:  # about to deactivate the first
            reinstate(order, actor="Olivia")
            work()  # nothing is due before the attempt under way has ended
        return call(*args, **fields)

    monkeypatch.setattr(net_licensing, "call", undo_meanwhile)
    work()
    assert Deactivation.objects.get().status == "queued"
    assert set(activity(service)) == {"false"}

    again()
    work()
    assert set(activity(service)) == {"true"}
    assert Deactivation.objects.get().status == "activated"


def test_licenses_that_cannot_be_activated_again_are_reported(pay, work, sold, make_package, service, mailoutbox):
    make_package(sold)
    order = Order.objects.get(number=pay_and_work(pay, work, sold))
    refunded(order.number)
    work()
    service.licenses.clear()
    reinstate(order, actor="Olivia")
    again()
    work()
    assert Deactivation.objects.get().status == "queued"

    Deactivation.objects.update(created_at=Now() - timedelta(days=2), due_at=Now())
    work()
    assert Deactivation.objects.get().status == "failed"
    mail = mailoutbox[-1]
    assert "still inactive" in mail.subject
    assert all(license.number in mail.body for license in IssuedLicense.objects.all())


def test_an_account_that_refuses_keeps_no_other_from_being_asked(
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

    refunded(order)
    work()

    assert service.licenses[second.number]["active"] == "false"
    assert Deactivation.objects.get().status == "queued"
    assert "API key" in Deactivation.objects.get().reason
    assert package.account == account


def test_what_was_never_made_is_looked_for_until_nobody_can_be_at_it(pay, work, sold, make_package, service, proxy):
    make_package(sold)
    proxy.make_trouble("is down", 6)
    order = pay_and_work(pay, work, sold)
    proxy.make_none()
    refunded(order)
    work()
    assert Deactivation.objects.get().status == "queued"

    Deactivation.objects.update(created_at=Now() - timedelta(minutes=3), due_at=Now())
    work()

    assert Deactivation.objects.get().status == "deactivated"
    assert activity(service) == ["false"]


def test_after_a_day_the_merchant_is_told_which_are_active_still(pay, work, sold, make_package, proxy, mailoutbox):
    make_package(sold)
    order = pay_and_work(pay, work, sold)
    proxy.forward = lambda *request: (503, {}, b"")
    refunded(order)
    work()
    Deactivation.objects.update(created_at=Now() - timedelta(hours=25), due_at=Now())
    work()

    assert Deactivation.objects.get().status == "failed"
    told = mailoutbox[-1]
    assert "still active" in told.subject and "503" in told.body
    assert all(license.number in told.body for license in IssuedLicense.objects.all())


# Settings


def test_a_package_or_an_account_in_use_is_not_removed(sold, make_package, account):
    package = make_package(sold)
    with pytest.raises(SourceChangeRefused, match="is a source of"):
        remove_place(package)
    with pytest.raises(SourceChangeRefused, match="has license packages"):
        remove_account(account)

    sold.fulfillment_methods.all().delete()
    remove_place(package)
    remove_account(account)

    assert not LicensingAccount.objects.exists()


def test_a_refund_after_the_account_was_removed_says_so(pay, work, sold, make_package, account):
    package = make_package(sold)
    order = pay_and_work(pay, work, sold)
    sold.fulfillment_methods.all().delete()
    remove_place(package)
    remove_account(account)

    refunded(order)
    work()

    assert "was removed" in Deactivation.objects.get().reason
