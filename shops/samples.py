"""Sample sales, which show a merchant what becomes of a sale before the first customer buys."""

import json
import secrets
from decimal import Decimal

from django.utils import timezone

from shops.changes import Change, Line, Sale
from shops.kinds import KINDS
from shops.kinds.base import Incoming, Received
from shops.models import SAMPLE_KEY, Connection, Event
from shops.reading import read_json
from shops.storing import store


def send_sample(connection: Connection, *, external_id: str, quantity: int, email: str) -> Event:
    """Report a paid sample sale of one of the shop's products. It becomes a test order."""
    key = f"{SAMPLE_KEY}{secrets.token_hex(8)}"
    sale = {
        "number": f"SAMPLE-{key[-6:].upper()}",
        "paid_at": timezone.now().isoformat(),
        "product": external_id,
        "quantity": quantity,
        "email": email,
    }
    store(KINDS[connection.kind](connection), [Received(key, "sample", json.dumps(sale).encode(), is_test=True)])
    return connection.events.get(key=key)


def try_content(connection: Connection, content: bytes) -> list[Change]:
    """Return what a request with this content would mean, without storing anything.

    Raises Malformed, Parked and Irrelevant.
    """
    kind = KINDS[connection.kind](connection)
    received = kind.read(Incoming({}, content))
    event = Event(connection=connection, key=received.key, body=received.body, created_at=timezone.now())
    return list(kind.translate(event))


def translate(event: Event) -> list[Sale]:
    sale = read_json(bytes(event.body))
    product = sale["product"].needed()
    line = Line(reference="1", ids=(product,), quantity=sale["quantity"].integer(), total=Decimal(0), name=product)
    return [
        Sale(
            references=(event.key,),
            number=sale["number"].needed(),
            paid_at=sale["paid_at"].moment(),
            currency="EUR",
            lines=(line,),
            email=sale["email"].text(),
        )
    ]
