"""Stores reported payments. The statements are written out, because every customer waits for them."""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils.translation import gettext

from merchants.models import Merchant, Product
from orders.content import digest_content, find_differences
from orders.models import Order, OrderEvent, OrderItem, OtherItem
from orders.services import in_utc, new_link, undo_refund
from orders.signals import order_paid
from work import sql
from work.refusals import Refused
from work.request_ids import current_request_id

logger = logging.getLogger(__name__)

# An order, unless its number is taken: then another request was first and has committed.
PLACED = """
    INSERT INTO orders_order (merchant_id, number, status, reported_by, paid_at, utc_offset, ended_at, reinstated_at,
        held_until, currency, language, checkout_page_id, email, first_name, last_name, company, country,
        additional_parameters, content, link_token, link_fingerprint, shop_request_id)
    VALUES (%(merchant)s, %(number)s, %(status)s, %(reported_by)s, %(paid_at)s, %(utc_offset)s, NULL,
        %(reinstated_at)s, %(held_until)s, %(currency)s, %(language)s, %(checkout_page)s, %(email)s, %(first_name)s,
        %(last_name)s, %(company)s, %(country)s, %(additional_parameters)s::jsonb, %(content)s::jsonb,
        %(link_token)s::bytea, %(link_fingerprint)s::bytea, %(shop_request_id)s)
    ON CONFLICT (merchant_id, number) DO NOTHING
    RETURNING id, reported_at
"""
# The items of the order in `placed`.
SOLD = """
    INSERT INTO orders_orderitem (order_id, reference, product_id, quantity, units, total_price, subscription_id,
        parent_order)
    SELECT placed.id, item.*
    FROM placed, json_to_recordset(%(items)s::json) AS item (reference text, product bigint, quantity integer,
        units integer, price numeric, subscription bigint, parent text)
    RETURNING id, reference
"""
NOT_OURS = """
    INSERT INTO orders_otheritem (order_id, reference, product, quantity, total_price, subscription)
    SELECT placed.id, item.*
    FROM placed, json_to_recordset(%(others)s::json) AS item (reference text, product text, quantity integer,
        price numeric, subscription jsonb)
"""
PLACE = f"""
    WITH placed AS ({PLACED}), sold AS ({SOLD}), not_ours AS ({NOT_OURS})
    SELECT placed.id AS order_id, reported_at, sold.id, reference FROM placed LEFT JOIN sold ON true
"""  # noqa: S608 (from above)
ADD_ITEMS = f"""
    WITH placed AS (SELECT %(order)s::bigint AS id), sold AS ({SOLD})
    SELECT id, reference FROM sold
"""  # noqa: S608 (from above)

# Adds unknown subscriptions and updates the others. Type and period come from the order that was paid last, because
# customers can change them. Sorted, so that two payments that create the same subscriptions can't deadlock. A
# subscription that another payment added since the statement began isn't among the rows.
SUBSCRIBE = """
    WITH given AS (
        SELECT * FROM json_to_recordset(%(given)s::json) AS given (id text, type text, period text) ORDER BY id
    ), added AS (
        INSERT INTO orders_subscription (merchant_id, reference, type, period)
        SELECT %(merchant)s::bigint, id, type, period FROM given
        ON CONFLICT (merchant_id, reference) DO NOTHING
        RETURNING id, reference
    ), changed AS (
        UPDATE orders_subscription known SET type = given.type, period = given.period
        FROM given
        WHERE known.merchant_id = %(merchant)s AND known.reference = given.id
            AND (known.type, known.period) <> (given.type, given.period)
            AND NOT EXISTS (
                SELECT FROM orders_orderitem item JOIN orders_order later ON later.id = item.order_id
                WHERE item.subscription_id = known.id AND later.paid_at > %(paid_at)s::timestamptz
            )
    )
    SELECT id, reference FROM added
    UNION ALL
    SELECT known.id, reference FROM orders_subscription known JOIN given ON known.reference = given.id
    WHERE known.merchant_id = %(merchant)s
"""


