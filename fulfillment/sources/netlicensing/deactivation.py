"""Deactivate a refunded item's licenses, whichever licensee has them now. Undoing the refund reactivates them."""

from collections import defaultdict
from time import monotonic

from django.db import transaction
from django.db.models import Case, F, When
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.history import HistoryLine
from fulfillment.item_notices import ItemNotice
from fulfillment.sources.netlicensing.client import NetLicensingClient, NetLicensingError, Unknown, visit
from fulfillment.sources.netlicensing.models import Deactivation, IssuedLicense, LicensingAccount
from notices.sending import notify, register
from orders.models import Order
from work.attempts import Failure, Policy
from work.models import LEASE, database_now

ATTEMPT_TIMEOUT = 45
# After this long, no attempt that was running at the time of the refund can still add licenses.
SETTLED_AFTER = 2 * LEASE


class LicensesNotice(ItemNotice):
    def obsolete_reason(self, notice):
        return ""


class NotDeactivated(LicensesNotice):
    code, name = "not_deactivated", _("licenses not deactivated")


class NotActivated(LicensesNotice):
    code, name = "not_activated", _("licenses not activated again")


register(NotDeactivated, NotActivated)


DEACTIVATED = {
    Deactivation.Status.QUEUED: _("Licenses of {product} being deactivated"),
    Deactivation.Status.FAILED: _("Licenses of {product} couldn’t be deactivated"),
    Deactivation.Status.DONE: _("Licenses of {product} deactivated"),
}
ACTIVATED = {
    Deactivation.Status.QUEUED: _("Licenses of {product} being activated again"),
    Deactivation.Status.FAILED: _("Licenses of {product} couldn’t be activated again"),
    Deactivation.Status.DONE: _("Licenses of {product} activated again"),
}


def history_line(work: Deactivation) -> HistoryLine:
    texts = ACTIVATED if work.is_undoing else DEACTIVATED
    text = str(texts.get(work.Status(work.status), texts[work.Status.DONE])).format(product=work.item.product.name)
    at = work.ended_at or work.created_at
    return HistoryLine(at, "refund", text, note=work.reason, state=work.status)


def begin(order: Order) -> None:
    """Queue the deactivation of an order's licenses, in the transaction of the refund."""
    for pk in order.items.filter(issued_licenses__isnull=False).distinct().values_list("pk", flat=True):
        work, new = Deactivation.objects.get_or_create(item_id=pk)
        if not new:
            _turn(work, is_undoing=False)
        work.nudge()


def undo(order: Order) -> None:
    """Queue the reactivation of an order's licenses, in the transaction that undoes the refund."""
    for work in Deactivation.objects.filter(item__order=order):
        _turn(work, is_undoing=True)
        work.nudge()


def _turn(work: Deactivation, *, is_undoing: bool) -> None:
    """Start over in this direction, once the lease of any attempt in the other direction has ended."""
    Deactivation.objects.filter(pk=work.pk).update(
        is_undoing=is_undoing,
        status=Deactivation.Status.QUEUED,
        reason="",
        created_at=Now(),
        ended_at=None,
        attempts=F("attempts") + 1,
        due_at=Case(When(due_at__isnull=True, then=Now()), When(attempts=0, then=Now()), default=Now() + LEASE),
    )


class DeactivationPolicy(Policy[Deactivation]):
    model = Deactivation

    def attempt(self, work):
        """Deactivate the licenses that are still active, or reactivate all of them."""
        licenses = work.item.issued_licenses.select_related("account__merchant")
        by_account = defaultdict(list)
        # Reactivate all: a worker may have died between deactivating a license and recording it.
        for license in licenses if work.is_undoing else licenses.filter(deactivated_at=None):
            by_account[license.account].append(license)
        missing, problems = 0, []
        for account, issued in by_account.items():
            try:
                missing += _set_active(account, issued, active=work.is_undoing)
            except NetLicensingError as error:
                problems.append(error)  # continue with the other accounts
        if problems:
            raise max(problems, key=lambda error: error.pause)
        if work.is_undoing and missing:
            raise Failure(gettext("Some of the licenses no longer exist."))
        if not work.is_undoing and missing and work.created_at > database_now() - SETTLED_AFTER:
            raise Failure(gettext("Some of the licenses don’t exist yet. We’ll check again."))
        work.end(status=Deactivation.Status.UNDONE if work.is_undoing else Deactivation.Status.DONE, reason="")

    @transaction.atomic
    def give_up(self, work, failure):
        if work.end(status=Deactivation.Status.FAILED, reason=str(failure)[:500]):
            notify(NotActivated if work.is_undoing else NotDeactivated, work.item.order.merchant, work.item)


deactivate = DeactivationPolicy().run


def _set_active(account: LicensingAccount | None, licenses: list[IssuedLicense], *, active: bool) -> int:
    """Set the licenses' status and return how many are missing. Licensees keep theirs: others' licenses may be there.

    A license that was never added counts as missing when deactivating, because it may still be added.
    """
    value = "true" if active else "false"
    if account is None:
        if active:
            raise NetLicensingError(
                gettext("The licensing account of these licenses was removed. Activate them yourself.")
            )
        raise NetLicensingError(
            gettext("The licensing account of these licenses was removed. Deactivate them yourself.")
        )
    missing = 0
    client = NetLicensingClient(account, deadline=monotonic() + ATTEMPT_TIMEOUT, item=licenses[0].item)
    with visit(account):
        for license in licenses:
            try:
                answer = client.update("license", license.number, active=value)
            except Unknown:
                missing += 1 if license.deactivated_at or not active else 0
                continue
            if answer.get("active", "").lower() != value:
                if active:
                    raise NetLicensingError(gettext("The service didn’t activate a license."))
                raise NetLicensingError(gettext("The service didn’t deactivate a license."))
            IssuedLicense.objects.filter(pk=license.pk).update(deactivated_at=None if active else Now())
    return missing
