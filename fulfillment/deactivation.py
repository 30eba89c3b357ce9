"""After a refund: the licenses that were added for an item are deactivated, wherever they are by now."""

import logging
from collections import defaultdict
from datetime import timedelta
from time import monotonic

from django.db import transaction
from django.db.models.functions import Now

from fulfillment.callouts import CalloutBusy
from fulfillment.models import (
    LEASE,
    Deactivation,
    IssuedLicense,
    LicensingAccount,
    MerchantNotice,
    database_now,
)
from fulfillment.net_licensing import Client, LicensingError, Unknown, visit
from orders.models import Order

logger = logging.getLogger(__name__)

MOST_SECONDS = 45
# After that long it is given up.
PATIENCE = timedelta(days=1)
# By then no attempt that was under way when the order was refunded adds any more.
SETTLED_AFTER = 2 * LEASE


def begin(order: Order) -> None:
    """Have an order's licenses deactivated, in the transaction in which it is refunded."""
    for pk in order.items.filter(issued_licenses__isnull=False).distinct().values_list("pk", flat=True):
        Deactivation.objects.get_or_create(item_id=pk)[0].nudge()


def deactivate(pk: int) -> None:
    """Make one attempt, if it is due."""
    work = Deactivation.objects.claim(pk)
    if work is None:
        return
    try:
        problem = _attempt(work)
    except CalloutBusy as busy:
        work.postpone(str(busy))
        return
    except LicensingError as error:
        problem, pause = str(error), error.pause
    except Exception:
        logger.exception("%s will be tried again", work)
        problem, pause = "Something failed on our side; the log says what.", timedelta(0)
    else:
        pause = timedelta(0)
    if not problem:
        work.end(status=Deactivation.Status.DONE, reason="")
    elif work.created_at > database_now() - PATIENCE:
        work.postpone(problem, at_least=pause)
    else:
        _give_up(work, problem)


def _attempt(work: Deactivation) -> str:
    """Deactivate what is not yet; return why not all is."""
    active = defaultdict(list)
    for license in work.item.issued_licenses.filter(deactivated_at=None).select_related("account__merchant"):
        active[license.account].append(license)
    missing, problems = 0, []
    for account, licenses in active.items():
        try:
            missing += _deactivate(account, licenses)
        except LicensingError as error:
            problems.append(error)  # of this account; the others are asked all the same
    if problems:
        raise max(problems, key=lambda error: error.pause)
    if missing and work.created_at > database_now() - SETTLED_AFTER:
        return "Perhaps some were just being added; they are looked for again."
    return ""


def _deactivate(account: LicensingAccount | None, licenses: list[IssuedLicense]) -> int:
    """Return how many there are not, or not yet. The licensee is left alone: other orders' may be there, too."""
    if account is None:
        raise LicensingError("The licensing account that they were added by was removed. Deactivate them yourself.")
    missing = 0
    client = Client(account, deadline=monotonic() + MOST_SECONDS, item=licenses[0].item)
    with visit(account):
        for license in licenses:
            try:
                answer = client.update("license", license.number, active="false")
            except Unknown:
                missing += 1
                continue
            if answer.get("active", "").lower() != "false":
                raise LicensingError("It did not deactivate a license.")
            IssuedLicense.objects.filter(pk=license.pk).update(deactivated_at=Now())
    return missing


@transaction.atomic
def _give_up(work: Deactivation, reason: str) -> None:
    if work.end(status=Deactivation.Status.FAILED, reason=reason[:500]):
        kind, merchant = MerchantNotice.Kind.NOT_DEACTIVATED, work.item.order.merchant
        notice, _ = MerchantNotice.objects.get_or_create(kind=kind, item=work.item, defaults={"merchant": merchant})
        notice.nudge()
