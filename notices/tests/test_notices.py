"""What merchants are told of their pools: once a crossing, again while a pool stays empty, and not in twenty mails."""

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
def told(mailoutbox):
    def told():
        return [message for message in mailoutbox if "pool" in message.subject]

    return told


@pytest.fixture
def empty_pool(make_pool, make_product, pay):
    """A pool that is empty, the merchant told of it, with so many orders waiting."""

    def make(waiting=0, **fields):
        pool = make_pool(1, **fields)
        product = make_product(pool=pool)
        pay(product)
        for _ in range(waiting):
            pay(product)
        pool.product = product
        return pool

    return make


def later(**period):
    """Let time pass: notices were made, and are due, so much earlier."""
    MerchantNotice.objects.update(created_at=F("created_at") - timedelta(**period))
    MerchantNotice.objects.filter(due_at__isnull=False).update(due_at=F("due_at") - timedelta(**period))


def gather():
    """Let the notices there are come due as if those of other pools had been before them."""
    MerchantNotice.objects.update(due_at=Now(), created_at=Now() - timedelta(seconds=30))


def kinds():
    return list(MerchantNotice.objects.order_by("pk").values_list("kind", flat=True))


def test_sold_by_many_at_once_each_crossing_is_told_once_and_an_import_rearms(
    make_pool, make_product, pay, in_threads, work, told
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


def test_a_notice_tells_who_waits_for_how_many_keys_since_when(make_pool, make_product, pay, work, told, settings):
    pool = make_pool(2, name="Photo Pro")
    pay(make_product(pool=pool), quantity=5)
    pay(make_product(pool=pool), quantity=4)

    work()

    [mail] = told()
    assert mail.subject == "The pool “Photo Pro” is empty"
    assert "Orders waiting: 2, for 7 keys, oldest paid 22 Nov. 2026, 10:00 UTC\n" in mail.body
    assert f"{settings.BASE_URL}/pools/{pool.pk}/?merchant=northlight\n" in mail.body
    assert f"{settings.BASE_URL}/upload/{UploadLink.objects.get().token}/\n" in mail.body
    assert "reserve" not in mail.body


def test_a_notice_tells_of_the_reserve(make_pool, make_product, pay, work, told):
    pool = make_pool(3)
    pool.reserve = 1
    pool.save()
    fill_reserve(pool)

    pay(make_product(pool=pool), quantity=2)
    work()

    assert "In reserve:     1, which only people can issue\n" in told()[0].body


def test_a_notice_that_is_sent_again_has_the_same_link(empty_pool, work, told):
    empty_pool()
    work()
    MerchantNotice.objects.update(due_at=F("created_at"))
    work()

    first, second = told()
    assert first.body == second.body


def test_a_notice_of_a_pool_that_was_filled_meanwhile_is_not_sent(empty_pool, work, told):
    pool = empty_pool()
    stock(pool, 50)

    work()

    assert told() == []
    assert MerchantNotice.objects.get().reason == "Keys were added to the pool first."


# While it stays empty


def test_who_waits_is_told_of_after_an_hour_then_four_then_daily(empty_pool, work, told):
    empty_pool(waiting=1)
    work()
    for hours, count in ((0.9, 0), (0.2, 1), (2.8, 1), (0.3, 2), (23, 2), (1.1, 3), (24, 4), (24, 5)):
        later(hours=hours)
        remind_of_empty_pools()
        remind_of_empty_pools()
        work()

        assert kinds().count("pool_waited_for") == count
    assert [mail.subject for mail in told()[1:]] == ["1 order is waiting for the empty pool “Pool 1”"] * 5


def test_a_pool_for_which_nobody_waits_is_told_weekly_and_not_for_ever(empty_pool):
    empty_pool()
    for days, count in ((6.9, 0), (0.2, 1), (6.9, 1), (0.2, 2), (7, 3), (7, 4), (7, 4)):
        later(days=days)
        remind_of_empty_pools()

        assert kinds().count("pool_still_empty") == count


def test_the_first_who_waits_for_a_pool_long_empty_is_told_at_once(empty_pool, pay):
    pool = empty_pool()
    later(days=6)

    pay(pool.product)
    remind_of_empty_pools()

    assert kinds() == ["pool_empty", "pool_waited_for"]


def test_the_second_reminder_goes_to_the_owners_too(empty_pool, work, told, make_member):
    make_member(Member.Role.OWNER, first_name="olivia")
    empty_pool(waiting=1).merchant.pools.update(recipients=["stock@northlight.example"])
    for _ in range(2):
        later(hours=4)
        remind_of_empty_pools()
        work()

    owners = {"owner@northlight.example", "owner-olivia@northlight.example"}
    assert told()[-2].to == ["stock@northlight.example"]
    assert told()[-1].to[0] == "stock@northlight.example" and set(told()[-1].to[1:]) == owners


def test_it_stops_when_the_pool_is_filled_and_starts_anew(empty_pool, pay):
    pool = empty_pool(waiting=1)
    later(hours=2)
    remind_of_empty_pools()
    stock(pool, 1)
    later(hours=30)
    remind_of_empty_pools()
    assert kinds() == ["pool_empty", "pool_waited_for"]

    pay(pool.product)
    pay(pool.product)
    later(hours=1.1)
    remind_of_empty_pools()

    assert kinds() == ["pool_empty", "pool_waited_for", "pool_empty", "pool_waited_for"]


def test_sweeps_at_once_remind_once(empty_pool, in_threads):
    for _ in range(3):
        empty_pool(waiting=1)
    later(hours=2)

    in_threads(lambda _: remind_of_empty_pools(), range(16), threads=8)

    assert kinds().count("pool_waited_for") == 3


# Many pools


def test_few_pools_are_told_of_at_once_each(empty_pool, make_pool, make_product, pay, work, told):
    empty_pool(name="One")
    work()
    pay(make_product(pool=make_pool(3, threshold=2, name="Two")))
    work()
    pay(make_product(pool=make_pool(3, threshold=2, name="Three")), quantity=3)
    work()

    assert [mail.subject for mail in told()] == [
        "The pool “One” is empty",
        "2 keys left in the pool “Two”",
        "The pool “Three” is empty",
    ]


def test_after_the_first_pools_the_others_share_a_mail(empty_pool, make_pool, make_product, pay, work, told):
    for name in ("One", "Two", "Three"):
        empty_pool(name=name)
        work()
    assert len(told()) == 3
    for name in ("Four", "Five"):
        empty_pool(waiting=name == "Five", name=name)
        work()
    pay(make_product(pool=make_pool(3, threshold=2, name="Six")))
    work()
    assert len(told()) == 3

    later(seconds=31)
    work()
    later(hours=1)
    work()

    assert [mail.subject for mail in told()[3:]] == ["3 pools of Northlight need keys"]
    body = told()[3].body
    assert body.index("“Five”") < body.index("“Four”") < body.index("“Six”")
    for link in UploadLink.objects.filter(pool__name__in=["Four", "Five", "Six"]):
        assert body.count(f"/upload/{link.token}/") == 1
    assert not MerchantNotice.objects.filter(sent_at=None).exists()


def test_those_told_of_singly_stay_so_whatever_comes_with_them(make_pool, make_product, pay, in_threads, told):
    for name in ("One", "Two", "Three"):
        product = make_product(pool=make_pool(3, threshold=2, name=name))
        pay(product)
        pay(product, quantity=2)
    pks = list(MerchantNotice.objects.values_list("pk", flat=True))

    in_threads(send_notice, pks * 4, threads=8)

    singly = [[f"0 keys left in the pool “{name}”", f"The pool “{name}” is empty"] for name in ("One", "Two", "Three")]
    assert sorted(mail.subject for mail in told()) == sorted(chain.from_iterable(singly))


def test_pools_of_other_recipients_or_merchants_have_their_own_mails(
    empty_pool, outsider, make_pool, work, told, merchant
):
    empty_pool(name="One")
    empty_pool(name="Two")
    empty_pool(name="Three").merchant.pools.filter(name="Three").update(recipients=["stock@northlight.example"])
    elsewhere = make_pool(merchant=outsider, name="Four")
    elsewhere.recipients = merchant.notice_recipients()
    elsewhere.save()
    check_stock(elsewhere)
    gather()
    work()

    assert {(mail.to[0], mail.subject) for mail in told()} == {
        ("owner@northlight.example", "2 pools of Northlight need keys"),
        ("stock@northlight.example", "The pool “Three” is empty"),
        ("owner@northlight.example", "The pool “Four” is empty"),
    }


def test_workers_at_once_send_each_notice_once(empty_pool, in_threads, told):
    for _ in range(6):
        empty_pool()
    gather()
    pks = list(MerchantNotice.objects.values_list("pk", flat=True))

    in_threads(send_notice, pks * 4, threads=8)
    in_threads(send_notice, pks, threads=1)

    assert [mail.subject for mail in told()] == ["6 pools of Northlight need keys"]


def test_a_shared_mail_that_is_not_taken_is_tried_again_as_one(empty_pool, work, told, monkeypatch):
    for _ in range(3):
        empty_pool()
    gather()
    with monkeypatch.context() as broken:
        broken.setattr("notices.sending.send_email", _refuse)
        work()
    assert MerchantNotice.objects.filter(due_at__isnull=False, sent_at=None, reason="busy").count() == 3

    later(seconds=10)
    work()

    assert [mail.subject for mail in told()] == ["3 pools of Northlight need keys"]


def _refuse(message):
    raise MailError("busy")


# True when it is sent


def test_a_notice_that_waited_tells_how_the_pool_stands_by_then(make_pool, make_product, pay, work, told):
    """It was made when three keys were left and one order waited."""
    pool = make_pool(6, threshold=3)
    product = make_product(pool=pool)
    pay(product, quantity=3)
    notice = MerchantNotice.objects.get()
    assert (notice.kind, notice.details["available"]) == ("pool_low", 3)
    pay(product, quantity=2)

    work()

    [mail] = told()
    assert mail.subject.startswith("1 key left")
    assert "Keys left:      1\n" in mail.body


def test_a_new_pool_with_few_keys_raises_no_alarm(make_pool, make_product, pay):
    pool = make_pool(5, threshold=10)

    warn_low_pools()
    assert kinds() == []

    pay(make_product(pool=pool))
    assert kinds() == ["pool_low"]


def test_a_notice_of_an_item_that_got_its_code_is_not_sent(make_product, pay, work, mailoutbox):
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


def test_a_gathering_notice_of_a_pool_that_is_gone_is_not_sent(make_pool, mailoutbox):
    pool = make_pool(threshold=3)
    notify_pool(pool, PoolEmpty, 0)
    MerchantNotice.objects.update(due_at=Now(), created_at=Now() - timedelta(seconds=30))
    pool.delete()
    notice = MerchantNotice.objects.get()

    send_notice(notice.pk)

    notice.refresh_from_db()
    assert (notice.reason, notice.due_at, mailoutbox) == ("Its subject was deleted.", None, [])


def test_a_notice_of_an_endpoint_that_was_enabled_again_is_not_sent(merchant, work):
    endpoint = WebhookEndpoint.objects.create(merchant=merchant, url="https://shop.example/hook", events=[])
    notice = MerchantNotice.objects.create(merchant=merchant, kind="webhook_disabled", subject=endpoint)

    work()

    notice.refresh_from_db()
    assert notice.reason == "The endpoint was enabled again first."


@pytest.mark.django_db(transaction=True)
def test_an_item_is_told_of_once_however_many_tell_at_the_same_moment(make_product, pay, in_threads):
    pay(make_product(source=None))
    item = OrderItem.objects.get()
    MerchantNotice.objects.all().delete()

    in_threads(lambda _: notify_item(item), list(range(8)), 8)

    assert MerchantNotice.objects.get().kind == "item_failed"
