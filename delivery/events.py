"""Webhook events about e-mails to customers."""

from collections import Counter

from delivery.models import Delivery
from orders.models import OrderItem
from webhooks.models import WebhookEvent
from webhooks.payloads import Payload, item_payload
from webhooks.sending import emit


def delivery_payload(delivery: Delivery) -> list[Payload]:
    """Of each item in an automatic e-mail: how many codes go out in it, and whether that is all of them."""
    if delivery.kind != Delivery.Kind.AUTOMATIC:
        return []
    enclosed = Counter(delivery.codes.values_list("item", flat=True))
    items = delivery.order.items.filter(pk__in=enclosed).select_related("order", "product", "fulfillment")
    return [
        {
            **item_payload(item),
            "codes": enclosed[item.pk],
            "complete": item.code_count == item.units or item.fulfillment.sent_by_vendor,
        }
        for item in items.with_code_count().order_by("pk")
    ]


def emit_bounce(delivery: Delivery) -> None:
    """Tell that an e-mail did not reach its customer, in the transaction that notes it."""
    items = OrderItem.objects.filter(activation_codes__deliveries=delivery).distinct().order_by("pk")
    facts = {"order": delivery.order.number, "items": list(items.values_list("reference", flat=True))}
    emit(delivery.order.merchant, WebhookEvent.DELIVERY_BOUNCED, facts)
