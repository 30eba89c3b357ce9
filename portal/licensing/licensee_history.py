from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from licensing.models import Licensee, LicenseTransactionJoin, Transaction

LINES_SHOWN = 50
LICENSES_NAMED = 5  # of those that a transaction is about
AUTOMATIC = {
    Transaction.Source.AUTO_LICENSE_CREATE: "added",
    Transaction.Source.AUTO_LICENSEE_CREATE: "given automatically",
    Transaction.Source.AUTO_LICENSEE_VALIDATE: "made by a validation",
}


@dataclass(frozen=True)
class LicenseeHistoryLine:
    at: datetime
    kind: str
    text: str
    actor: str
    note: str = ""
    other: Licensee | None = None  # whom the text is about, at its end


def licensee_history(licensee: Licensee) -> list[LicenseeHistoryLine]:
    lines = [
        *(
            LicenseeHistoryLine(
                event.happened_at, event.kind, event.get_kind_display().capitalize(), event.happened_by, event.note
            )
            for event in licensee.events.order_by("-pk")[:LINES_SHOWN]
        ),
        *(_tell(transaction, licensee) for transaction in _transactions(licensee)),
        LicenseeHistoryLine(licensee.created_at, "reported", "Made", actor=""),
    ]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:LINES_SHOWN]


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


def _tell(transaction, licensee: Licensee) -> LicenseeHistoryLine:
    count, kind, other = transaction.license_count, "licenses", None
    licenses = f"{count:,} license{'' if count == 1 else 's'}"
    note = ", ".join(transaction.numbers) + (" …" if count > LICENSES_NAMED else "")
    if transaction.source == Transaction.Source.AUTO_LICENSES_TRANSFER:
        kind, is_away = "transfer", transaction.source_licensee_id == licensee.pk
        other = transaction.licensee if is_away else transaction.source_licensee
        text = (
            f"{licenses} transferred {'to' if is_away else 'here from'}{'' if other else ' a licensee that is gone'}"
        )
    elif transaction.source in AUTOMATIC:
        text = f"{licenses} {AUTOMATIC[transaction.source]}"
    else:
        text = f"Transaction {transaction.number}, {transaction.get_status_display()}: {licenses}"
    return LicenseeHistoryLine(transaction.created_at, kind, text, actor=transaction.made_by, note=note, other=other)
