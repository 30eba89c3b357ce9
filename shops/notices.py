"""Notices about shops: what they report can't become orders until a person does something, or is rejected."""

from collections import Counter
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notices.models import MerchantNotice
from notices.sending import NoticeKind, notify, register
from shops.changes import Cause
from shops.models import REJECTING, Connection, Event

# Minimum interval between notices about one shop.
REPEAT_AFTER = timedelta(hours=1)
# Attempts at an event end before this.
MAX_AGE = timedelta(days=4)


class ShopTroubled(NoticeKind):
    code, name = "shop_troubled", _("shop needs attention")

    def obsolete_reason(self, notice):
        is_past = not Connection.objects.kept().troubled().filter(pk=notice.subject_id).exists()
        return gettext("It was dealt with first.") if is_past else ""

    def context(self, notice):
        shop = Connection.objects.with_health().get(pk=notice.subject_id)
        unused = shop.events.unused().values_list("state", "cause")
        counts = Counter(Cause(cause).label if state == Event.State.PARKED else _("failed") for state, cause in unused)
        is_rejecting = shop.state == Connection.State.REJECTING
        return {"shop": shop, "total": counts.total(), "counts": counts.most_common(), "is_rejecting": is_rejecting}


register(ShopTroubled)


@transaction.atomic
def notify_of_trouble() -> None:
    """Notify merchants of shops with new events that a person has to look at, or that began to reject requests."""
    notices = MerchantNotice.objects.about_any(Connection).filter(subject_id=OuterRef("pk"), kind=ShopTroubled.code)
    events = Event.objects.filter(connection=OuterRef("pk"), created_at__gt=Now() - MAX_AGE).unused().order_by()
    first = Q(notified_at=None)
    began = REJECTING & (first | Q(notified_at__lt=F("last_event_at")))
    troubled = (
        Connection.objects.kept()
        .with_health()
        .annotate(notified_at=Subquery(notices.order_by("-pk").values("created_at")[:1]))
        .filter(first | Q(notified_at__lt=Now() - REPEAT_AFTER), disabled_at=None)
        .annotate(since=Coalesce("notified_at", "created_at"))
        .filter(began | Exists(events.filter(ended_at__gt=OuterRef("since"))))
    )
    # Serializes two sweeps.
    for shop in troubled.select_for_update(no_key=True, skip_locked=True, of=("self",)).select_related("merchant"):
        notify(ShopTroubled, shop.merchant, shop)
