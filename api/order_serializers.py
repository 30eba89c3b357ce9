"""Serializers for orders in API responses. Prefetch FOR_DISPLAY to keep the number of queries constant."""

from datetime import UTC, datetime
from typing import Any

from django.db.models import Prefetch
from rest_framework import serializers

from delivery.models import DeliveredCode, Delivery
from fulfillment.models import Fulfillment
from fulfillment.saving import NewCode
from orders.models import ActivationCode, Order, OrderItem, OtherItem
from orders.money import plain_amount

NOT_OURS = "not_ours"
# An order that was just placed has these rows in hand (orders/placing.py, fulfillment/saving.py).
FOR_DISPLAY = [
    Prefetch("other_items", OtherItem.objects.order_by("pk"), to_attr="loaded_other_items"),
    Prefetch(
        "items", OrderItem.objects.select_related("product", "fulfillment").order_by("pk"), to_attr="loaded_items"
    ),
    Prefetch("loaded_items__activation_codes", ActivationCode.objects.order_by("unit"), to_attr="loaded_codes"),
    Prefetch(
        "loaded_items__loaded_codes__deliveredcode_set",
        DeliveredCode.objects.select_related("delivery").order_by("delivery_id"),
        to_attr="loaded_deliveries",
    ),
]


class ActivationCodeSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    unit = serializers.IntegerField(help_text="The unit of the item that the code is for, from 1.")
    code = serializers.CharField()
    saved_at = serializers.DateTimeField()
    delivery = serializers.ChoiceField(
        [*Delivery.Status.values, "none"],
        help_text="Status of the last e-mail with this code; `none` if there is none or delivery isn’t allowed.",
    )
    delivery_reason = serializers.CharField(help_text="Why the e-mail wasn’t sent or didn’t arrive.")


class OrderItemSerializer(serializers.Serializer):
    id = serializers.IntegerField(
        allow_null=True, help_text="Use `id:` plus this number to name the item in URLs. Null if it is *not ours*."
    )
    item = serializers.CharField()
    product = serializers.CharField()
    quantity = serializers.IntegerField()
    total_price = serializers.CharField(help_text="Formatted with the decimals of the order’s currency.")
    fulfillment = serializers.ChoiceField(
        [*Fulfillment.Status.values, NOT_OURS],
        help_text=f"`{NOT_OURS}`: unknown product, no quantity or a negative price. It gets no activation codes.",
    )
    reason = serializers.CharField(help_text="Why fulfillment isn’t done yet.")
    sent_by_vendor = serializers.BooleanField(
        help_text="True if the merchant sends the license directly, so the item has no activation codes."
    )
    activation_codes = ActivationCodeSerializer(many=True)


class OrderSerializer(serializers.Serializer):
    """Declares an order for the schema. Fields cost more than the values, and an order can have 10,000 codes."""

    id = serializers.IntegerField(help_text="Use `id:` plus this number to name the order in URLs.")
    order = serializers.CharField()
    test = serializers.BooleanField(help_text="True if it was reported with a test API key, so it is only a test.")
    status = serializers.ChoiceField(Order.Status.choices)
    paid_at = serializers.DateTimeField()
    currency = serializers.CharField()
    email = serializers.EmailField(help_text="The customer’s current address.")
    order_url = serializers.URLField(
        allow_null=True, help_text="The customer’s order page; null if its link is revoked."
    )
    unmapped = serializers.BooleanField(help_text="True if all items are *not ours*.")
    items = OrderItemSerializer(many=True, help_text="Items that are *not ours* come last.")

    def to_representation(self, order):
        return {
            "id": order.pk,
            "order": order.number,
            "test": order.merchant.is_test,
            "status": str(order.status),
            "paid_at": _moment(order.paid_at),
            "currency": order.currency,
            "email": order.email,
            "order_url": order.url or None,
            "unmapped": not order.loaded_items,
            "items": [
                *(_describe_item(item, order) for item in order.loaded_items),
                *(_describe_other(item, order) for item in order.loaded_other_items),
            ],
        }


def _moment(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def _describe_item(item: OrderItem, order: Order) -> dict[str, Any]:
    return {
        "id": item.pk,
        "item": item.reference,
        "product": item.product.sku,
        "quantity": item.quantity,
        "total_price": plain_amount(item.total_price, order.currency),
        "fulfillment": str(item.fulfillment.status),
        "reason": item.fulfillment.reason,
        "sent_by_vendor": item.fulfillment.sent_by_vendor,
        "activation_codes": list(map(_describe_code, item.loaded_codes)),
    }


def _describe_code(code: ActivationCode | NewCode) -> dict[str, Any]:
    delivery = code.loaded_deliveries[-1].delivery if code.loaded_deliveries else None
    return {
        "id": code.id,
        "unit": code.unit,
        "code": code.code,
        "saved_at": _moment(code.saved_at),
        "delivery": str(delivery.status) if delivery else "none",
        "delivery_reason": delivery.reason if delivery else "",
    }


def _describe_other(item: OtherItem, order: Order) -> dict[str, Any]:
    return {
        "id": None,
        "item": item.reference,
        "product": item.product,
        "quantity": item.quantity,
        "total_price": plain_amount(item.total_price, order.currency),
        "fulfillment": NOT_OURS,
        "reason": "",
        "sent_by_vendor": False,
        "activation_codes": [],
    }
