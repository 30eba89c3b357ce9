from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Model
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _

from fulfillment.history import HistoryLine
from fulfillment.item_notices import notify_item
from fulfillment.models import FulfillmentMethod, HeldCode
from fulfillment.upstream_notices import notify_failure
from merchants.models import Merchant, Product
from orders.kinds import SOURCES
from orders.models import ActivationCode, Order, OrderItem
from outbound.models import Upstream
from vault.fingerprints import fingerprint
from work.attempts import Failure, NotNow
from work.models import RetryableQuerySet


def format_since(moment: datetime) -> str:
    """The time of day or, before today, the date."""
    local = timezone.localtime(moment)
    return f"{local:%H:%M}" if local.date() == timezone.localdate() else f"{local:%-d %b, %H:%M}"


class SourceError(Failure):
    """A source failed to issue codes."""


class SourceNotReady(SourceError, NotNow):
    """Nothing failed, but the source can't be asked for more yet. Try again after the pause."""


class SourceBusy(SourceNotReady):
    """The source already has the maximum number of requests in progress."""


class CodeHeld(SourceError):
    """A person has to check the code that the source issued. The next source isn't asked for it."""


class LicenseAwaited(SourceNotReady):
    """A renewal needs the license of an earlier order, which isn't there yet."""


@dataclass(slots=True)
class CodeRequest:
    """Codes that an item needs from a source, and the answer."""

    source: "Source"
    item: OrderItem
    units: list[int]
    attempt: int
    codes: dict[int, str] = field(default_factory=dict)  # by unit
    problem: SourceError | None = None  # what stopped the source, perhaps after some codes


@dataclass(frozen=True)
class Trace:
    """A row that a code came from."""

    row: Model
    text: str
    page: str = ""  # URL name in the portal, unless it is the row's own page
    arguments: tuple[Any, ...] = ()


