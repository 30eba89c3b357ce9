"""What happened to a licensee, the last first, as its page tells it."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from licensing.models import Licensee, LicenseeEvent, LicenseTransactionJoin, Transaction

LINES_SHOWN = 50
LICENSES_NAMED = 5  # of those that a transaction is about


@dataclass(frozen=True)
class Line:
    at: datetime
    kind: str
    text: str
    by: str
    note: str = ""
    other: Licensee | None = None  # whom the text is about, at its end


def licensee_history(licensee: Licensee) -> list[Line]:
    lines = [
        *(_tell_event(event) for event in licensee.events.order_by("-pk")[:LINES_SHOWN]),
        *(_tell(transaction, licensee) for transaction in _transactions(licensee)),
        Line(licensee.created_at, "reported", "Made", by=""),
    ]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:LINES_SHOWN]


def _tell_event(event: LicenseeEvent) -> Line:
    return Line(event.happened_at, event.kind, event.get_kind_display().capitalize(), event.happened_by, event.note)


def _transactions(licensee: Licensee) -> QuerySet[Transaction]:
    """The last, also transfers away from it; each with how many licenses it is about, and the numbers of some."""
    joins = LicenseTransactionJoin.objects.filter(transaction=OuterRef("pk"))
    counts = joins.order_by().values("transaction").annotate(n=Count("pk")).values("n")
    return (
        Transaction.objects.filter(Q(licensee=licensee) | Q(source_licensee=licensee))
        .select_related("licensee", "source_licensee")
        .defer("licensee__number", "source_licensee__number")
        .annotate(
            license_count=Coalesce(Subquery(counts), 0),
            numbers=ArraySubquery(joins.order_by("pk").values("number")[:LICENSES_NAMED]),
        )
        .order_by("-pk")[:LINES_SHOWN]
    )


def _tell(transaction, licensee: Licensee) -> Line:
    count = transaction.license_count
    licenses = f"{count:,} license{'' if count == 1 else 's'}"
    note = ", ".join(transaction.numbers) + (" …" if count > LICENSES_NAMED else "")
    other = None
    match transaction.source:
        case Transaction.Source.AUTO_LICENSES_TRANSFER if transaction.source_licensee_id == licensee.pk:
            kind, text, other = "transfer", f"{licenses} transferred to", transaction.licensee
        case Transaction.Source.AUTO_LICENSES_TRANSFER:
            kind, text, other = "transfer", f"{licenses} transferred here from", transaction.source_licensee
        case Transaction.Source.AUTO_LICENSE_CREATE:
            kind, text = "licenses", f"{licenses} added"
        case Transaction.Source.AUTO_LICENSEE_CREATE:
            kind, text = "licenses", f"{licenses} given automatically"
        case Transaction.Source.AUTO_LICENSEE_VALIDATE:
            kind, text = "licenses", f"{licenses} made by a validation"
        case _:
            kind, text = (
                "licenses",
                f"Transaction {transaction.number}, {transaction.get_status_display()}: {licenses}",
            )
    if kind == "transfer" and other is None:
        text += " a licensee that is gone"
    return Line(transaction.created_at, kind, text, by=transaction.made_by, note=note, other=other)
