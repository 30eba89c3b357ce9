"""Notices about pools: keys run low, or orders wait for an empty pool."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Min, OuterRef, Subquery, Sum
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import Fulfillment
from notices.models import MerchantNotice
from notices.sending import NoticeKind, notify, register
from orders.models import OrderItem
from outbound.mail import compose_plain
from pools.models import LicensePool, UploadLink
from pools.replenishment import Forecast, forecast

# Notices about this many pools go out at once. More within BURST_PERIOD wait GATHERING_PERIOD to share an e-mail.
MAX_SINGLE_NOTICES = 3
BURST_PERIOD = timedelta(minutes=10)
GATHERING_PERIOD = timedelta(seconds=30)
# Reminders about an empty pool that no order waits for.
MAX_REMINDERS = 4


class PoolNotice(NoticeKind):
    # Pauses between reminders about a pool that stays empty. The last one repeats.
    pauses: tuple[timedelta, ...] = ()

    def recipients(self, notice):
        return notice.subject.get_recipients()

    def obsolete_reason(self, notice):
        is_past = notice.subject.notified != LicensePool.Notice.EMPTY
        return gettext("Keys were added to the pool first.") if is_past else ""

    def context(self, notice):
        return _pool_status(notice.subject, notice)._asdict()

    def compose(self, notices, recipients):
        if len(notices) == 1:
            return super().compose(notices, recipients)
        context = {"merchant": notices[0].merchant, "pools": _by_urgency(notices)}
        return compose_plain("emails/pools_low.txt", recipients, context)


class PoolLow(PoolNotice):
    code, name = "pool_low", _("pool running low")

    def obsolete_reason(self, notice):
        is_past = notice.subject.notified == LicensePool.Notice.NONE
        return gettext("Keys were added to the pool first.") if is_past else ""


class PoolEmpty(PoolNotice):
    code, name = "pool_empty", _("pool empty")


class PoolWaitedFor(PoolNotice):
    code, name = "pool_waited_for", _("orders wait for an empty pool")
    pauses = (timedelta(hours=1), timedelta(hours=3), timedelta(days=1))

    def recipients(self, notice):
        recipients = super().recipients(notice)
        if _since_empty(notice.subject).filter(kind=self.code, pk__lt=notice.pk).exists():
            # Orders still wait after a reminder, so escalate to the owners.
            return list(dict.fromkeys([*recipients, *notice.merchant.owners_addresses()]))
        return recipients


class PoolStillEmpty(PoolNotice):
    code, name = "pool_still_empty", _("pool still empty")
    pauses = (timedelta(weeks=1),)


register(PoolLow, PoolEmpty, PoolWaitedFor, PoolStillEmpty)


def notify_pool(pool: LicensePool, kind: type[PoolNotice], available: int) -> None:
    """Notify a pool's recipients, with a new upload link."""
    recent = MerchantNotice.objects.filter(merchant=pool.merchant_id, created_at__gt=Now() - BURST_PERIOD)
    others = recent.about_any(LicensePool).exclude(subject_id=pool.pk).values("subject_id").distinct()
    details = {"available": available, "upload_link": UploadLink.objects.create_for(pool).pk}
    when = {"due_at": Now() + GATHERING_PERIOD} if others.count() >= MAX_SINGLE_NOTICES else {}
    notify(kind, pool.merchant, pool, details=details, can_be_grouped=True, **when)


def _since_empty(pool: LicensePool):
    """The notices about an empty pool since it became empty."""
    notices = MerchantNotice.objects.about(pool)
    return notices.filter(pk__gte=notices.filter(kind=PoolEmpty.code).order_by("-pk").values("pk")[:1])


def remind_of_empty_pools() -> None:
    """Notify again, at growing intervals, about pools that stay empty."""
    notices = MerchantNotice.objects.about_any(LicensePool).filter(subject_id=OuterRef("pk"))
    newest = notices.order_by("-pk").values("created_at")[:1]
    empty = LicensePool.objects.filter(notified=LicensePool.Notice.EMPTY, live=None).annotate(
        notified_at=Subquery(newest)
    )
    for pk in empty.filter(notified_at__lt=Now() - PoolWaitedFor.pauses[0]).values_list("pk", flat=True):
        with transaction.atomic():
            # Serializes with imports and other sweeps, so that a second sweep finds the notice of the first.
            pool = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pk).first()
            if pool and not pool.available_up_to(1):
                _remind(pool)


def _remind(pool: LicensePool) -> None:
    is_waited_for = Fulfillment.objects.waiting_for(pool).exists()
    kind: type[PoolNotice] = PoolWaitedFor if is_waited_for else PoolStillEmpty
    notices = _since_empty(pool)
    count = notices.filter(kind=kind.code).count()
    if kind is PoolStillEmpty and count >= MAX_REMINDERS:
        return

    pause = kind.pauses[min(count, len(kind.pauses) - 1)]
    if not notices.filter(created_at__gt=Now() - pause).exists():
        notify_pool(pool, kind, available=0)


# What a notice says about a pool


class Waiting(NamedTuple):
    """Orders that wait for a pool, the keys they need, and when the oldest was paid."""

    orders: int
    keys: int
    since: datetime | None


class PoolStatus(NamedTuple):
    pool: LicensePool
    available: int
    in_reserve: int
    forecast: Forecast
    waiting: Waiting
    upload_url: str


def _by_urgency(notices: list[MerchantNotice]) -> list[PoolStatus]:
    """Return the notices' pools, longest-waiting orders first, then those that run out soonest."""
    newest: dict[Any, MerchantNotice] = {notice.subject: notice for notice in notices}
    return sorted((_pool_status(pool, notice) for pool, notice in newest.items()), key=_urgency)


def _urgency(status: PoolStatus) -> tuple:
    since = status.waiting.since
    time_left = status.forecast.time_left or (timedelta.max if status.available else timedelta(0))
    return (since is None, since and since.timestamp(), time_left, status.available, status.pool.name)


def _pool_status(pool: LicensePool, notice: MerchantNotice) -> PoolStatus:
    """Return the pool's current status: the notice may have waited for a mail server or a retry."""
    available = pool.available_up_to(pool.threshold + 1)
    link = UploadLink.objects.filter(pk=notice.details["upload_link"]).first()
    return PoolStatus(
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