class Source:
    """Where a product's activation codes come from. Asking twice for the same unit returns the same code."""

    code = ""  # stored in rows of methods and activation codes
    # False: no product can have it as a source.
    selectable = True
    name: str | Promise = ""
    origin: str | Promise = ""  # where codes came from, shown after “saved”
    method_model: type[FulfillmentMethod] = FulfillmentMethod
    # `select_related` paths from a method to the place it takes codes from.
    places: tuple[str, ...] = ()
    # True: answers from our own database, in the transaction that saves the codes, with the order locked.
    # False: is asked outside transactions, may take time, and is retried after an error.
    immediate = False
    # True: an answer without an error means that the vendor sends the codes to the customer. We get none.
    sends_itself = False
    # What sends the codes, for sources with `sends_itself`.
    sender: str | Promise = ""
    # True: its codes are licensee numbers.
    gives_licensees = False
    # True: its codes can be replaced.
    replaces = False
    # The untranslated text that customers see while waiting. Of several sources, the one with the highest rank wins.
    waiting_rank = 0
    waiting = gettext_noop("Being prepared. %(merchant)s has been notified.")
    # What helps an item that waits for it: add `keys` to its place, enter the `codes`, or `retry`.
    remedy = "retry"
    # Its entry in the portal's navigation: a title and a URL name.
    pages: tuple[str | Promise, str] | None = None
    # `select_related` paths from an item to what `history` reads.
    item_paths: tuple[str, ...] = ()
    # Default instructions for customers on using a code, untranslated. A product's own take precedence.
    instructions = ""

    def __init__(self, method: FulfillmentMethod):
        self.method = method

    def __str__(self):
        return gettext("{kind} “{name}”").format(kind=self.name, name=self.place) if self.place else str(self.name)

    @property
    def place(self) -> Any:
        """The merchant's object that codes come from, such as a pool. None for a person."""
        model = self.method_model
        if not model.PLACE:
            return None
        method = self.method if isinstance(self.method, model) else getattr(self.method, model._meta.model_name or "")
        return getattr(method, model.PLACE)

    @property
    def upstream(self) -> Upstream | None:
        """The server that it calls, if any."""
        return None

    @classmethod
    def describe_origin(cls, saved_by: str) -> str:
        """Where a code came from, shown after “saved”. `saved_by` is who entered or released it, if anyone."""
        return str(cls.origin)

    @classmethod
    def trace_annotations(cls) -> dict[str, Any]:
        """Annotations for codes, from which `trace` reads where they came from."""
        return {}

    @classmethod
    def trace(cls, codes: Sequence[ActivationCode]) -> dict[int, list[Trace]]:
        """The rows that these codes came from, such as their pool and batch, by the code's primary key."""
        return {}

    # Choosing sources for a product

    @property
    def choice(self) -> str:
        """Its label in the list of sources."""
        return str(self)

    @property
    def key(self) -> str:
        """Identifies it among a product's sources, in forms."""
        return f"{self.code} {self.place.pk}" if self.place else self.code

    @classmethod
    def choices(cls, merchant: Merchant) -> Iterable[Any]:
        """The places that the merchant's products can take codes from. [None] if the source has no places."""
        return [None] if cls.selectable else []

    @classmethod
    def make_method(cls, product: Product, place: Any = None) -> FulfillmentMethod:
        """Build an unsaved method for a product and a place."""
        model = cls.method_model
        return model(product=product, source=cls.code, **({model.PLACE: place} if model.PLACE else {}))

    @classmethod
    def get_methods_for_all(cls, product: Product) -> Iterable[FulfillmentMethod]:
        """Unsaved methods for a product without a source of its own."""
        return ()

    # Servers of waiting items

    @classmethod
    def servers(cls) -> dict[str, Any]:
        """Annotations for fulfillments: the primary key of the server that each one calls, by annotation name."""
        return {}

    # Pages

    def describe_stuck(self, orders: int) -> str:
        """What keeps this many orders from getting their codes, as a title in the list of what needs attention."""
        if not self.upstream:
            return ngettext("{source}: {count:,} order waits", "{source}: {count:,} orders wait", orders).format(
                source=self, count=orders
            )
        server = self.upstream
        if not server.failing_since:
            text = ngettext(
                "{server} works again: {count:,} order failed", "{server} works again: {count:,} orders failed", orders
            )
            return text.format(server=server, count=orders)
        text = ngettext(
            "{server} has failed since {since}: {count:,} order",
            "{server} has failed since {since}: {count:,} orders",
            orders,
        )
        return text.format(server=server, since=format_since(server.failing_since), count=orders)

    # The page that fixes it: a label and a URL name, with the place's primary key. For managers.
    fix: tuple[str | Promise, str] | None = None
    # The same for one order: a label and the name of an action of the order desk, with the item's primary key.
    item_fix: tuple[str | Promise, str] | None = None

    @classmethod
    def history(cls, item: OrderItem) -> Iterable[HistoryLine]:
        """Extra lines about an item for its order's history."""
        return ()

    # Hooks

    @classmethod
    def accept(cls, held: HeldCode) -> None:
        """Handle the release of a held code, in the same transaction. Raises CodeRefused."""

    @classmethod
    def stop(cls, order: Order) -> None:
        """Handle a refund of the order, in the same transaction."""

    @classmethod
    def restart(cls, order: Order) -> None:
        """Handle the reinstatement of the order, in the same transaction."""

    @classmethod
    def work(cls) -> Iterable[RetryableQuerySet]:
        """Querysets of its own work, which the sweep nudges when due."""
        return ()

    # Test orders

    def for_order(self, order: Order) -> "Source":
        """The source that the order's codes come from: itself, except for test orders."""
        return self.for_test(order) if order.merchant.is_test else self

    def for_test(self, order: Order) -> "Source":
        """The source of a test order's codes. By default they are generated, so that nothing outside is changed."""
        return GeneratedSource(self.method)

    # Issuing codes

    def issue(self, item: OrderItem, units: list[int], *, attempt: int) -> Iterable[tuple[int, str]]:
        """Yield units with their codes, perhaps fewer than requested. Raises SourceError, perhaps after some codes."""
        raise NotImplementedError

    @classmethod
    def issue_all(cls, requests: "Sequence[CodeRequest]") -> None:
        """Answer requests to sources of this kind. Immediate sources get those of many items at once, in turn."""
        for request in requests:
            source = request.source
            try:
                for unit, code in source.issue(request.item, request.units, attempt=request.attempt):
                    request.codes[unit] = code
            except SourceError as error:
                request.problem = error

    def shortage(self) -> str:
        """Why the last answer had fewer codes than requested, for the merchant."""
        raise NotImplementedError

    def notify_merchant(self, item: OrderItem) -> None:
        """Notify the merchant that the source failed permanently, in the transaction that records it."""
        if self.upstream and not item.order.merchant.is_test:
            notify_failure(self.upstream)
        else:
            notify_item(item)


class GeneratedSource(Source):
    """Codes for test orders. They belong to no stock, and no product has this source."""

    code, name, origin = "test", _("Test"), _("generated for the test")
    selectable = False
    immediate = True

    def issue(self, item, units, *, attempt):
        return [(unit, make_test_code(item, unit)) for unit in units]


SOURCES[GeneratedSource.code] = GeneratedSource


def make_test_code(item: OrderItem, unit: int) -> str:
    """The same for a unit at every attempt, different in every installation."""
    digits = fingerprint(f"test code of item {item.pk}, unit {unit}").hex().upper()
    return f"TEST-{digits[:4]}-{digits[4:8]}-{digits[8:12]}"
