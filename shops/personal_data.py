"""Events of shops contain customers' data, encrypted. It is found by the order or, without one, by reading them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote_plus

from django.db.models import QuerySet

from fulfillment.personal_data import ERASED, Holder
from merchants.models import Merchant
from orders.models import Order
from shops.models import Event


class ShopEvents(Holder):
    name = "events of shops"

    def __init__(self, email: str, merchants: Sequence[Merchant], orders: QuerySet[Order]) -> None:
        self.email, self.orders = email.lower(), orders
        self.rows = Event.objects.filter(connection__merchant__in=merchants) if merchants else Event.objects.all()

    def _find(self) -> Iterator[Event]:
        of_orders = self.rows.filter(order__in=self.orders).order_by("pk")
        yield from (event for event in of_orders.iterator() if event.body)
        for event in self.rows.filter(order=None).order_by("pk").iterator():
            if self.email == event.entered_email.lower() or self.email in _to_text(bytes(event.body)).lower():
                yield event

    def count(self) -> int:
        return sum(1 for _ in self._find())

    def export(self) -> list[dict[str, Any]]:
        return [
            {"at": event.created_at, "topic": event.topic, "content": _to_text(bytes(event.body))}
            for event in self._find()
        ]

    def erase(self) -> None:
        for event in self._find():
            event.body, event.entered_email, event.due_at = b"", "", None
            if event.state != Event.State.DONE:
                event.state, event.reason = Event.State.IGNORED, ERASED
            event.save(update_fields=["body", "entered_email", "due_at", "state", "reason"])


def _to_text(body: bytes) -> str:
    """The body without the escapes of JSON or a form."""
    text = body.decode(errors="replace")
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return unquote_plus(text)