class PaymentConflict(Refused):
    """An order with this number exists with other content. `pointers` are JSON pointers to the differing fields."""

    code = "payment_conflict"

    def __init__(self, message: str, pointers: list[str]):
        super().__init__(message)
        detail = "This was first reported with a different value."
        self.errors = [{"pointer": pointer, "detail": detail} for pointer in pointers]


def place_order(
    merchant: Merchant, payment: dict, *, actor: str = "", held_until: datetime | None = None
) -> tuple[Order, bool]:
    """Store a reported payment; return its order and whether it is new.

    `payment` is the validated data of a PaymentSerializer. A payment that was reported before, or is being reported in
    a concurrent request, returns the existing order; items whose product exists only now are sold. A new order gets
    no codes before `held_until`. Raises PaymentConflict if the existing order has different content.
    """
    content = digest_content(payment)
    try:
        order = _create_order(merchant, payment, content, actor, held_until, at_once=True)
    except Exception:
        # A source that fails must not lose the payment.
        logger.exception("The sources of order %s failed and will be asked again", payment["order"])
        order = _create_order(merchant, payment, content, actor, held_until, at_once=False)
    if order:
        return order, True

    order = Order.objects.get(merchant=merchant, number=payment["order"])
    if differing := find_differences(order, payment, content):
        raise PaymentConflict(
            gettext("Order {number} already exists with different content.").format(number=order.number), differing
        )
    if payment.get("reinstated_at"):
        undo_refund(order, payment["reinstated_at"], actor)
    map_items(order, actor=actor)
    return order, False


@transaction.atomic
def _create_order(
    merchant: Merchant,
    payment: dict,
    content: dict[str, str],
    actor: str,
    held_until: datetime | None,
    *,
    at_once: bool,
) -> Order | None:
    """Store the order and its items; None if its number is taken."""
    order = Order(
        merchant=merchant,
        number=payment["order"],
        status=Order.Status.PAID,
        reported_by=actor,
        paid_at=in_utc(payment["paid_at"]),
        reinstated_at=in_utc(payment.get("reinstated_at")),
        held_until=held_until,
        utc_offset=payment["paid_at"].utcoffset() // timedelta(minutes=1),
        currency=payment["currency"],
        language=payment["language"],
        checkout_page=payment["checkout_page"],
        additional_parameters=payment["additional_parameters"],
        content=content,
        shop_request_id=current_request_id(),
        **new_link(),
        **payment["customer"],
    )
    ours: list[dict] = []
    others: list[dict] = []
    for item in payment["items"]:
        (ours if item["product"] else others).append(item)
    items = _build_items(order, ours)
    order.loaded_items = items
    order.loaded_other_items = [_build_other(order, item) for item in others]
    others_given = list(map(_other_parameters, order.loaded_other_items))
    rows = sql.run(PLACE, **_order_parameters(order), items=list(map(_item_parameters, items)), others=others_given)
    if not rows:
        transaction.set_rollback(True)  # of the subscriptions
        return None
    order.pk, order.reported_at = rows[0].order_id, rows[0].reported_at
    order._state.adding, order._state.db = False, "default"
    _sell(order, items, rows, at_once=at_once)
    return order


def _sell(order: Order, items: list[OrderItem], rows: list[Any], *, at_once: bool = True) -> None:
    """Announce new items. `rows` have their primary keys."""
    ids = {row.reference: row.id for row in rows}
    for item in items:
        item.pk, item.order = ids[item.reference], order
        item._state.adding, item._state.db = False, "default"
    if items:
        order_paid.send(Order, order=order, items=items, at_once=at_once)


Choice = dict[OtherItem, list[dict[str, Any]]]


def choose_by_sku(order: Order) -> Choice:
    """Return the items to sell in place of those that are *not ours* but have a product by now."""
    others = list(order.other_items.mappable().order_by("pk"))
    products = Product.objects.in_bulk([other.product_id for other in others])
    return {other: [other.reported(products[other.product_id])] for other in others}


