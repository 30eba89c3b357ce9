"""Applies what shops report. A sale becomes one order, however often and in whatever sequence it is reported."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext
from rest_framework.exceptions import ValidationError

from fulfillment.holds import UNTIL_APPROVED, NotHeld, approve
from fulfillment.payments import validate_payment
from merchants.models import Merchant, Product
from merchants.sandbox import get_sandbox
from merchants.text import remove_invisible
from orders.models import ID_PREFIX, MAX_OTHER_PRODUCT, Order, OtherItem
from orders.money import DECIMALS
from orders.placing import PaymentConflict, map_items, place_order
from orders.services import refund, undo_refund
from shops.changes import Approved, Cause, Change, Irrelevant, Line, Parked, Refunded, Restored, Sale
from shops.models import MAX_ID, Connection, Event, ExternalProduct, SaleReference, WriteBack
from work import sql
from work.models import database_now

MAX_NUMBER = 64  # characters of an order number
# What a connection's external products are mapped to, and whether they are ignored.
MAPPED = """
    SELECT external.external_id, external.ignored, external.hold_hours, product.sku, mapping.multiplier
    FROM shops_externalproduct external
    LEFT JOIN shops_productmapping mapping ON mapping.external_id = external.id
    LEFT JOIN merchants_product product ON product.id = mapping.product_id
    WHERE external.connection_id = %(connection)s
        AND external.external_id = ANY(ARRAY(SELECT json_array_elements_text(%(ids)s::json)))
    ORDER BY external.id, mapping.id
"""


@dataclass
class Outcome:
    """What became of an event."""

    order: Order | None = None
    unmapped: dict[str, str] = field(default_factory=dict)  # names of products without a mapping, by id


@dataclass
class Wanted:
    """What buyers of a line get: SKUs with the number for each unit. None if the line isn't mapped."""

    products: list[tuple[str, int]] | None = None
    hold_hours: int | None = None


def apply(event: Event, changes: Iterable[Change]) -> Outcome:
    """Apply all changes of an event or, with Parked or Irrelevant, none. Applying them again changes nothing."""
    outcome = Outcome()
    with transaction.atomic():
        for change in changes:
            APPLY[type(change)](event, change, outcome)
    return outcome


def find_order(connection: Connection, references: Sequence[str]) -> Order | None:
    known = SaleReference.objects.filter(connection=connection, reference__in=[name[:MAX_ID] for name in references])
    row = known.select_related("order__merchant").order_by("pk").first()
    return row.order if row else None


# Sales


def sell(event: Event, sale: Sale, outcome: Outcome) -> None:
    connection = event.connection
    wanted = look_up(connection, sale.lines)
    pairs = list(zip(sale.lines, wanted, strict=True))
    outcome.unmapped = {line.ids[0]: line.name for line, entry in pairs if line.ids and entry.products is None}
    order = find_order(connection, sale.references)
    if order:
        map_items(order, actor=str(connection), choose=partial(_choose, sale=sale, wanted=wanted))
    elif any(entry.products for entry in wanted):
        order = _place(event, sale, wanted)
    elif outcome.unmapped:
        raise UnmappedProducts(outcome.unmapped)
    else:
        raise Irrelevant(gettext("None of the products is sold with a license."))
    outcome.order = order


class UnmappedProducts(Parked):
    def __init__(self, products: dict[str, str]):
        names = ", ".join(name or external for external, name in products.items())
        text = gettext("These products aren’t mapped to yours: {names}.").format(names=names)
        super().__init__(Cause.UNMAPPED, text[:500], list(products))
        self.products = products


def look_up(connection: Connection, lines: Sequence[Line]) -> list[Wanted]:
    """Return what each line is mapped to: by the first of its ids that a person mapped, otherwise by SKU."""
    ids = sorted({name[:MAX_ID] for line in lines for name in line.ids})
    if not ids:
        return [Wanted() for _ in lines]
    known: dict[str, Wanted] = {}
    for row in sql.run(MAPPED, connection=connection.pk, ids=ids):
        entry = known.setdefault(row.external_id, Wanted([] if row.ignored else None, row.hold_hours))
        if row.sku and not row.ignored:
            entry.products = [*(entry.products or []), (row.sku, row.multiplier)]
    for sku in Product.objects.filter(merchant=connection.merchant_id, sku__in=ids).values_list("sku", flat=True):
        entry = known.setdefault(sku, Wanted())
        entry.products = [(sku, 1)] if entry.products is None else entry.products
    return [_find_wanted(known, line) for line in lines]


