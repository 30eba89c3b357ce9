from fulfillment.models import FulfillmentMethod
from orders.models import OrderItem


class SourceError(Exception):
    """A source could not answer. The message is read by the merchant."""

    def __init__(self, message: str, *, permanent: bool = False):
        super().__init__(message)
        self.permanent = permanent


class Source:
    """Where a product's activation codes come from. Asking twice for the same unit gives the same code."""

    # True: answers from our own database, and is asked inside the transaction that saves its answer, with the order
    # locked. False: is asked outside of any, may take its time, and is asked again after an error.
    immediate = False

    def __init__(self, method: FulfillmentMethod):
        self.method = method

    def issue(self, item: OrderItem, units: list[int]) -> dict[int, str]:
        """Return the codes of these units of the item, or of some, or raise SourceError."""
        raise NotImplementedError

    def shortage(self) -> str:
        """Why the last answer held fewer codes than asked for, for the merchant to read."""
        raise NotImplementedError
