from dataclasses import dataclass
from datetime import datetime

from django.contrib.humanize.templatetags.humanize import intcomma
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from licensing.models import Licensee, LicenseTransactionJoin, Transaction

MAX_LINES = 50
MAX_NUMBERS = 5  # license numbers per line
AUTOMATIC = {
    Transaction.Source.AUTO_LICENSE_CREATE: _("{licenses} added"),
    Transaction.Source.AUTO_LICENSEE_CREATE: _("{licenses} added automatically"),
    Transaction.Source.AUTO_LICENSEE_VALIDATE: _("{licenses} added by a validation"),
}


@dataclass(frozen=True)
class LicenseeHistoryLine:
    at: datetime
    kind: str
    text: str
    actor: str
    note: str = ""
    other: Licensee | None = None  # linked at the end of the text


def licensee_history(licensee: Licensee) -> list[LicenseeHistoryLine]:
    lines = [
        *(
            LicenseeHistoryLine(
                event.happened_at, event.kind, event.get_kind_display().capitalize(), event.happened_by, event.note
            )
            for event in licensee.events.order_by("-pk")[:MAX_LINES]
        ),
        *(_transaction_line(transaction, licensee) for transaction in _transactions(licensee)),
        LicenseeHistoryLine(licensee.created_at, "reported", gettext("Created"), actor=""),
    ]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:MAX_LINES]


def _transactions(licensee: Licensee) -> QuerySet[Transaction]:
    """Recent transactions, including transfers away, with the number of licenses and some license numbers."""
    joins = LicenseTransactionJoin.objects.filter(transaction=OuterRef("pk"))
    counts = joins.order_by().values("transaction").annotate(n=Count("pk")).values("n")
    return (
        Transaction.objects.filter(Q(licensee=licensee) | Q(source_licensee=licensee))
        .select_related("licensee", "source_licensee")
        .defer("licensee__number", "source_licensee__number")
        .annotate(
            license_count=Coalesce(Subquery(counts), 0),
            numbers=ArraySubquery(joins.order_by("pk").values("number")[:MAX_NUMBERS]),
        )
        .order_by("-pk")[:MAX_LINES]
    )


def _transaction_line(transaction, licensee: Licensee) -> LicenseeHistoryLine:
    count, kind, other = transaction.license_count, "licenses", None
    licenses = ngettext("{count} license", "{count} licenses", count).format(count=intcomma(count))
    note = ", ".join(transaction.numbers) + (" …" if count > MAX_NUMBERS else "")
    if transaction.source == Transaction.Source.AUTO_LICENSES_TRANSFER:
        kind, is_away = "transfer", transaction.source_licensee_id == licensee.pk
        other = transaction.licensee if is_away else transaction.source_licensee
        if other:
            text = gettext("{licenses} transferred to") if is_away else gettext("{licenses} transferred from")
        elif is_away:
            text = gettext("{licenses} transferred to a deleted licensee")
        else:
            text = gettext("{licenses} transferred from a deleted licensee")
    elif transaction.source in AUTOMATIC:
        text = str(AUTOMATIC[transaction.source])
    else:
        text = gettext("Transaction {number}, {status}: {licenses}")
    text = text.format(licenses=licenses, number=transaction.number, status=transaction.get_status_display())
    return LicenseeHistoryLine(transaction.created_at, kind, text, actor=transaction.made_by, note=note, other=other)
