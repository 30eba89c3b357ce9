"""Payloads of webhook events. They contain no codes and no customer data: a shop knows the customer of its order."""

from typing import Any

from orders.models import Order, OrderItem
from pools.models import LicensePool

Payload = dict[str, Any]


def order_payload(order: Order, items: list[OrderItem]) -> Payload:
    return {
        "order": order.number,
        "paid_at": order.paid_at,
        "currency": order.currency,
        "items": [{"item": item.reference, "product": item.product.sku, "quantity": item.quantity} for item in items],
    }


def pool_payload(pool: LicensePool, available: int) -> Payload:
    return {"pool": pool.pk, "name": pool.name, "available": available, "threshold": pool.threshold}


def item_payload(item: OrderItem) -> Payload:
    return {
        "order": item.order.number,
        "item": item.reference,
        "product": item.product.sku,
        "quantity": item.quantity,
    }
