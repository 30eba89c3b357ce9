"""Notices about pools: one per threshold crossing, reminders while a pool stays empty, and digests for many pools."""

from datetime import timedelta
from itertools import chain

import pytest
from django.db.models import F
from django.db.models.functions import Now

from fulfillment.actions import enter_codes
from fulfillment.item_notices import notify_item
from fulfillment.pool_notices import PoolEmpty, notify_pool, remind_of_empty_pools
from fulfillment.product_sources import add_source
from merchants.models import Member
from notices.models import MerchantNotice
from notices.sending import send_notice
from orders.models import OrderItem
from outbound.mail import MailError
from pools.allocation import fill_reserve
from pools.models import UploadLink
from pools.replenishment import check_stock, warn_low_pools
from pools.tests.factories import stock
from webhooks.models import WebhookEndpoint

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pool_emails(mailoutbox):
    def pool_emails():
        return [message for message in mailoutbox if "pool" in message.subject]

    return pool_emails


@pytest.fixture
def empty_pool(make_pool, make_product, pay):
    """Make an empty pool with a notice about it and `waiting` orders."""

    def make(waiting=0, **fields):
        pool = make_pool(1, **fields)
        product = make_product(pool=pool)
        pay(product)
        for _ in range(waiting):
            pay(product)
        pool.product = product
        return pool

    return make


def advance_time(**period):
    """Simulate time passing by moving the times of all notices back."""
    MerchantNotice.objects.update(created_at=F("created_at") - timedelta(**period))
    MerchantNotice.objects.filter(due_at__isnull=False).update(due_at=F("due_at") - timedelta(**period))


def make_due_together():
    """Make all notices due as if other pools' notices came first, so they share a digest."""
    MerchantNotice.objects.update(due_at=Now(), created_at=Now() - timedelta(seconds=30))


def kinds():
    return list(MerchantNotice.objects.order_by("pk").values_list("kind", flat=True))


def test_each_threshold_crossing_causes_one_notice_and_an_import_rearms_it(
    make_pool, make_product, pay, in_threads, work, pool_emails
):
    pool = make_pool(100, threshold=10)
    product = make_product(pool=pool)
    in_threads(lambda _: pay(product), range(100), threads=8)
    in_threads(lambda _: work(), range(8), threads=8)

    assert sorted(kinds()) == ["pool_empty", "pool_low"]
    stock(pool, 50)
    in_threads(lambda _: pay(product), range(50), threads=8)
    work()

    assert kinds().count("pool_low") == kinds().count("pool_empty") == 2
    assert UploadLink.objects.count() == 4


def test_a_notice_shows_how_many_orders_wait_for_how_many_keys_and_since_when(
    make_pool, make_product, pay, work, pool_emails, settings
):
    pool = make_pool(2, name="Photo Pro")
    pay(make_product(pool=pool), quantity=5)
    pay(make_product(pool=pool), quantity=4)

    work()

    [mail] = pool_emails()
    assert mail.subject == "The pool “Photo Pro” is empty"
    assert "Orders waiting: 2, for 7 keys, oldest paid 22 Nov 2026, 10:00 UTC\n" in mail.body
    assert f"{settings.BASE_URL}/pools/{pool.pk}/?merchant=northlight\n" in mail.body
    assert f"{settings.BASE_URL}/upload/{UploadLink.objects.get().token}/\n" in mail.body
    assert "reserve" not in mail.body


def test_a_notice_shows_the_reserve(make_pool, make_product, pay, work, pool_emails):
    pool = make_pool(3)
    pool.reserve = 1
    pool.save()
    fill_reserve(pool)

    pay(make_product(pool=pool), quantity=2)
    work()

    assert "In reserve: 1, which only people can issue\n" in pool_emails()[0].body


def test_a_resent_notice_has_the_same_link(empty_pool, work, pool_emails):
    empty_pool()
    work()
    # As if the worker had died before it recorded that it sent the notice.
    details = MerchantNotice.objects.get().details
    del details["languages_sent"]
    MerchantNotice.objects.update(due_at=F("created_at"), details=details)
    work()

    first, second = pool_emails()
    assert first.body == second.body


def test_a_notice_is_not_sent_if_the_pool_was_restocked_first(empty_pool, work, pool_emails):
    pool = empty_pool()
    stock(pool, 50)

    work()

    assert pool_emails() == []
    assert MerchantNotice.objects.get().reason == "Keys were added to the pool first."


# Reminders


