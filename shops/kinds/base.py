"""What a kind of shop brings. A kind is one file in this folder and one line in `__init__.py`."""

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from django.http import HttpResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from orders.models import Order
from outbound.address_guard import OutgoingRequestError
from outbound.encodings import storable
from outbound.outgoing_requests import Answer, call
from shops.changes import Cause, Change, Irrelevant, Parked
from shops.models import MAX_ID, Connection, Event
from shops.reading import Node, read_json
from work.attempts import Failure

# Signed times may differ this much from ours.
TOLERANCE = timedelta(minutes=5)
API_TIMEOUT = 20  # seconds
MAX_API_BYTES = 1024 * 1024


class Rejected(Exception):
    """The request doesn't come from the shop, or can't be read. The message is for the merchant."""

    status = 401


class Malformed(Rejected):
    status = 400


@dataclass(frozen=True)
class Incoming:
    """A request to a connection's URL."""

    headers: Mapping[str, str]  # names in any case
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Received:
    """One event of a request. `key` comes from what the shop signed, so a replay can't have another one."""

    key: str
    topic: str
    body: bytes
    is_test: bool = False

    @property
    def stored_key(self) -> str:
        return storable(self.key)[:MAX_ID]


@dataclass(frozen=True)
class Option:
    """A field of the connection form. A secret one is kept encrypted, as a credential."""

    name: str
    label: str | Promise
    help_text: str | Promise = ""
    is_secret: bool = False
    choices: Sequence[tuple[str, str | Promise]] = ()
    initial: str = ""
    is_path: bool = False  # where a value is in what the shop sends


@dataclass(frozen=True)
class Missed:
    """A page of the shop's orders. `cursor` asks for the next one; None after the last."""

    events: list[Received]
    cursor: Any = None
    # The ids of sales without refunds, by key of their event: they are left out if they are known.
    sales: Mapping[str, str] = field(default_factory=dict)


class ShopKind:
    """A kind of shop. Its instances belong to a connection."""

    code = ""  # stored in connections
    name: str | Promise = ""
    # Whether requests are signed with a secret, and whether we make it up or the shop does.
    signs = True
    makes_secret = False
    secret_label: str | Promise = _("Signing secret")
    options: tuple[Option, ...] = ()
    # What to do in the shop, step by step, with *emphasis*.
    steps: tuple[str | Promise, ...] = ()
    # What the shop does while we don't answer, and what that means.
    while_down: str | Promise = ""
    # Whether GET requests are for it, too. Their query is read like a body.
    takes_queries = False
    # Whether a merchant can try what the shop would send: options decide how it is read.
    can_try = False
    # Headers that are stored with an event, because its body doesn't say them.
    topic_header = ""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    # Receiving

    def receive(self, incoming: Incoming) -> list[Received]:
        """Verify a request and return its events. Raises Rejected."""
        self.verify(incoming)
        return [self.read(incoming)]

    def verify(self, incoming: Incoming) -> None:
        """Raise Rejected unless the request is signed with one of the connection's secrets."""
        raise NotImplementedError

    def read(self, incoming: Incoming) -> Received:
        """Return the event in a verified request. By default, equal bodies are the same event."""
        topic = incoming.headers.get(self.topic_header, "") if self.topic_header else ""
        return Received(digest(incoming.body), topic[:100], incoming.body)

    def acknowledge(self, events: Sequence[Received]) -> HttpResponse:
        return HttpResponse(status=200)

    # Translating

    def asks(self, received: Received) -> bool:
        """Whether translating this event asks the shop's API, so that slow shops don't hold up other work."""
        return False

    def translate(self, event: Event) -> Iterable[Change]:
        """Return what the event changes, always the same. Raises Parked, Irrelevant or, to be retried, Failure."""
        raise NotImplementedError

    # Catching up

    @property
    def can_catch_up(self) -> bool:
        """Whether the connection has what it takes to read orders from the shop."""
        return False

    def list_missed(self, since: datetime, cursor: Any) -> Missed:
        """Return a page of orders since then, as events. Raises Failure."""
        raise NotImplementedError

    # Back into the shop

    # Whether codes can be saved in the shop's orders, if the merchant wants that and its API allows it.
    writes_back = False

    def write_back(self, reference: str, order: Order, codes: Sequence[str]) -> None:
        """Save an order's codes in the shop's order. Doing it again changes nothing. Raises Failure or Parked."""
        raise NotImplementedError

    # Help for kinds

    @cached_property
    def credentials(self) -> Mapping[str, str]:
        text = self.connection.credentials
        return json.loads(text) if text else {}

    @property
    def store(self) -> str:
        """The address of the store, which merchants also enter without https://."""
        address = self.option("store").rstrip("/")
        return address if "://" in address else f"https://{address}"

    def option(self, name: str) -> str:
        """Return a setting or credential of the connection; empty if it isn't set."""
        value = self.connection.options.get(name) or self.credentials.get(name)
        if not value:
            value = next((option.initial for option in self.options if option.name == name), "")
        return str(value)

    def secrets(self) -> list[bytes]:
        """The secrets that requests may be signed with. Raises Rejected if none is set."""
        found = [secret.encode() for secret in self.connection.live_secrets() if secret]
        if not found:
            raise Rejected(gettext("Enter the signing secret of the shop first."))
        return found

    def check_signature(
        self, given: str | Iterable[str], content: bytes, *, algorithm: str = "sha256", form: str
    ) -> None:
        """Raise Rejected unless one of the given texts is the HMAC of the content. `form` is hex or base64."""
        texts = [given] if isinstance(given, str) else list(given)
        encode = ENCODERS[form]
        compare(texts, [encode(hmac.digest(secret, content, algorithm)) for secret in self.secrets()])

    def ask(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", event: Event | None = None
    ) -> Node:
        """Send a request to the shop's API and return its JSON. Raises Failure to be retried, or Parked."""
        merchant = self.connection.merchant
        name = gettext("shop {pk}").format(pk=self.connection.pk)
        if event:
            name = gettext("shop event {pk}").format(pk=event.pk)
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            text = gettext("An API key or token has characters that none has. Copy the whole key again.")
            raise Parked(Cause.ACCESS, text)
        try:
            answer = call(
                merchant,
                method,
                url,
                body=body,
                headers={"Accept": "application/json", **headers},
                timeout=API_TIMEOUT,
                max_bytes=MAX_API_BYTES,
                request_id=name,
                read=lambda _: {},
            )
        except OutgoingRequestError as error:
            if error.temporary:
                raise Failure(str(error)) from error
            raise Parked(Cause.ACCESS, str(error)) from error
        return read_answer(answer)


