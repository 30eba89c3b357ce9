"""E-mails that tell a merchant what needs a person."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Count, Exists, F, Min, OuterRef, Subquery, Sum
from django.db.models.functions import Now
from django.urls import reverse

from fulfillment.mail import MailError, compose_plain, sent
from fulfillment.models import (
    Fulfillment,
    LicensingAccount,
    MailAccount,
    MerchantNotice,
    SetupRequest,
    WebService,
    alone,
)
from orders.models import Order, OrderItem
from pools.models import LicensePool, UploadLink
from pools.replenishment import Forecast, forecast

Kind = MerchantNotice.Kind

# A merchant is told at once of so many pools. After them, those of the next minutes wait for more to tell in one mail.
TOLD_SINGLY = 3
MANY_WITHIN = timedelta(minutes=10)
GATHERED_FOR = timedelta(seconds=30)

# A pool that stays empty is told again so long after the notice before; the last pause repeats.
PAUSES = {
    Kind.POOL_WAITED_FOR: (timedelta(hours=1), timedelta(hours=3), timedelta(days=1)),
    Kind.POOL_STILL_EMPTY: (timedelta(weeks=1),),
}
# While nobody waits for it, not for ever.
REMINDERS_OF_STILL_EMPTY = 4

# A server that fails for so long, with orders that wait for it, is told.
DOWN_FOR = timedelta(hours=1)


def tell_of_pool(pool: LicensePool, kind: MerchantNotice.Kind, available: int) -> None:
    """Have the recipients of a pool's notices told how it stands, with a new link to fill it by."""
    notice = MerchantNotice(
        merchant=pool.merchant,
        kind=kind,
        pool=pool,
        available=available,
        upload_link=UploadLink.objects.create_for(pool),
    )
    lately = MerchantNotice.objects.filter(merchant=pool.merchant_id, created_at__gt=Now() - MANY_WITHIN)
    others = lately.filter(pool__isnull=False).exclude(pool=pool).values("pool").distinct()
    if others.count() >= TOLD_SINGLY:
        notice.due_at = Now() + GATHERED_FOR
    notice.save()
    notice.nudge()


def remind_of_empty_pools() -> None:
    """Tell again, at growing intervals, of pools that stay empty."""
    newest = MerchantNotice.objects.filter(pool=OuterRef("pk")).order_by("-pk").values("created_at")[:1]
    empty = LicensePool.objects.filter(notified=LicensePool.Notice.EMPTY).annotate(told_at=Subquery(newest))
    for pk in empty.filter(told_at__lt=Now() - PAUSES[Kind.POOL_WAITED_FOR][0]).values_list("pk", flat=True):
        with transaction.atomic():
            # Serializes two sweeps, of which the later one finds what the earlier one told; and both with imports.
            pool = LicensePool.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pk).first()
            if pool and not pool.available_up_to(1):
                _remind(pool)


def _remind(pool: LicensePool) -> None:
    is_waited_for = Fulfillment.objects.waiting_for(pool).exists()
    kind = Kind.POOL_WAITED_FOR if is_waited_for else Kind.POOL_STILL_EMPTY
    told = MerchantNotice.objects.since_empty(pool)
    count = told.filter(kind=kind).count()
    if kind == Kind.POOL_STILL_EMPTY and count >= REMINDERS_OF_STILL_EMPTY:
        return

    pause = PAUSES[kind][min(count, len(PAUSES[kind]) - 1)]
    if not told.filter(created_at__gt=Now() - pause).exists():
        tell_of_pool(pool, kind, available=0)


@transaction.atomic
def tell_of_upstreams_that_are_down() -> None:
    """Tell once until it works again that a server fails and items wait for it, hours before they have failed."""
    for model, field in ((WebService, "web_service"), (LicensingAccount, "licensing_account")):
        told = MerchantNotice.objects.filter(
            kind=Kind.SOURCE_DOWN, created_at__gt=OuterRef("failing_since"), **{field: OuterRef("pk")}
        )
        down = model.objects.filter(~Exists(told), paused_at__isnull=False, failing_since__lt=Now() - DOWN_FOR)
        # Serializes two sweeps.
        for upstream in down.select_for_update(no_key=True, skip_locked=True):
            if Fulfillment.objects.waiting().of_upstream(upstream).filter(due_at__isnull=False).exists():
                MerchantNotice.objects.create(kind=Kind.SOURCE_DOWN, **upstream.as_subject()).nudge()


def send_notice(pk: int) -> None:
    """Make one attempt at a notice that is due, and at what else is to be told of pools in the same mail."""
    claimed = _claim(pk)
    notices = []
    for notice in claimed:
        if reason := _why_past(notice):
            notice.end(reason=reason)
        else:
            notices.append(notice)
    if not notices:
        return
    recipients = get_recipients(notices[0])
    if not recipients:
        for notice in notices:
            notice.end(reason="The merchant has nobody to be told.")
        return

    try:
        with sent(compose(notices, recipients)):
            for notice in notices:
                notice.end(sent_at=Now(), reason="")
    except MailError as error:
        _note_failure(notices, error)


