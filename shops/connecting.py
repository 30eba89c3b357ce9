"""Connects shops: creates a connection with its URL, secret and checkout page, and changes its secrets."""

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from merchants.models import CheckoutPage, Merchant
from shops.kinds import KINDS
from shops.kinds.answering import Answering
from shops.models import Connection


@transaction.atomic
def connect(
    merchant: Merchant,
    kind: str,
    *,
    name: str = "",
    secret: str = "",
    values: Mapping[str, str] | None = None,
    **fields: Any,
) -> Connection:
    """Create a connection of a live merchant. `values` are the kind's options, by name.

    Orders come from a checkout page of the connection's own, so that its delivery can be switched off apart. It is off
    if the shop asks for licenses, because it shows them itself.
    """
    # Serializes with other connections of the merchant, so that each gets a code of its own.
    Merchant.objects.select_for_update(no_key=True).get(pk=merchant.pk)
    brand = KINDS[kind]
    connection = Connection(
        merchant=merchant, kind=kind, name=name or free_name(merchant, kind), **Connection.new_token(), **fields
    )
    connection.secret = secret or (Connection.make_secret() if brand.makes_secret else "")
    connection.checkout_page = CheckoutPage.objects.create(
        merchant=merchant,
        code=_number(kind, "-", merchant.checkout_pages.values_list("code", flat=True)),
        name=connection.name,
        delivery_allowed=not issubclass(brand, Answering),
    )
    set_values(connection, values or {})
    connection.save()
    return connection


def free_name(merchant: Merchant, kind: str) -> str:
    """The name of a new connection: its kind's, with a number if the merchant has one of that name."""
    return _number(str(KINDS[kind].name), " ", merchant.connections.kept().values_list("name", flat=True))


def _number(name: str, separator: str, taken: Iterable[str]) -> str:
    """Return the name, or the first of “name 2”, “name 3” and so on that isn't taken."""
    known = set(taken)
    names = itertools.chain([name], (f"{name}{separator}{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in known)


def set_values(connection: Connection, values: Mapping[str, str]) -> None:
    """Set options of the connection's kind, without saving them. Empty credentials stay as they are."""
    kind = KINDS[connection.kind](connection)
    secret = {option.name for option in kind.options if option.is_secret}
    entered = {name: value.strip() for name, value in values.items() if value.strip()}
    connection.options = {name: value for name, value in entered.items() if name not in secret}
    kept = dict(kind.credentials) | {name: value for name, value in entered.items() if name in secret}
    connection.credentials = json.dumps(kept) if kept else ""
    connection.catches_up = KINDS[connection.kind](connection).can_catch_up


def change_secret(connection: Connection, secret: str) -> None:
    """Replace the signing secret. The previous one stays valid for a day, while the shop changes to the new one."""
    if secret == connection.secret:
        return
    connection.previous_secret, connection.secret = connection.secret or None, secret
    connection.rotated_at = timezone.now()
    connection.save(update_fields=["previous_secret", "secret", "rotated_at"])


def change_url(connection: Connection) -> None:
    """Give the connection a new URL. The previous one stops working immediately."""
    token = Connection.new_token()
    connection.token, connection.token_fingerprint = token["token"], token["token_fingerprint"]
    connection.save(update_fields=list(token))


def switch_off(connection: Connection) -> None:
    """Reject the shop's requests. Most shops repeat them for a while."""
    connection.disabled_at = timezone.now()
    connection.save(update_fields=["disabled_at"])


def switch_on(connection: Connection) -> None:
    connection.disabled_at = None
    connection.save(update_fields=["disabled_at"])


def remove(connection: Connection) -> None:
    """Take the connection out of use. Its orders stay."""
    connection.removed_at = timezone.now()
    connection.save(update_fields=["removed_at"])
