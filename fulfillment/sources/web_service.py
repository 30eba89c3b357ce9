from datetime import timedelta
from time import monotonic

from fulfillment import web_services
from fulfillment.breaker import tell_merchant
from fulfillment.models import FulfillmentMethod, HeldCode, WebService, database_now
from fulfillment.sources.base import CodeHeld, LicenseAwaited, Source, SourceBusy, SourceError, SourceNotReady
from fulfillment.subscriptions import PredecessorMissing
from fulfillment.web_services import HELD, CodesHeld, CodesMissing, ServiceBusy, ServiceError

# How long one attempt may take, with the last request of it, in seconds; less than a lease.
MOST_SECONDS = 45
# How often a renewal looks for the license it waits for, if nobody wakes it.
LOOKED_FOR_AGAIN = timedelta(minutes=5)


class WebServiceSource(Source):
    """The merchant's own web service, over HTTP."""

    def __init__(self, method: FulfillmentMethod):
        super().__init__(method)
        self.service: WebService = method.web_service  # type: ignore[assignment]
        self.sends_itself = self.service.sends_itself

    def issue(self, item, units, *, attempt):
        if self.service.merchant_id != item.order.merchant_id:
            raise SourceError(f"The web service “{self.service}” belongs to another merchant.", permanent=True)
        if HeldCode.objects.filter(item=item, unit__in=units).exists():
            raise CodeHeld(f"Web service “{self.service}”: {HELD}", permanent=True)
        try:
            if self.service.asks_for_all:
                yield from self._issue_all(item, units, attempt)
            else:
                yield from self._issue_each(item, units, attempt)
        except ServiceBusy as busy:
            raise SourceBusy(str(busy)) from busy
        except PredecessorMissing as missing:
            rest = missing.until - database_now() if missing.until else LOOKED_FOR_AGAIN
            raise LicenseAwaited(str(missing), pause=min(rest, LOOKED_FOR_AGAIN)) from missing
        except ServiceError as error:
            reason = f"Web service “{self.service}”: {error}"
            kind = CodeHeld if isinstance(error, CodesHeld) else SourceError
            raise kind(reason, permanent=not error.temporary, pause=error.pause) from error

    def _issue_all(self, item, units, attempt):
        own = web_services.units_of_services(item)
        missing = None
        try:
            codes = web_services.ask(self.service, item, own, unit=None, attempt=attempt)
        except CodesMissing as error:
            codes, missing = error.codes, error
        yield from ((unit, code) for unit, code in codes.items() if unit in units)
        if missing:
            raise missing

    def _issue_each(self, item, units, attempt):
        started = monotonic()
        missing = None
        for unit in units:
            if monotonic() - started > MOST_SECONDS - self.service.timeout:
                raise SourceNotReady("Its codes are asked for one by one.")
            try:
                yield from web_services.ask(self.service, item, [unit], unit=unit, attempt=attempt).items()
            except CodesHeld:
                raise
            except CodesMissing as error:
                missing = error
        if missing:
            raise missing

    def shortage(self):
        return f"The web service “{self.service}” gave too few codes."

    def tell_merchant(self, item):
        tell_merchant(self.service)