MAX_SIGNATURES = 10
ENCODERS = {
    "hex": lambda digest: digest.hex().encode(),
    "base64": b64encode,
}


def compare(given: Sequence[str], right: Sequence[bytes]) -> None:
    """Raise Rejected unless one of the given texts is a right one."""
    # Compares all, so that the time doesn't tell which one was nearly right.
    found = [hmac.compare_digest(text.strip().encode(), one) for text in given[:MAX_SIGNATURES] for one in right]
    if not any(found):
        raise Rejected(gettext("The signature is wrong. Does the signing secret match?"))


def read_answer(answer: Answer) -> Node:
    """Return the JSON in the answer of a shop's API. Raises Failure to be retried, or Parked."""
    status = answer.status_code
    if status in {408, 425, 429} or status >= 500:
        raise Failure(gettext("The shop answered {status}.").format(status=status), pause=answer.retry_after)
    if status in {401, 403}:
        raise Parked(Cause.ACCESS, gettext("The shop answered {status}. Check the API key.").format(status=status))
    if not 200 <= status < 300:
        raise Parked(Cause.ACCESS, gettext("The shop answered {status}.").format(status=status))
    if answer.is_cut:
        raise Parked(Cause.ACCESS, gettext("The shop’s answer is too long."))
    return read_json(answer.body)


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def read_form(body: bytes) -> dict[str, str]:
    """Parse a posted form; of a repeated field, the last value. Raises Malformed."""
    return dict(read_pairs(body))


def read_pairs(body: bytes) -> list[tuple[str, str]]:
    """Parse a posted form to its fields in order. Raises Malformed."""
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError as error:
        raise Malformed(gettext("The request isn’t a form in UTF-8.")) from error


def parse_body(body: bytes) -> Node:
    """Parse JSON in a request that is answered at once. Raises Malformed."""
    try:
        return read_json(body)
    except Parked as error:
        raise Malformed(str(error)) from error


def check_time(seconds: str) -> None:
    """Raise Rejected unless this time in seconds since 1970 is within TOLERANCE of ours."""
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 11):
        raise Malformed(gettext("The request has no valid timestamp."))
    if abs(timezone.now() - datetime.fromtimestamp(int(seconds), UTC)) > TOLERANCE:
        raise Rejected(gettext("The request is older than five minutes, or a clock is wrong."))


def need_any(fields: Sequence[Node]) -> None:
    """Raise Parked if none of the fields has a value, such as no item names its product."""
    if fields and not any(fields):
        raise fields[0].wrong(gettext("{field} is missing."))


def irrelevant(topic: str) -> Irrelevant:
    if not topic:
        return Irrelevant(gettext("The event doesn’t say what happened, so it changes nothing."))
    return Irrelevant(gettext("Events of the kind {topic} change nothing here.").format(topic=topic))


def decode_base64(text: str) -> bytes:
    """Raises Rejected."""
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Rejected(gettext("The signature isn’t base64.")) from error