def test_waiting_orders_cause_reminders_after_one_hour_then_four_then_daily(empty_pool, work, pool_emails):
    empty_pool(waiting=1)
    work()
    for hours, count in ((0.9, 0), (0.2, 1), (2.8, 1), (0.3, 2), (23, 2), (1.1, 3), (24, 4), (24, 5)):
        advance_time(hours=hours)
        remind_of_empty_pools()
        remind_of_empty_pools()
        work()

        assert kinds().count("pool_waited_for") == count
    assert [mail.subject for mail in pool_emails()[1:]] == ["1 order waits for the empty pool “Pool 1”"] * 5


def test_an_empty_pool_without_waiting_orders_causes_three_weekly_reminders(empty_pool):
    empty_pool()
    for days, count in ((6.9, 0), (0.2, 1), (6.9, 1), (0.2, 2), (7, 3), (7, 4), (7, 4)):
        advance_time(days=days)
        remind_of_empty_pools()

        assert kinds().count("pool_still_empty") == count


def test_the_first_order_waiting_for_a_long_empty_pool_causes_a_notice_immediately(empty_pool, pay):
    pool = empty_pool()
    advance_time(days=6)

    pay(pool.product)
    remind_of_empty_pools()

    assert kinds() == ["pool_empty", "pool_waited_for"]


def test_the_second_reminder_goes_to_the_owners_too(empty_pool, work, pool_emails, make_member):
    make_member(Member.Role.OWNER, first_name="olivia")
    empty_pool(waiting=1).merchant.pools.update(recipients=["stock@northlight.example"])
    for _ in range(2):
        advance_time(hours=4)
        remind_of_empty_pools()
        work()

    owners = {"owner@northlight.example", "owner-olivia@northlight.example"}
    assert pool_emails()[-2].to == ["stock@northlight.example"]
    assert pool_emails()[-1].to[0] == "stock@northlight.example" and set(pool_emails()[-1].to[1:]) == owners


def test_restocking_stops_the_reminders_and_they_can_start_again(empty_pool, pay):
    pool = empty_pool(waiting=1)
    advance_time(hours=2)
    remind_of_empty_pools()
    stock(pool, 1)
    advance_time(hours=30)
    remind_of_empty_pools()
    assert kinds() == ["pool_empty", "pool_waited_for"]

    pay(pool.product)
    pay(pool.product)
    advance_time(hours=1.1)
    remind_of_empty_pools()

    assert kinds() == ["pool_empty", "pool_waited_for", "pool_empty", "pool_waited_for"]


def test_concurrent_sweeps_send_one_reminder(empty_pool, in_threads):
    for _ in range(3):
        empty_pool(waiting=1)
    advance_time(hours=2)

    in_threads(lambda _: remind_of_empty_pools(), range(16), threads=8)

    assert kinds().count("pool_waited_for") == 3


# Many pools


def test_the_first_three_pools_get_separate_emails_immediately(
    empty_pool, make_pool, make_product, pay, work, pool_emails
):
    empty_pool(name="One")
    work()
    pay(make_product(pool=make_pool(3, threshold=2, name="Two")))
    work()
    pay(make_product(pool=make_pool(3, threshold=2, name="Three")), quantity=3)
    work()

    assert [mail.subject for mail in pool_emails()] == [
        "The pool “One” is empty",
        "2 keys left in the pool “Two”",
        "The pool “Three” is empty",
    ]


def test_notices_after_the_first_three_pools_share_an_email(
    empty_pool, make_pool, make_product, pay, work, pool_emails
):
    for name in ("One", "Two", "Three"):
        empty_pool(name=name)
        work()
    assert len(pool_emails()) == 3
    for name in ("Four", "Five"):
        empty_pool(waiting=name == "Five", name=name)
        work()
    pay(make_product(pool=make_pool(3, threshold=2, name="Six")))
    work()
    assert len(pool_emails()) == 3

    advance_time(seconds=31)
    work()
    advance_time(hours=1)
    work()

    assert [mail.subject for mail in pool_emails()[3:]] == ["3 pools of Northlight need keys"]
    body = pool_emails()[3].body
    assert body.index("“Five”") < body.index("“Four”") < body.index("“Six”")
    for link in UploadLink.objects.filter(pool__name__in=["Four", "Five", "Six"]):
        assert body.count(f"/upload/{link.token}/") == 1
    assert not MerchantNotice.objects.filter(sent_at=None).exists()


def test_separate_notices_stay_separate_whatever_is_sent_with_them(
    make_pool, make_product, pay, in_threads, pool_emails
):
    for name in ("One", "Two", "Three"):
        product = make_product(pool=make_pool(3, threshold=2, name=name))
        pay(product)
        pay(product, quantity=2)
    pks = list(MerchantNotice.objects.values_list("pk", flat=True))

    in_threads(send_notice, pks * 4, threads=8)

    single_subjects = [
        [f"0 keys left in the pool “{name}”", f"The pool “{name}” is empty"] for name in ("One", "Two", "Three")
    ]
    assert sorted(mail.subject for mail in pool_emails()) == sorted(chain.from_iterable(single_subjects))