def _find_wanted(known: dict[str, Wanted], line: Line) -> Wanted:
    found = (known[name[:MAX_ID]] for name in line.ids if name[:MAX_ID] in known)
    return next((entry for entry in found if entry.products is not None), Wanted())


def note_products(connection: Connection, products: dict[str, str]) -> None:
    """List products that aren't mapped, for the merchant to map."""
    ExternalProduct.objects.bulk_create(
        [
            ExternalProduct(connection=connection, external_id=external[:MAX_ID], name=name[:200], seen_at=Now())
            for external, name in sorted(products.items())
        ],
        update_conflicts=True,
        unique_fields=["connection", "external_id"],
        update_fields=["name", "seen_at"],
    )


def _place(event: Event, sale: Sale, wanted: list[Wanted]) -> Order:
    connection = event.connection
    merchant = get_sandbox(connection.merchant) if event.is_test else connection.merchant
    payment = _validate(event, merchant, sale, wanted)
    held_until = _hold(connection, sale, wanted)
    # A number may be taken by another connection or by a report to the API.
    for number in (payment["order"], f"{payment['order'][:40]}-{connection.pk}"):
        with suppress(IntegrityError, PaymentConflict), transaction.atomic():
            if not merchant.orders.filter(number=number).exists():
                order, is_new = place_order(
                    merchant, payment | {"order": number}, actor=str(connection), held_until=held_until
                )
                if is_new:
                    _remember(event, sale, order)
                    return order
        # Another worker may have placed it for this sale in the meantime.
        if own := find_order(connection, sale.references):
            return own
    raise Parked(
        Cause.REFUSED, gettext("Order {number} was already reported by someone else.").format(number=payment["order"])
    )


def _remember(event: Event, sale: Sale, order: Order) -> None:
    """Record what the shop calls the sale. Raises IntegrityError if another worker has placed an order for it."""
    connection, own = event.connection, sale.references[0][:MAX_ID]
    names = sorted({name[:MAX_ID] for name in sale.references})
    SaleReference.objects.bulk_create(
        [SaleReference(connection=connection, reference=name, order=order, is_own=name == own) for name in names]
    )
    if connection.writes_back and not event.is_test:
        WriteBack.objects.create(connection=connection, order=order, reference=own).nudge()


def _validate(event: Event, merchant: Merchant, sale: Sale, wanted: list[Wanted]) -> dict[str, Any]:
    """Return the sale as a validated payment. Raises Parked."""
    connection = event.connection
    named = zip(_named(sale.lines), wanted, strict=True)
    items = [item for (line, name), entry in named for item in _items(line, name, entry, sale.currency)]
    reported = {
        "order": clean_number(connection.number_prefix + sale.number),
        "paid_at": sale.paid_at.isoformat(),
        "currency": sale.currency,
        "checkout_page": connection.checkout_page.code,
        "language": sale.language,
        "customer": {
            "email": event.entered_email or sale.email,
            "first_name": sale.first_name,
            "last_name": sale.last_name,
            "company": sale.company,
            "country": sale.country,
        },
        "items": items,
        "additional_parameters": dict(sale.parameters),
    }
    try:
        return validate_payment(merchant, reported)
    except ValidationError as error:
        raise _explain(error.detail) from error


def _explain(detail: Any) -> Parked:
    """Sum up why a payment is invalid: the first message with its field."""
    customer = detail.get("customer") if isinstance(detail, dict) else None
    if isinstance(customer, dict) and "email" in customer:
        return Parked(Cause.NO_ADDRESS, gettext("The sale has no valid e-mail address. Enter the customer’s."))
    path = ""
    while isinstance(detail, dict | list) and detail:
        name, detail = next(
            (pair for pair in (detail.items() if isinstance(detail, dict) else enumerate(detail)) if pair[1]), ("", "")
        )
        path = path if isinstance(detail, str) else f"{path}.{name}".lstrip(".")
    return Parked(Cause.INVALID, f"{path}: {detail}"[:500])


def _named(lines: Sequence[Line]) -> Iterable[tuple[Line, str]]:
    """Each line with a reference that is unique and valid: the shop's, otherwise its position."""
    used: set[str] = set()
    for position, line in enumerate(lines, start=1):
        name = clean_number(line.reference) if line.reference else str(position)
        name = name if name not in used and len(name) < MAX_NUMBER - 4 else f"{position}."
        used.add(name)
        yield line, name


