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
# For which an order is held whose refund was reported before it, so that it gets no codes if nothing is left.
TIME_FOR_REFUNDS = timedelta(minutes=1)
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


def names_of(event: Event, references: Sequence[str]) -> list[str]:
    """The shop's ids of a sale as we keep them: a test sale may have the same ids as a real one."""
    prefix = "test " if event.is_test else ""
    return list(dict.fromkeys(f"{prefix}{reference}"[:MAX_ID] for reference in references))


def find_order(connection: Connection, names: Sequence[str]) -> Order | None:
    known = SaleReference.objects.filter(connection=connection, reference__in=names)
    row = known.select_related("order__merchant").order_by("pk").first()
    return row.order if row else None


def _find_removed(event: Event, sale: Sale) -> Order | None:
    """The order that a removed connection placed for the sale: the shop was connected again, and lists old orders."""
    connection = event.connection
    removed = Connection.objects.filter(
        merchant=connection.merchant_id, kind=connection.kind, removed_at__isnull=False
    )
    if not removed:
        return None
    names, address = names_of(event, sale.references), event.entered_email or sale.email
    known = SaleReference.objects.filter(connection__in=removed, reference__in=names, order__email__iexact=address)
    row = known.select_related("order__merchant").order_by("pk").first()
    return row.order if row else None


# Sales


def sell(event: Event, sale: Sale, outcome: Outcome) -> None:
    connection = event.connection
    wanted = look_up(connection, sale.lines)
    pairs = list(zip(sale.lines, wanted, strict=True))
    unmapped = (line for line, entry in pairs if line.ids and entry.products is None)
    outcome.unmapped = {line.ids[0][:MAX_ID]: line.name for line in unmapped}
    order = find_order(connection, names_of(event, sale.references)) or _find_removed(event, sale)
    if order:
        _update(event, sale, order, wanted)
    elif any(entry.products for entry in wanted):
        order = _place(event, sale, wanted)
    elif outcome.unmapped:
        raise UnmappedProducts(outcome.unmapped)
    else:
        raise Irrelevant(gettext("None of the products is sold with a license."))
    outcome.order = order


def _update(event: Event, sale: Sale, order: Order, wanted: list[Wanted]) -> None:
    """Learn what else the shop calls a known sale, and sell the items whose products are mapped by now."""
    _remember(event, sale, order, ignore_conflicts=True)
    choose = partial(_choose, sale=sale, wanted=wanted)
    if not (chosen := choose(order)):
        return
    skus = {item["sku"] for items in chosen.values() for item in items}
    new = [entry for entry in wanted if any(sku in skus for sku, _ in entry.products or [])]
    if held_until := _hold_of(entry.hold_hours for entry in new):
        Order.objects.filter(pk=order.pk).update(held_until=held_until)
    map_items(order, actor=str(event.connection), choose=choose)
    WriteBack.objects.filter(order=order).update(due_at=Now(), ended_at=None)


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
    decided: dict[str, Wanted] = {}
    for row in sql.run(MAPPED, connection=connection.pk, ids=ids):
        entry = decided.setdefault(row.external_id, Wanted([] if row.ignored else None, row.hold_hours))
        if row.sku and not row.ignored:
            entry.products = [*(entry.products or []), (row.sku, row.multiplier)]
    skus = Product.objects.filter(merchant=connection.merchant_id, sku__in=ids).values_list("sku", flat=True)
    same = {sku: Wanted([(sku, 1)], decided[sku].hold_hours if sku in decided else None) for sku in skus}
    decided = {name: entry for name, entry in decided.items() if entry.products is not None}
    return [_find_wanted(line, decided, same) if line.is_sold else Wanted([]) for line in lines]


def _find_wanted(line: Line, *known: dict[str, Wanted]) -> Wanted:
    """The first entry of the line's ids. What a person decided about any of them counts before a SKU."""
    names = [name[:MAX_ID] for name in line.ids]
    return next((entries[name] for entries in known for name in names if name in entries), Wanted())


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
    held_until = _hold(event, sale, wanted)
    # A number may be taken by another connection, by a report to the API or by another sale of this shop.
    wanted_number, unique = payment["order"], f"{connection.pk}-{sale.references[0]}"
    others = (clean_number(f"{wanted_number}-{suffix}") for suffix in (connection.pk, unique))
    for number in (wanted_number, *others):
        with suppress(IntegrityError, PaymentConflict), transaction.atomic():
            if not merchant.orders.filter(number=number).exists():
                order, is_new = place_order(
                    merchant, payment | {"order": number}, actor=str(connection), held_until=held_until
                )
                if is_new:
                    _remember(event, sale, order)
                    if connection.writes_back and not event.is_test:
                        own = sale.references[0][:MAX_ID]
                        WriteBack.objects.create(connection=connection, order=order, reference=own).nudge()
                    return order
        # Another worker may have placed it for this sale in the meantime.
        if known := find_order(connection, names_of(event, sale.references)):
            return known
    raise Parked(
        Cause.REFUSED, gettext("Order {number} was already reported by someone else.").format(number=wanted_number)
    )