def test_pools_with_other_recipients_or_merchants_get_separate_emails(
    empty_pool, outsider, make_pool, work, pool_emails, merchant
):
    empty_pool(name="One")
    empty_pool(name="Two")
    empty_pool(name="Three").merchant.pools.filter(name="Three").update(recipients=["stock@northlight.example"])
    other_pool = make_pool(merchant=outsider, name="Four")
    other_pool.recipients = merchant.notice_recipients()
    other_pool.save()
    check_stock([other_pool.pk])
    make_due_together()
    work()

    assert {(mail.to[0], mail.subject) for mail in pool_emails()} == {
        ("owner@northlight.example", "2 pools of Northlight need keys"),
        ("stock@northlight.example", "The pool “Three” is empty"),
        ("owner@northlight.example", "The pool “Four” is empty"),
    }


def test_concurrent_workers_send_each_notice_once(empty_pool, in_threads, pool_emails):
    for _ in range(6):
        empty_pool()
    make_due_together()
    pks = list(MerchantNotice.objects.values_list("pk", flat=True))

    in_threads(send_notice, pks * 4, threads=8)
    in_threads(send_notice, pks, threads=1)

    assert [mail.subject for mail in pool_emails()] == ["6 pools of Northlight need keys"]


def test_a_failed_digest_is_retried_as_one_email(empty_pool, work, pool_emails, monkeypatch):
    for _ in range(3):
        empty_pool()
    make_due_together()
    with monkeypatch.context() as broken:
        broken.setattr("notices.sending.send_email", _refuse)
        work()
    assert MerchantNotice.objects.filter(due_at__isnull=False, sent_at=None, reason="busy").count() == 3

    advance_time(seconds=10)
    work()

    assert [mail.subject for mail in pool_emails()] == ["3 pools of Northlight need keys"]


def _refuse(message):
    raise MailError("busy")


# Up to date when sent


def test_a_delayed_notice_shows_the_current_stock(make_pool, make_product, pay, work, pool_emails):
    """Three keys were left when the notice was created."""
    pool = make_pool(6, threshold=3)
    product = make_product(pool=pool)
    pay(product, quantity=3)
    notice = MerchantNotice.objects.get()
    assert (notice.kind, notice.details["available"]) == ("pool_low", 3)
    pay(product, quantity=2)

    work()

    [mail] = pool_emails()
    assert mail.subject.startswith("1 key left")
    assert "Keys left: 1\n" in mail.body


def test_a_new_pool_with_few_keys_causes_no_notice(make_pool, make_product, pay):
    pool = make_pool(5, threshold=10)

    warn_low_pools()
    assert kinds() == []

    pay(make_product(pool=pool))
    assert kinds() == ["pool_low"]


def test_a_notice_is_not_sent_if_the_item_got_its_code_first(make_product, pay, work, mailoutbox):
    product = make_product(keys=0)
    product.fulfillment_methods.all().delete()
    add_source(product, "manual")
    pay(product)
    notice = MerchantNotice.objects.get(kind="code_wanted")
    assert isinstance(notice.subject, OrderItem)
    enter_codes(notice.subject, {1: "ENTERED-CODE"}, actor="Sam")

    work()

    notice.refresh_from_db()
    assert notice.reason == "The item got its activation codes first."
    assert notice.sent_at is None


def test_a_notice_about_a_deleted_pool_is_not_sent(make_pool, mailoutbox):
    pool = make_pool(threshold=3)
    notify_pool(pool, PoolEmpty, 0)
    MerchantNotice.objects.update(due_at=Now(), created_at=Now() - timedelta(seconds=30))
    pool.delete()
    notice = MerchantNotice.objects.get()

    send_notice(notice.pk)

    notice.refresh_from_db()
    assert (notice.reason, notice.due_at, mailoutbox) == ("Its subject was deleted.", None, [])


def test_a_notice_is_not_sent_if_the_endpoint_was_enabled_again_first(merchant, work):
    endpoint = WebhookEndpoint.objects.create(merchant=merchant, url="https://shop.example/hook", events=[])
    notice = MerchantNotice.objects.create(merchant=merchant, kind="webhook_disabled", subject=endpoint)

    work()

    notice.refresh_from_db()
    assert notice.reason == "The endpoint was enabled again first."


@pytest.mark.django_db(transaction=True)
def test_concurrent_calls_create_one_notice_per_item(make_product, pay, in_threads):
    pay(make_product(source=None))
    item = OrderItem.objects.get()
    MerchantNotice.objects.all().delete()

    in_threads(lambda _: notify_item(item), list(range(8)), 8)

    assert MerchantNotice.objects.get().kind == "item_failed"