def _items(line: Line, name: str, wanted: Wanted, currency: str) -> Iterable[dict[str, Any]]:
    """The items of a line: one for each product of a bundle, of which the first has the price."""
    price = format_amount(line.total, currency)
    if not wanted.products:
        product = line.ids[0] if line.ids and wanted.products is None else f"{line.name} ({' '.join(line.ids[:1])})"
        yield {"item": name, "product": product[:MAX_OTHER_PRODUCT], "quantity": line.quantity, "total_price": price}
        return
    for number, (sku, multiplier) in enumerate(wanted.products):
        yield {
            "item": f"{name}.{number + 1}" if number else name,
            "product": sku,
            "quantity": line.quantity * multiplier,
            "total_price": price if number == 0 else format_amount(Decimal(0), currency),
            "subscription": line.subscription,
        }


def _choose(order: Order, *, sale: Sale, wanted: list[Wanted]) -> dict[OtherItem, list[dict[str, Any]]]:
    """Return the items that take the place of those that are *not ours*, because their products are mapped by now."""
    others = {other.reference: other for other in order.other_items.order_by("pk")}
    found: dict[OtherItem, list[dict[str, Any]]] = {}
    for (line, name), entry in zip(_named(sale.lines), wanted, strict=True):
        if name in others and entry.products and line.quantity >= 1 and line.total >= 0:
            found[others[name]] = list(_items(line, name, entry, sale.currency))
    skus = {item["product"] for items in found.values() for item in items}
    products = {row.sku: row for row in Product.objects.filter(merchant=order.merchant.vendor_id, sku__in=skus)}
    return {other: [item | {"product": products[item["product"]]} for item in items] for other, items in found.items()}


def _hold(connection: Connection, sale: Sale, wanted: list[Wanted]) -> datetime | None:
    """Until when the order gets no codes. Longest of the connection's and its products' times."""
    hours = [connection.hold_hours, *(entry.hold_hours for entry in wanted if entry.products)]
    given = [hour for hour in hours if hour is not None]
    if sale.is_suspicious or 0 in given:
        return UNTIL_APPROVED
    return database_now() + timedelta(hours=max(given)) if given else None


def clean_number(text: str) -> str:
    """Make a shop's number a valid one of ours: visible, at most 64 characters, and still unique."""
    number = " ".join(remove_invisible(text).split())
    if len(number) > MAX_NUMBER:
        number = f"{number[: MAX_NUMBER - 17]}-{sha256(number.encode()).hexdigest()[:16]}"
    return f"#{number}" if number in {"", ".", ".."} or number.startswith(ID_PREFIX) else number


def format_amount(amount: Decimal, currency: str) -> str:
    """An amount as in the payments API, rounded to the decimals of the currency."""
    return str(amount.quantize(Decimal(1).scaleb(-DECIMALS.get(currency, 2))))


# What comes after a sale


def take_back(event: Event, change: Refunded, outcome: Outcome) -> None:
    outcome.order = order = _needed_order(event, change.references)
    amount = change.amount
    if amount is not None and change.currency and change.currency != order.currency:
        raise Parked(
            Cause.REFUSED,
            gettext("The refund is in {other}, the order in {currency}.").format(
                other=change.currency, currency=order.currency
            ),
        )
    # Serializes with other refunds of the order, so that what is left doesn't change.
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    reference = change.reference[:MAX_NUMBER]
    known = reference and order.refunds.filter(reference=reference).exists()
    if known or order.status != Order.Status.PAID:
        return
    left = order.left_to_refund()
    if amount is not None and change.is_sum:
        amount -= order.total() - left
    if amount is not None and amount <= 0:
        return
    # Shops also pay back what isn't part of our order, such as a tip.
    whole = amount is None or amount >= left
    refund(order, amount=None if whole else amount, reference=reference, actor=str(event.connection))


def restore(event: Event, change: Restored, outcome: Outcome) -> None:
    outcome.order = order = _needed_order(event, change.references)
    undo_refund(order, change.moment, str(event.connection))


def clear(event: Event, change: Approved, outcome: Outcome) -> None:
    outcome.order = order = _needed_order(event, change.references)
    with suppress(NotHeld):
        approve(order, actor=str(event.connection))


def _needed_order(event: Event, references: Sequence[str]) -> Order:
    order = find_order(event.connection, references)
    if order is None:
        text = gettext("The sale that this is about hasn’t been reported.")
        raise Parked(Cause.NO_SALE, text, [name[:MAX_ID] for name in references])
    return order


APPLY: dict[type, Any] = {Sale: sell, Refunded: take_back, Restored: restore, Approved: clear}
