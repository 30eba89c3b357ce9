"""What merchants are told about their pools: that keys run low, and that orders wait for an empty one."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Min, OuterRef, Subquery, Sum
from django.db.models.functions import Now
from django.urls import reverse

from fulfillment.models import Fulfillment
from notices.models import MerchantNotice
from notices.sending import NoticeKind, notify, register
from orders.models import OrderItem
from outbound.mail import compose_plain
from pools.models import LicensePool, UploadLink
from pools.replenishment import Forecast, forecast

# A merchant is told at once of so many pools. After them, those of the next minutes wait for more to tell in one mail.
MAX_SINGLE_NOTICES = 3
BURST_PERIOD = timedelta(minutes=10)
GATHERING_PERIOD = timedelta(seconds=30)
# While nobody waits for it, not for ever.
MAX_REMINDERS = 4


class PoolNotice(NoticeKind):
    # A pool that stays empty is told again so long after the notice before; the last pause repeats.
    pauses: tuple[timedelta, ...] = ()

    def recipients(self, notice):
        return notice.subject.get_recipients()

    def why_past(self, notice):
        is_past = notice.subject.notified != LicensePool.Notice.EMPTY
        return "The pool was filled before it went out." if is_past else ""

    def context(self, notice):
        return _pool_payload(notice.subject, notice)._asdict()

    def compose(self, notices, recipients):
        if len(notices) == 1:
            return super().compose(notices, recipients)
        context = {"merchant": notices[0].merchant, "pools": _by_urgency(notices)}
        return compose_plain("emails/pools_low.txt", recipients, context)


class PoolLow(PoolNotice):
    code, name = "pool_low", "pool running low"

    def why_past(self, notice):
        is_past = notice.subject.notified == LicensePool.Notice.NONE
        return "The pool was filled before it went out." if is_past else ""


class PoolEmpty(PoolNotice):
    code, name = "pool_empty", "pool empty"


class PoolWaitedFor(PoolNotice):
    code, name = "pool_waited_for", "orders wait for an empty pool"
    pauses = (timedelta(hours=1), timedelta(hours=3), timedelta(days=1))

    def recipients(self, notice):
        recipients = super().recipients(notice)
        if since_empty(notice.subject).filter(kind=self.code, pk__lt=notice.pk).exists():
            # Orders wait in spite of a reminder: those hear of it who can have somebody else see to it.
            return list(dict.fromkeys([*recipients, *notice.merchant.owners_addresses()]))
        return recipients


class PoolStillEmpty(PoolNotice):
    code, name = "pool_still_empty", "pool still empty"
    pauses = (timedelta(weeks=1),)


register(PoolLow, PoolEmpty, PoolWaitedFor, PoolStillEmpty)


def notify_pool(pool: LicensePool, kind: type[PoolNotice], available: int) -> None:
    """Have the recipients of a pool's notices told how it stands, with a new link to fill it by."""
    lately = MerchantNotice.objects.filter(merchant=pool.merchant_id, created_at__gt=Now() - BURST_PERIOD)
    others = lately.about_any(LicensePool).exclude(subject_id=pool.pk).values("subject_id").distinct()
    details = {"available": available, "upload_link": UploadLink.objects.create_for(pool).pk}
    when = {"due_at": Now() + GATHERING_PERIOD} if others.count() >= MAX_SINGLE_NOTICES else {}
    notify(kind, pool.merchant, pool, details=details, may_be_gathered=True, **when)


def since_empty(pool: LicensePool):
    """What was told of an empty pool since it was found to be empty."""
    told = MerchantNotice.objects.about(pool)
    return told.filter(pk__gte=told.filter(kind=PoolEmpty.code).order_by("-pk").values("pk")[:1])


def remind_of_empty_pools() -> None:
    """Tell again, at growing intervals, of pools that stay empty."""
    told = MerchantNotice.objects.about_any(LicensePool).filter(subject_id=OuterRef("pk"))
    newest = told.order_by("-pk").values("created_at")[:1]
    empty = LicensePool.objects.filter(notified=LicensePool.Notice.EMPTY).annotate(notified_at=Subquery(newest))
    for pk in empty.filter(notified_at__lt=Now() - PoolWaitedFor.pauses[0]).values_list("pk", flat=True):
        with transaction.atomic():
            # Serializes two sweeps, of which the later one finds what the earlier one told; and both with imports.
            pool = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pk).first()
            if pool and not pool.available_up_to(1):
                _remind(pool)


def _remind(pool: LicensePool) -> None:
    is_waited_for = Fulfillment.objects.waiting_for(pool).exists()
    kind: type[PoolNotice] = PoolWaitedFor if is_waited_for else PoolStillEmpty
    told = since_empty(pool)
    count = told.filter(kind=kind.code).count()
    if kind is PoolStillEmpty and count >= MAX_REMINDERS:
        return

    pause = kind.pauses[min(count, len(kind.pauses) - 1)]
    if not told.filter(created_at__gt=Now() - pause).exists():
        notify_pool(pool, kind, available=0)


# What is said of a pool


class Waiting(NamedTuple):
    """Who waits for a pool's keys: how many orders, for how many keys, and since when."""

    orders: int
    keys: int
    since: datetime | None


class PoolFacts(NamedTuple):
    pool: LicensePool
    available: int
    in_reserve: int
    forecast: Forecast
    waiting: Waiting
    upload_url: str


def _by_urgency(notices: list[MerchantNotice]) -> list[PoolFacts]:
    """How the pools of these notices stand: first those for which somebody waits longest, then those soon empty."""
    newest: dict[Any, MerchantNotice] = {notice.subject: notice for notice in notices}
    return sorted((_pool_payload(pool, notice) for pool, notice in newest.items()), key=_urgency)


def _urgency(facts: PoolFacts) -> tuple:
    since = facts.waiting.since
    time_left = facts.forecast.time_left or (timedelta.max if facts.available else timedelta(0))
    return (since is None, since and since.timestamp(), time_left, facts.available, facts.pool.name)


def _pool_payload(pool: LicensePool, notice: MerchantNotice) -> PoolFacts:
    """How the pool stands now: the notice may have waited for a mail server, or been tried before."""
    available = pool.available_up_to(pool.threshold + 1)
    link = UploadLink.objects.filter(pk=notice.details["upload_link"]).first()
    return PoolFacts(
        pool,
        available,
        pool.keys.reserved().count(),
        forecast(pool, available),
        _waiting_for(pool),
        settings.BASE_URL + reverse("upload", args=[link.token]) if link else "",
    )


def _waiting_for(pool: LicensePool) -> Waiting:
    waiting = Fulfillment.objects.waiting_for(pool).order_by()
    items = OrderItem.objects.filter(pk__in=waiting.values("item"))
    counts = items.aggregate(orders=Count("order", distinct=True), since=Min("order__paid_at"))
    keys = items.with_code_count().aggregate(keys=Sum(F("units") - F("code_count")))
    return Waiting(counts["orders"], keys["keys"] or 0, counts["since"])
