from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_noop

from fulfillment.history import HistoryLine
from fulfillment.item_notices import notify_item
from fulfillment.models import FulfillmentMethod, HeldCode
from fulfillment.upstream_notices import notify_failure
from merchants.models import Merchant, Product
from orders.models import Order, OrderItem
from outbound.models import Upstream
from work.attempts import Failure, NotNow
from work.models import RetryableQuerySet


class SourceError(Failure):
    """A source could not answer."""


class SourceNotReady(SourceError, NotNow):
    """The source was not asked yet, and nothing failed: it is looked at again after the pause."""


class SourceBusy(SourceNotReady):
    """As much as may be is asked of the source already; it is this one's turn when that is answered."""


class CodeHeld(SourceError):
    """A person has to look at what the source gave. No other source is asked for it."""


class LicenseAwaited(SourceNotReady):
    """A renewal goes by the license of an order before it, which is not there yet."""


class Source:
    """Where a product's activation codes come from. Asking twice for the same unit gives the same code."""

    code = ""  # as it stands in rows: of methods, and of codes that came from it
    name = ""
    origin = ""  # after “saved”, of codes that came from it
    method_model: type[FulfillmentMethod] = FulfillmentMethod
    # What loads, with a method, the place that it takes codes from.
    places: tuple[str, ...] = ()
    # True: answers from our own database, and is asked inside the transaction that saves its answer, with the order
    # locked. False: is asked outside of any, may take its time, and is asked again after an error.
    immediate = False
    # True: an answer without an error says that the vendor sends the codes to the customer; none comes to us.
    sends_itself = False
    # Who does, if answers may say so.
    sender = ""
    # True: its codes are the numbers of licensees.
    gives_licensees = False
    # True: a code from it can be replaced by another one.
    replaces = False
    # What a customer reads while it is waited for, untranslated; of several sources that of the highest rank.
    waiting_rank = 0
    waiting = gettext_noop("Being prepared; %(merchant)s has been told.")
    # Its pages in the portal, in the navigation: a title, and the name of the address.
    pages: tuple[str, str] | None = None
    # What loads, with an item of an order, what `history` tells of.
    item_paths: tuple[str, ...] = ()
    # What a customer does with its codes, if the product does not say: untranslated.
    instructions = ""

    def __init__(self, method: FulfillmentMethod):
        self.method = method

    def __str__(self):
        return f"{self.name} “{self.place}”" if self.place else self.name

    @property
    def place(self) -> Any:
        """What of the merchant's it takes codes from, such as a pool; None if it is a person."""
        model = self.method_model
        if not model.PLACE:
            return None
        method = self.method if isinstance(self.method, model) else getattr(self.method, model._meta.model_name or "")
        return getattr(method, model.PLACE)

    @property
    def upstream(self) -> Upstream | None:
        """The server that is called, if one is."""
        return None

    @classmethod
    def describe_origin(cls, saved_by: str) -> str:
        """After “saved”, of a code that came from it, and that this person entered or released."""
        return cls.origin

    # What products can choose

    @property
    def choice(self) -> str:
        """What choosing it is called."""
        return str(self)

    @property
    def key(self) -> str:
        """What tells it from the other sources of a product, in forms."""
        return f"{self.code} {self.place.pk}" if self.place else self.code

    @classmethod
    def choices(cls, merchant: Merchant) -> Iterable[Any]:
        """The places that a product of the merchant's can take codes from; None stands for no place."""
        return [None]

    @classmethod
    def make_method(cls, product: Product, place: Any = None) -> FulfillmentMethod:
        """An unsaved method with which a product takes codes from there."""
        model = cls.method_model
        return model(product=product, source=cls.code, **({model.PLACE: place} if model.PLACE else {}))

    @classmethod
    def get_methods_for_all(cls, product: Product) -> Iterable[FulfillmentMethod]:
        """Unsaved methods that serve a product without any of its own."""
        return ()

    # Which items wait for a server

    @classmethod
    def servers(cls) -> dict[str, Any]:
        """Of fulfillments: the key of the server that each asks, by names of their own."""
        return {}

    # What pages show

    @classmethod
    def troubled(cls, merchant: Merchant) -> Iterable[Upstream]:
        """The merchant's servers of this kind that a person has to look at; `failed` is how many items failed."""
        return ()

    @classmethod
    def history(cls, item: OrderItem) -> Iterable[HistoryLine]:
        """What the history of an order tells of its item besides."""
        return ()

    # What it does besides

    @classmethod
    def accept(cls, held: HeldCode) -> None:
        """A person has released a code that it gave, in this transaction. Raises CodeRefused."""

    @classmethod
    def stop(cls, order: Order) -> None:
        """The order was refunded, in this transaction."""

    @classmethod
    def restart(cls, order: Order) -> None:
        """The refund of the order was undone, in this transaction."""

    @classmethod
    def work(cls) -> Iterable[RetryableQuerySet]:
        """Rows of work of its own, which the sweep nudges when they are due."""
        return ()

    # What it does

    def issue(self, item: OrderItem, units: list[int], *, attempt: int) -> Iterable[tuple[int, str]]:
        """Give these units of the item, or some, each with its code; or raise SourceError, also after some."""
        raise NotImplementedError

    def shortage(self) -> str:
        """Why the last answer held fewer codes than asked for, for the merchant to read."""
        raise NotImplementedError

    def notify_merchant(self, item: OrderItem) -> None:
        """Tell the merchant that the source failed for good, in the transaction that notes it."""
        notify_failure(self.upstream) if self.upstream else notify_item(item)