def _remember(event: Event, sale: Sale, order: Order, *, ignore_conflicts: bool = False) -> None:
    """Record what the shop calls the sale. Raises IntegrityError if another worker has placed an order for it."""
    own, *_ = names = names_of(event, sale.references)
    # Only the first report decides which id is the sale's own.
    rows = [
        SaleReference(
            connection=event.connection,
            reference=name,
            order=order,
            is_own=name == own and not ignore_conflicts,
        )
        for name in sorted(names)
    ]
    SaleReference.objects.bulk_create(rows, ignore_conflicts=ignore_conflicts)


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
        raise _explain(error.detail, sale.references) from error


def _explain(detail: Any, references: Sequence[str]) -> Parked:
    """Sum up why a payment is invalid: the first message with its field."""
    customer = detail.get("customer") if isinstance(detail, dict) else None
    if isinstance(customer, dict) and "email" in customer:
        text = gettext("The sale has no valid e-mail address. Enter the customer’s.")
        return Parked(Cause.NO_ADDRESS, text, references)
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
        # In parentheses, so that no name is taken for the SKU of a product.
        [own] = line.ids[:1] or ["–"]
        product = own if line.ids and wanted.products is None else f"{line.name} ({own})"
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
        if name in others and entry.products:
            found[others[name]] = list(_items(line, name, entry, sale.currency))
    skus = {item["product"] for items in found.values() for item in items}
    products = {row.sku: row for row in Product.objects.filter(merchant=order.merchant.vendor_id, sku__in=skus)}
    return {
        other: [item | {"sku": item["product"], "product": products[item["product"]]} for item in items]
        for other, items in found.items()
    }


def _hold(event: Event, sale: Sale, wanted: list[Wanted]) -> datetime | None:
    """Until when the order gets no codes."""
    sold = [entry.hold_hours for entry in wanted if entry.products]
    held_until = _hold_of([event.connection.hold_hours, *sold])
    if held_until is None and _has_refunds(event, sale):
        return database_now() + TIME_FOR_REFUNDS
    return held_until


def _hold_of(hours: Iterable[int | None]) -> datetime | None:
    """The end of the longest of these holds."""
    given = [hour for hour in hours if hour is not None]
    if 0 in given:
        return UNTIL_APPROVED
    return database_now() + timedelta(hours=max(given)) if given else None


def _has_refunds(event: Event, sale: Sale) -> bool:
    """Whether refunds have been reported before the sale. They are processed right after it."""
    names = names_of(event, sale.references)
    waiting = Event.objects.filter(connection=event.connection, state=Event.State.PARKED, cause=Cause.NO_SALE)
    return waiting.filter(waits_for__overlap=names).exists()


def clean_number(text: str) -> str:
    """Make a shop's number a valid one of ours: visible, at most 64 characters, and still unique."""
    number = " ".join(remove_invisible(text).split())
    if len(number) > MAX_NUMBER:
        number = f"{number[: MAX_NUMBER - 17]}-{sha256(number.encode()).hexdigest()[:16]}"
    return f"#{number}" if number in {"", ".", ".."} or number.startswith(ID_PREFIX) else number


def format_amount(amount: Decimal, currency: str) -> str:
    """An amount as in the payments API, rounded to the decimals of the currency."""
    return str(round_amount(amount, currency))


def round_amount(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-DECIMALS.get(currency, 2)))


# What comes after a sale


def take_back(event: Event, change: Refunded, outcome: Outcome) -> None:
    outcome.order = order = _needed_order(event, change.references)
    amount = None if change.amount is None else round_amount(change.amount, order.currency)
    if amount is not None and change.currency and change.currency != order.currency:
        raise Parked(
            Cause.REFUSED,
            gettext("The refund is in {other}, the order in {currency}.").format(
                other=change.currency, currency=order.currency
            ),
        )
    # Serializes with other refunds of the order, so that what is left doesn't change.
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    # Without the shop's number of the refund, the event tells it from others.
    reference = change.reference[:MAX_NUMBER] or ("" if change.is_sum else f"event {event.pk}")
    known = reference and order.refunds.filter(reference=reference).exists()
    if known or order.status != Order.Status.PAID or _is_over(change, order):
        return
    left = order.left_to_refund()
    if amount is not None and change.is_sum:
        amount -= order.total() - left
    if amount is not None and amount <= 0:
        return
    # Shops also pay back what isn't part of our order, such as a tip.
    whole = amount is None or amount >= left
    refund(order, amount=None if whole else amount, reference=reference, actor=str(event.connection))


def _is_over(change: Refunded, order: Order) -> bool:
    """Whether a chargeback is reported only after the shop reported that it was undone."""
    return bool(change.disputed_at and order.reinstated_at and change.disputed_at <= order.reinstated_at)


def restore(event: Event, change: Restored, outcome: Outcome) -> None:
    outcome.order = order = _needed_order(event, change.references)
    undo_refund(order, change.moment, str(event.connection))


def clear(event: Event, change: Approved, outcome: Outcome) -> None:
    outcome.order = order = _needed_order(event, change.references)
    with suppress(NotHeld):
        approve(order, actor=str(event.connection))


def _needed_order(event: Event, references: Sequence[str]) -> Order:
    names = names_of(event, references)
    order = find_order(event.connection, names)
    if order is None:
        text = gettext("The sale that this is about hasn’t been reported.")
        raise Parked(Cause.NO_SALE, text, names)
    return order


APPLY: dict[type, Any] = {Sale: sell, Refunded: take_back, Restored: restore, Approved: clear}
