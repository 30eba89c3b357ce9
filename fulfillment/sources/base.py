from collections.abc import Iterable
from datetime import timedelta

from fulfillment.models import FulfillmentMethod, MerchantNotice
from orders.models import OrderItem


class SourceError(Exception):
    """A source could not answer. The message is read by the merchant."""

    def __init__(self, message: str, *, permanent: bool = False, pause: timedelta = timedelta(0)):
        super().__init__(message)
        self.permanent = permanent
        self.pause = pause  # how long it is to be left alone at least


class SourceNotReady(SourceError):
    """The source was not asked yet, and nothing failed: it is looked at again after the pause."""


class SourceBusy(SourceNotReady):
    """As much as may be is asked of the source already; it is this one's turn when that is answered."""


class CodeHeld(SourceError):
    """A person has to look at what the source gave. No other source is asked for it."""


class LicenseAwaited(SourceNotReady):
    """A renewal goes by the license of an order before it, which is not there yet."""


class Source:
    """Where a product's activation codes come from. Asking twice for the same unit gives the same code."""

    # True: answers from our own database, and is asked inside the transaction that saves its answer, with the order
    # locked. False: is asked outside of any, may take its time, and is asked again after an error.
    immediate = False
    # True: an answer without an error says that the vendor sends the codes to the customer; none comes to us.
    sends_itself = False

    def __init__(self, method: FulfillmentMethod):
        self.method = method

    def issue(self, item: OrderItem, units: list[int], *, attempt: int) -> Iterable[tuple[int, str]]:
        """Give these units of the item, or some, each with its code; or raise SourceError, also after some."""
        raise NotImplementedError

    def shortage(self) -> str:
        """Why the last answer held fewer codes than asked for, for the merchant to read."""
        raise NotImplementedError

    def tell_merchant(self, item: OrderItem) -> None:
        """Tell the merchant that the source failed for good, in the transaction that notes it."""
        tell_of_item(item)


def tell_of_item(item: OrderItem) -> None:
    """Tell the merchant once that an item has failed."""
    notice, created = MerchantNotice.objects.get_or_create(
        kind=MerchantNotice.Kind.ITEM_FAILED, item=item, defaults={"merchant": item.order.merchant}
    )
    if created:
        notice.nudge()
