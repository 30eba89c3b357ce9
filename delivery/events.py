"""Webhook events about e-mails to customers."""

from collections import Counter

from delivery.models import Delivery
from orders.models import OrderItem
from webhooks.models import WebhookEvent
from webhooks.payloads import Payload, item_payload
from webhooks.sending import emit


def delivery_payload(delivery: Delivery) -> list[Payload]:
    """Return each item of an automatic e-mail with its number of codes and whether the item is now complete."""
    if delivery.kind != Delivery.Kind.AUTOMATIC:
        return []
    counts = Counter(delivery.codes.values_list("item", flat=True))
    items = delivery.order.items.filter(pk__in=counts).select_related("order", "product", "fulfillment")
    return [
        {
            **item_payload(item),
            "codes": counts[item.pk],
            "complete": item.code_count == item.units or item.fulfillment.sent_by_vendor,
        }
        for item in items.with_code_count().order_by("pk")
    ]


def emit_bounce(delivery: Delivery) -> None:
    """Emit `delivery.bounced`. Call this in the transaction that records the bounce."""
    items = OrderItem.objects.filter(activation_codes__deliveries=delivery).distinct().order_by("pk")
    payload = {"order": delivery.order.number, "items": list(items.values_list("reference", flat=True))}
    emit(delivery.order.merchant, WebhookEvent.DELIVERY_BOUNCED, payload)
