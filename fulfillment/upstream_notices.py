"""Notices about servers that codes come from."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import Fulfillment
from notices.models import MerchantNotice
from notices.sending import NoticeKind, notify, register
from outbound.models import Upstream

# Minimum interval between notices when orders fail and succeed by turns.
REPEAT_AFTER = timedelta(hours=1)
# Report a server that has failed for this long while orders wait for it.
LONG_OUTAGE = timedelta(hours=1)


class UpstreamNotice(NoticeKind):
    def context(self, notice):
        upstream = notice.subject
        fulfillments = Fulfillment.objects.for_upstream(upstream)
        given_up = fulfillments.given_up()
        return {
            "service": upstream,
            "failed": given_up.count(),
            "held": given_up.held().select_related("item__order").order_by("item__order_id")[:20],
            "waiting": fulfillments.filter(status=Fulfillment.Status.WAITING, due_at__isnull=False).count(),
            "last": upstream.outgoing_requests.exclude(error="").filter(is_test=False).order_by("-pk").first(),
        }


class SourceDown(UpstreamNotice):
    code, name = "source_down", _("source down")

    def obsolete_reason(self, notice):
        answers = notice.subject.failing_since is None
        return gettext("The server answered again first.") if answers else ""


class SourceFailed(UpstreamNotice):
    code, name = "source_failed", _("source failed")

    def obsolete_reason(self, notice):
        failed = Fulfillment.objects.for_upstream(notice.subject).given_up()
        return "" if failed.exists() else gettext("The orders got their activation codes first.")


register(SourceDown, SourceFailed)


@transaction.atomic
def notify_failure(upstream: Upstream) -> None:
    """Notify the merchant that items failed: once until the server works again, not once per order."""
    # A later `failing_since` means that the server has worked since the last notice.
    worked_since = Q(failing_since=None) | Q(failing_since__gt=F("notified_at"))
    is_due = Q(notified_at=None) | (worked_since & Q(notified_at__lt=Now() - REPEAT_AFTER))
    if Upstream.objects.filter(is_due, pk=upstream.pk).update(notified_at=Now()):
        notify(SourceFailed, upstream.merchant, upstream)


@transaction.atomic
def notify_long_outages() -> None:
    """Notify, once until it works again, that a server fails and items wait for it, hours before they fail."""
    for model in Upstream.kinds().values():
        notified = MerchantNotice.objects.about_any(model).filter(
            kind=SourceDown.code, subject_id=OuterRef("pk"), created_at__gt=OuterRef("failing_since")
        )
        down = model._default_manager.filter(~Exists(notified), paused_at__isnull=False).filter(
            failing_since__lt=Now() - LONG_OUTAGE
        )
        # Serializes two sweeps.
        for upstream in down.select_for_update(no_key=True, skip_locked=True):
            if Fulfillment.objects.waiting().for_upstream(upstream).filter(due_at__isnull=False).exists():
                notify(SourceDown, upstream.merchant, upstream)
