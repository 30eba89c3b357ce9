"""What merchants are told about servers that codes come from."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from fulfillment.models import Fulfillment
from notices.models import MerchantNotice
from notices.sending import NoticeKind, notify, register
from outbound.models import Upstream

# However orders fail and succeed by turns, the merchant is not told more often.
REPEAT_AFTER = timedelta(hours=1)
# A server that fails for so long, with orders that wait for it, is told.
LONG_OUTAGE = timedelta(hours=1)


class UpstreamNotice(NoticeKind):
    def context(self, notice):
        upstream = notice.subject
        fulfillments = Fulfillment.objects.of_upstream(upstream)
        given_up = fulfillments.given_up()
        return {
            "service": upstream,
            "failed": given_up.count(),
            "held": given_up.held().select_related("item__order").order_by("item__order_id")[:20],
            "waiting": fulfillments.filter(status=Fulfillment.Status.WAITING, due_at__isnull=False).count(),
            "last": upstream.outgoing_requests.exclude(error="").filter(is_test=False).order_by("-pk").first(),
        }


class SourceDown(UpstreamNotice):
    code, name = "source_down", "source down"

    def why_past(self, notice):
        answers = notice.subject.failing_since is None
        return "The server answered again before it went out." if answers else ""


class SourceFailed(UpstreamNotice):
    code, name = "source_failed", "source failed"

    def why_past(self, notice):
        failed = Fulfillment.objects.of_upstream(notice.subject).given_up()
        return "" if failed.exists() else "The orders got their activation codes before it went out."


register(SourceDown, SourceFailed)


@transaction.atomic
def notify_failure(upstream: Upstream) -> None:
    """Tell the merchant that items failed, once until the service works again: not once an order."""
    # It worked since they were told, if it fails only since later.
    anew = Q(failing_since=None) | Q(failing_since__gt=F("notified_at"))
    to_tell = Q(notified_at=None) | (anew & Q(notified_at__lt=Now() - REPEAT_AFTER))
    if Upstream.objects.filter(to_tell, pk=upstream.pk).update(notified_at=Now()):
        notify(SourceFailed, upstream.merchant, upstream)


@transaction.atomic
def notify_long_outages() -> None:
    """Tell once until it works again that a server fails and items wait for it, hours before they have failed."""
    for model in Upstream.kinds().values():
        told = MerchantNotice.objects.about_any(model).filter(
            kind=SourceDown.code, subject_id=OuterRef("pk"), created_at__gt=OuterRef("failing_since")
        )
        down = model._default_manager.filter(~Exists(told), paused_at__isnull=False).filter(
            failing_since__lt=Now() - LONG_OUTAGE
        )
        # Serializes two sweeps.
        for upstream in down.select_for_update(no_key=True, skip_locked=True):
            if Fulfillment.objects.waiting().of_upstream(upstream).filter(due_at__isnull=False).exists():
                notify(SourceDown, upstream.merchant, upstream)
