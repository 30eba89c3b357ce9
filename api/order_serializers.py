"""Serializers for orders in API responses. Prefetch FOR_DISPLAY to keep the number of queries constant."""

from typing import Any

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from delivery.models import DeliveredCode, Delivery
from fulfillment.models import Fulfillment
from orders.models import ActivationCode, Order, OrderItem, OtherItem
from orders.money import plain_amount

NOT_OURS = "not_ours"
FOR_DISPLAY = [
    Prefetch("other_items", OtherItem.objects.order_by("pk")),
    Prefetch("items", OrderItem.objects.select_related("product", "fulfillment").order_by("pk")),
    Prefetch("items__activation_codes", ActivationCode.objects.order_by("unit")),
    Prefetch(
        "items__activation_codes__deliveredcode_set",
        DeliveredCode.objects.select_related("delivery").order_by("delivery_id"),
    ),
]


class ActivationCodeSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    unit = serializers.IntegerField(help_text="The unit of the item that the code is for, from 1.")
    code = serializers.CharField()
    saved_at = serializers.DateTimeField()
    delivery = serializers.SerializerMethodField(
        help_text="Status of the last e-mail with this code; `none` if there is none or delivery isn’t allowed."
    )
    delivery_reason = serializers.SerializerMethodField(help_text="Why the e-mail wasn’t sent or didn’t arrive.")

    @extend_schema_field(serializers.ChoiceField([*Delivery.Status.values, "none"]))
    def get_delivery(self, code):
        delivery = self._last_delivery(code)
        return delivery.status if delivery else "none"

    def get_delivery_reason(self, code) -> str:
        delivery = self._last_delivery(code)
        return delivery.reason if delivery else ""

    def _last_delivery(self, code: ActivationCode) -> Delivery | None:
        rows = code.deliveredcode_set.all()
        return rows[len(rows) - 1].delivery if rows else None


class OrderItemSerializer(serializers.Serializer):
    id = serializers.IntegerField(
        allow_null=True, help_text="Use `id:` plus this number to name the item in URLs. Null if it is *not ours*."
    )
    item = serializers.CharField(source="reference")
    product = serializers.CharField(source="product.sku")
    quantity = serializers.IntegerField()
    total_price = serializers.SerializerMethodField(help_text="Formatted with the decimals of the order’s currency.")
    fulfillment = serializers.ChoiceField(
        [*Fulfillment.Status.values, NOT_OURS],
        source="fulfillment.status",
        help_text=f"`{NOT_OURS}`: unknown product, no quantity or a negative price. It gets no activation codes.",
    )
    reason = serializers.CharField(source="fulfillment.reason", help_text="Why fulfillment isn’t done yet.")
    sent_by_vendor = serializers.BooleanField(
        source="fulfillment.sent_by_vendor",
        help_text="True if the merchant sends the license directly, so the item has no activation codes.",
    )
    activation_codes = ActivationCodeSerializer(many=True)

    def get_total_price(self, item) -> str:
        return plain_amount(item.total_price, self.context["order"].currency)


class OrderSerializer(serializers.Serializer):
    id = serializers.IntegerField(help_text="Use `id:` plus this number to name the order in URLs.")
    order = serializers.CharField(source="number")
    status = serializers.ChoiceField(Order.Status.choices)
    paid_at = serializers.DateTimeField()
    currency = serializers.CharField()
    email = serializers.EmailField(help_text="The customer’s current address.")
    order_url = serializers.SerializerMethodField(help_text="The customer’s order page; null if its link is revoked.")
    unmapped = serializers.SerializerMethodField(help_text="True if all items are *not ours*.")
    items = serializers.SerializerMethodField(help_text="Items that are *not ours* come last.")

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_order_url(self, order):
        return order.url or None

    def get_unmapped(self, order) -> bool:
        return not order.items.all()

    @extend_schema_field(OrderItemSerializer(many=True))
    def get_items(self, order):
        ours = OrderItemSerializer(order.items.all(), many=True, context={"order": order}).data
        return [*ours, *(_describe_other(item, order) for item in order.other_items.all())]


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
