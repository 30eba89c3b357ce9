"""Test orders that members send. They are reported as a shop would report them, only without HTTP."""

import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone
from rest_framework.exceptions import ValidationError

from fulfillment.payments import validate_payment
from merchants.models import CheckoutPage, Merchant, Product, User
from merchants.sandbox import get_sandbox
from orders.content import digest_content
from orders.models import Order, OrderItem
from orders.money import plain_amount
from orders.placing import place_order

UNIT_PRICE, CURRENCY = Decimal(10), "EUR"


def send_test_order(
    merchant: Merchant,
    *,
    product: Product,
    quantity: int,
    recipient: User,
    checkout_page: CheckoutPage,
    language: str,
    actor: str,
) -> Order:
    """Report a payment to the merchant's sandbox and return its order."""
    sandbox = get_sandbox(merchant)
    payment = {
        "order": f"TEST-{secrets.randbelow(10**10):010}",
        "paid_at": _moment(timezone.now()),
        "currency": CURRENCY,
        "checkout_page": checkout_page.code,
        "language": language,
        "customer": {
            "email": recipient.email,
            "first_name": recipient.first_name,
            "last_name": recipient.last_name,
        },
        "items": [
            {
                "item": "1",
                "product": product.sku,
                "quantity": quantity,
                "total_price": plain_amount(UNIT_PRICE * quantity, CURRENCY),
            }
        ],
    }
    order, _ = place_order(sandbox, validate_payment(sandbox, payment), actor=actor)
    return order


def read_payment(order: Order, items: list[OrderItem]) -> dict[str, Any] | None:
    """Return the payment that reported the order, or None if the order doesn't contain all of it (anymore).

    Orders store no payments, only a digest of each field. So the payment is put together from the order, and compared.
    """
    payment = {
        "order": order.number,
        "paid_at": _moment(order.paid_at) if order.paid_at else "",
        "currency": order.currency,
        "checkout_page": order.checkout_page.code,
        "language": order.language,
        "customer": {"email": order.email, "first_name": order.first_name, "last_name": order.last_name},
        "items": [
            {
                "item": item.reference,
                "product": item.product.sku,
                "quantity": item.quantity,
                "total_price": plain_amount(item.total_price, order.currency),
            }
            for item in items
        ],
    }
    try:
        content = digest_content(validate_payment(order.merchant, payment))
    except ValidationError:  # for example, the customer's data was erased
        return None
    return payment if content == order.content else None


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
