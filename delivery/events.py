"""Webhook events about e-mails to customers."""

from delivery.models import Delivery
from orders.models import OrderItem
from webhooks.models import WebhookEvent
from webhooks.payloads import Payload, item_payload
from webhooks.sending import emit


def delivery_payload(delivery: Delivery, counts: dict[OrderItem, int]) -> list[Payload]:
    """Return each item of an automatic e-mail with its number of codes and whether the item is now complete.

    `counts` are the codes of this e-mail by item, with `code_count`.
    """
    if delivery.kind != Delivery.Kind.AUTOMATIC:
        return []
    return [
        {
            **item_payload(item),
            "codes": count,
            "complete": item.code_count == item.units or item.fulfillment.sent_by_vendor,  # type: ignore[attr-defined]
        }
        for item, count in counts.items()
    ]


def emit_bounce(delivery: Delivery) -> None:
    """Emit `delivery.bounced`. Call this in the transaction that records the bounce."""
    items = OrderItem.objects.filter(activation_codes__deliveries=delivery).distinct().order_by("pk")
    payload = {"order": delivery.order.number, "items": list(items.values_list("reference", flat=True))}
    emit(delivery.order.merchant, WebhookEvent.DELIVERY_BOUNCED, payload)