@transaction.atomic
def map_items(order: Order, *, actor: str, choose: Callable[[Order], Choice] = choose_by_sku) -> int:
    """Sell the items of a paid order that were *not ours* but have a product by now; return their number.

    `choose` returns the validated items that take the place of each one.
    """
    if not choose(order):
        return 0
    # Serializes with refunds, and with another mapping of the same items.
    order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    if order.status != Order.Status.PAID:
        return 0
    chosen = choose(order)
    order.other_items.filter(pk__in=[other.pk for other in chosen]).delete()
    items = _build_items(order, [item for items in chosen.values() for item in items])
    if items:
        _sell(order, items, sql.run(ADD_ITEMS, order=order.pk, items=list(map(_item_parameters, items))))
        details = {"items": [other.reference for other in chosen]}
        OrderEvent.objects.create(order=order, kind=OrderEvent.Kind.MAPPED, details=details, happened_by=actor)
    return len(chosen)


def _get_subscriptions(order: Order, items: list[dict]) -> dict[str, int]:
    """Get or create the subscriptions of these items; return their primary keys by reference."""
    reported = {item["subscription"]["id"]: item["subscription"] for item in items if item["subscription"]}
    found: dict[str, int] = {}
    while found.keys() != reported.keys():
        given = list(reported.values())
        rows = sql.run(SUBSCRIBE, merchant=order.merchant_id, paid_at=order.paid_at, given=given)
        found = {row.reference: row.id for row in rows}
    return found


def _build_items(order: Order, reported: list[dict]) -> list[OrderItem]:
    subscriptions = _get_subscriptions(order, reported)
    return [_build_item(item, subscriptions) for item in reported]


def _build_item(item: dict, subscriptions: dict[str, int]) -> OrderItem:
    reported = item["subscription"] or {"id": None, "parent_order": None}
    return OrderItem(
        reference=item["item"],
        product=item["product"],
        quantity=item["quantity"],
        units=item["product"].units(item["quantity"]),
        total_price=Decimal(item["total_price"]),
        subscription_id=subscriptions.get(reported["id"]),
        parent_order=reported["parent_order"] or "",
    )


def _build_other(order: Order, item: dict) -> OtherItem:
    price, same = Decimal(item["total_price"]), {name: item[name] for name in ("quantity", "subscription")}
    return OtherItem(order=order, reference=item["item"], product=item["sku"], total_price=price, **same)


def _order_parameters(order: Order) -> dict[str, Any]:
    sealed = Order._meta.get_field("link_token").pre_save(order, True)
    return {
        "merchant": order.merchant_id,
        "number": order.number,
        "status": str(order.status),
        "reported_by": order.reported_by,
        "paid_at": order.paid_at,
        "utc_offset": order.utc_offset,
        "reinstated_at": order.reinstated_at,
        "held_until": order.held_until,
        "currency": order.currency,
        "language": order.language,
        "checkout_page": order.checkout_page_id,
        "email": order.email,
        "first_name": order.first_name,
        "last_name": order.last_name,
        "company": order.company,
        "country": order.country,
        "additional_parameters": _json(order.additional_parameters),
        "content": _json(order.content),
        "link_token": sealed.ciphertext,
        "link_fingerprint": order.link_fingerprint,
        "shop_request_id": order.shop_request_id,
    }


def _item_parameters(item: OrderItem) -> dict[str, Any]:
    return {
        "reference": item.reference,
        "product": item.product_id,
        "quantity": item.quantity,
        "units": item.units,
        "price": item.total_price,
        "subscription": item.subscription_id,
        "parent": item.parent_order,
    }


def _other_parameters(other: OtherItem) -> dict[str, Any]:
    return {
        "reference": other.reference,
        "product": other.product,
        "quantity": other.quantity,
        "price": other.total_price,
        "subscription": other.subscription,
    }


def _json(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder)