def _why_past(notice: MerchantNotice) -> str:
    """Why a notice is no longer true; empty if it is."""
    if notice.is_past:
        return "The pool was filled before it went out."
    if notice.kind in (Kind.CODE_WANTED, Kind.ITEM_FAILED) and notice.item:
        if notice.item.order.status != Order.Status.PAID:
            return f"The order is {notice.item.order.status}."
        if notice.item.fulfillment.status == Fulfillment.Status.DONE:
            return "The item got its activation codes before it went out."
    if upstream := notice.upstream:
        if notice.kind == Kind.SOURCE_FAILED and not Fulfillment.objects.of_upstream(upstream).given_up().exists():
            return "The orders got their activation codes before it went out."
        if notice.kind == Kind.SOURCE_DOWN and upstream.failing_since is None:
            return "The server answered again before it went out."
    if notice.kind == Kind.WEBHOOK_DISABLED and notice.endpoint and notice.endpoint.disabled_at is None:
        return "The endpoint was enabled again before it went out."
    if notice.kind == Kind.MAIL_SERVER_REFUSED:
        account = MailAccount.objects.of(notice.merchant_id)
        return "" if account and account.reason else "The mail server let us in again before it went out."
    return ""


def _note_failure(notices: list[MerchantNotice], error: MailError) -> None:
    first, *others = notices
    if error.permanent or first.is_last_attempt:
        for notice in notices:
            notice.end(reason=str(error)[:500])
        return
    first.postpone(str(error), at_least=error.pause)
    for notice in others:
        notice.follow(first)


def _claim(pk: int) -> list[MerchantNotice]:
    """Take a notice that is due; if it is gathering, those of other pools for the same recipients as well."""
    merchant = MerchantNotice.objects.gathering().filter(pk=pk).values_list("merchant", flat=True).first()
    if merchant is None:
        return [notice for notice in [MerchantNotice.objects.claim(pk)] if notice]

    # One gathers for a merchant at a time, or two would share the notices out. The sweep sees to what comes too late.
    with alone("gather_notices", merchant) as is_alone:
        notice = MerchantNotice.objects.claim(pk) if is_alone else None
        if notice is None:
            return []
        recipients = get_recipients(notice)
        others = MerchantNotice.objects.gathering().filter(merchant=merchant).exclude(pool=notice.pool)
        others = others.select_related("pool__merchant").order_by("pk")
        alike = [other.pk for other in others if get_recipients(other) == recipients]
        # They wait for nothing else. Those that were tried are left alone until they are due: somebody may be at it.
        MerchantNotice.objects.filter(pk__in=alike, attempts=0).update(due_at=Now())
        return [notice, *filter(None, (MerchantNotice.objects.claim(other) for other in alike))]


def get_recipients(notice: MerchantNotice) -> list[str]:
    if notice.kind == Kind.SETUP_ASKED:
        return settings.SUPPORT_EMAIL
    if notice.setup_request:
        return _askers(notice.setup_request)
    if notice.pool is None:
        return notice.merchant.notice_recipients()
    recipients = notice.pool.get_recipients()
    if _was_reminded_before(notice):
        recipients = [*recipients, *(owner for owner in notice.merchant.owners_addresses() if owner not in recipients)]
    return recipients


def _askers(request: SetupRequest) -> list[str]:
    """The owners and who asked, if that is still a member."""
    askers = request.merchant.members.filter(user=request.asked_by_id, user__is_active=True)
    addresses = [*askers.values_list("user__email", flat=True), *request.merchant.owners_addresses()]
    return list(dict.fromkeys(addresses))


def _was_reminded_before(notice: MerchantNotice) -> bool:
    """Whether orders wait in spite of a reminder. Then those hear of it who can have somebody else see to it."""
    if notice.pool is None or notice.kind != Kind.POOL_WAITED_FOR:
        return False
    told = MerchantNotice.objects.since_empty(notice.pool)
    return told.filter(kind=Kind.POOL_WAITED_FOR, pk__lt=notice.pk).exists()


def compose(notices: list[MerchantNotice], recipients: list[str]) -> EmailMessage:
    notice = notices[0]
    context: dict[str, Any] = {"notice": notice, "merchant": notice.merchant}
    if len(notices) > 1:
        return compose_plain("emails/pools_low.txt", recipients, context | {"pools": _by_urgency(notices)})

    if notice.pool:
        context |= _facts_of_pool(notice.pool, notice)._asdict()
    if notice.item:
        context |= {"item": notice.item, "order": notice.item.order, "fulfillment": notice.item.fulfillment}
    if notice.upstream:
        of_upstream = Fulfillment.objects.of_upstream(notice.upstream)
        context |= {
            "service": notice.upstream,
            "failed": of_upstream.given_up().count(),
            "held": of_upstream.given_up().held().select_related("item__order").order_by("item__order_id")[:20],
            "waiting": of_upstream.filter(status=Fulfillment.Status.WAITING, due_at__isnull=False).count(),
            "last": notice.upstream.callouts.exclude(error="").filter(is_test=False).order_by("-pk").first(),
        }
    if notice.delivery:
        context |= {"delivery": notice.delivery, "order": notice.delivery.order}
    if notice.setup_request:
        context |= {"request": notice.setup_request, "events": list(notice.setup_request.events.all())}
    if notice.kind == Kind.MAIL_SERVER_REFUSED:
        context["account"] = MailAccount.objects.of(notice.merchant)

    return compose_plain(f"emails/{notice.kind}.txt", recipients, context)


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
    newest = {notice.pool: notice for notice in notices if notice.pool}
    return sorted((_facts_of_pool(pool, notice) for pool, notice in newest.items()), key=_urgency)


def _urgency(facts: PoolFacts) -> tuple:
    since = facts.waiting.since
    time_left = facts.forecast.time_left or (timedelta.max if facts.available else timedelta(0))
    return (since is None, since and since.timestamp(), time_left, facts.available, facts.pool.name)


def _facts_of_pool(pool: LicensePool, notice: MerchantNotice) -> PoolFacts:
    """How the pool stands now: the notice may have waited for a mail server, or been tried before."""
    available = pool.available_up_to(pool.threshold + 1)
    link = notice.upload_link
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
