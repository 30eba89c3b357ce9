"""Payloads of webhook events. They hold no codes and no customer data; a shop finds its customer by the order."""

from typing import Any

from orders.models import Order, OrderItem
from pools.models import LicensePool

Facts = dict[str, Any]


def facts_of_order(order: Order, items: list[OrderItem]) -> Facts:
    return {
        "order": order.number,
        "paid_at": order.paid_at,
        "currency": order.currency,
        "items": [{"item": item.reference, "product": item.product.sku, "quantity": item.quantity} for item in items],
    }


def facts_of_pool(pool: LicensePool, available: int) -> Facts:
    return {"pool": pool.pk, "name": pool.name, "available": available, "threshold": pool.threshold}


def facts_of_item(item: OrderItem) -> Facts:
    return {
        "order": item.order.number,
        "item": item.reference,
        "product": item.product.sku,
        "quantity": item.quantity,
    }
