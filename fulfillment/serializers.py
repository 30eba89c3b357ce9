"""How an order looks from outside. Its rows come prefetched, in a fixed number of queries: see FOR_DISPLAY."""

from django.db.models import Prefetch
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from fulfillment.models import DeliveredCode, Delivery, Fulfillment
from orders.models import ActivationCode, Order, OrderItem

FOR_DISPLAY = [
    Prefetch("items", OrderItem.objects.select_related("product", "fulfillment").order_by("pk")),
    Prefetch("items__activation_codes", ActivationCode.objects.order_by("unit")),
    Prefetch(
        "items__activation_codes__deliveredcode_set",
        DeliveredCode.objects.select_related("delivery").order_by("delivery_id"),
    ),
]


class ActivationCodeSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    unit = serializers.IntegerField(help_text="Which of the item's units it is for, from 1.")
    code = serializers.CharField()
    saved_at = serializers.DateTimeField()
    delivery = serializers.SerializerMethodField(
        help_text="What became of the last e-mail with this code; `none` if there is none, or none is allowed."
    )
    delivery_reason = serializers.SerializerMethodField(help_text="Why it is not sent yet, or did not arrive.")

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
    item = serializers.CharField(source="reference")
    product = serializers.CharField(source="product.sku")
    quantity = serializers.IntegerField()
    total_price = serializers.DecimalField(max_digits=14, decimal_places=2)
    fulfillment = serializers.ChoiceField(Fulfillment.Status.choices, source="fulfillment.status")
    reason = serializers.CharField(source="fulfillment.reason", help_text="Why it is not done.")
    sent_by_vendor = serializers.BooleanField(
        source="fulfillment.sent_by_vendor",
        help_text="Done without activation codes: the merchant's web service sends the customer its license itself.",
    )
    activation_codes = ActivationCodeSerializer(many=True)


class OrderSerializer(serializers.Serializer):
    order = serializers.CharField(source="number")
    status = serializers.ChoiceField(Order.Status.choices)
    paid_at = serializers.DateTimeField()
    currency = serializers.CharField()
    email = serializers.EmailField(help_text="The customer's present address.")
    order_url = serializers.SerializerMethodField(help_text="The customer's own page; null once its link is revoked.")
    items = OrderItemSerializer(many=True)

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_order_url(self, order):
        return order.url or None
