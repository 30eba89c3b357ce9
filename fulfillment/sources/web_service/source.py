from datetime import timedelta
from time import monotonic

from django.db.models import BigIntegerField, Case, Exists, OuterRef, Q, Subquery, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from fulfillment.actions import CodeRefused
from fulfillment.history import HistoryLine
from fulfillment.models import FulfillmentMethod, HeldCode
from fulfillment.sources.base import CodeHeld, LicenseAwaited, Source, SourceBusy, SourceError, SourceNotReady, Trace
from fulfillment.sources.web_service import client as web_services
from fulfillment.sources.web_service.client import HELD, CodesHeld, CodesMissing, WebServiceBusy, WebServiceError
from fulfillment.sources.web_service.models import WebService, WebServiceMethod
from orders.subscriptions import PredecessorMissing
from outbound.masking import mask_code
from outbound.models import OutgoingRequest, Upstream
from work.models import database_now

# Seconds for one attempt, including its last request. Less than a lease.
ATTEMPT_TIMEOUT = 45
# How often a renewal checks for the license it waits for, if nothing wakes it.
RECHECK_INTERVAL = timedelta(minutes=5)


class WebServiceSource(Source):
    """The merchant's own web service, over HTTP."""

    code, name, origin = "web_service", _("Web service"), _("from the web service")
    method_model = WebServiceMethod
    places = ("webservicemethod__web_service",)
    waiting_rank = 2
    waiting = gettext_noop("Being prepared by %(merchant)s.")
    pages = (_("Web services"), "web-services")
    sender = _("web service")

    def __init__(self, method):
        super().__init__(method)
        self.service: WebService = self.place
        self.sends_itself = self.service.sends_itself

    @property
    def upstream(self):
        return self.service

    @classmethod
    def choices(cls, merchant):
        return merchant.web_services.all()

    @classmethod
    def get_methods_for_all(cls, product):
        services = WebService.objects.filter(merchant=product.merchant_id, for_all_products=True)
        return [WebServiceMethod(product=product, web_service=service) for service in services]

    @classmethod
    def servers(cls):
        methods = FulfillmentMethod.objects.filter(product=OuterRef("item__product"))
        shared = WebService.objects.filter(merchant=OuterRef("item__product__merchant"), for_all_products=True)
        service = Coalesce(
            Subquery(methods.exclude(webservicemethod=None).values("webservicemethod__web_service")[:1]),
            Case(When(Exists(methods), then=None), default=Subquery(shared.values("pk"))),
            output_field=BigIntegerField(),
        )
        return {"web_service": service}

    @classmethod
    def history(cls, item):
        if item.fulfillment.sent_by_vendor:
            at = item.fulfillment.done_at or item.fulfillment.created_at
            yield HistoryLine(
                at, "codes", gettext("The web service sends the code for {name} itself").format(name=item.product.name)
            )

    @classmethod
    def trace(cls, codes):
        not_from_console = Q(is_test=False) | Q(item__order__merchant__live__isnull=False)
        answered = OutgoingRequest.objects.filter(
            not_from_console,
            Q(unit=None) | Q(unit__in={code.unit for code in codes}),
            item__in={code.item_id for code in codes},
            outcome=OutgoingRequest.Outcome.OK,
        )
        # The last request for each unit gave the code.
        last = answered.order_by("item", "unit", "-pk").distinct("item", "unit").defer("sent", "answer")
        found = {(each.item_id, each.unit): each for each in last.select_related("upstream__webservice")}
        by_code = {code.pk: found.get((code.item_id, code.unit)) or found.get((code.item_id, None)) for code in codes}
        return {
            pk: cls._trace(request, request.upstream.itself)
            for pk, request in by_code.items()
            if request and request.upstream
        }

    @staticmethod
    def _trace(request: OutgoingRequest, service: Upstream) -> list[Trace]:
        place = (service.pk, request.pk)
        return [Trace(service, str(service)), Trace(request, gettext("request"), "web-service-request", place)]

    @classmethod
    def accept(cls, held):
        service = held.upstream.itself
        _, problem = web_services.claim(service, held.item, {held.unit: held.code})
        if problem:
            raise CodeRefused(problem)
        service.remember([held.code])
        # The log shows held codes that look like error messages. Mask this one.
        for outgoing_request in service.outgoing_requests.filter(item=held.item, answer__contains=held.code):
            outgoing_request.answer = outgoing_request.answer.replace(held.code, mask_code(held.code))
            outgoing_request.save(update_fields=["answer"])

    def for_test(self, order):
        return self  # every request has a header that says so

    def issue(self, item, units, *, attempt):
        if self.service.merchant_id != item.order.merchant.vendor_id:
            raise SourceError(
                gettext("The web service “{service}” belongs to another merchant.").format(service=self.service),
                permanent=True,
            )
        if HeldCode.objects.filter(item=item, unit__in=units).exists():
            raise CodeHeld(
                gettext("Web service “{service}”: {held}").format(service=self.service, held=HELD), permanent=True
            )
        try:
            if self.service.asks_for_all:
                yield from self._issue_all(item, units, attempt)
            else:
                yield from self._issue_each(item, units, attempt)
        except WebServiceBusy as busy:
            raise SourceBusy(str(busy)) from busy
        except PredecessorMissing as missing:
            rest = missing.until - database_now() if missing.until else RECHECK_INTERVAL
            raise LicenseAwaited(str(missing), pause=min(rest, RECHECK_INTERVAL)) from missing
        except WebServiceError as error:
            reason = gettext("Web service “{service}”: {error}").format(service=self.service, error=error)
            kind = CodeHeld if isinstance(error, CodesHeld) else SourceError
            raise kind(reason, permanent=not error.temporary, pause=error.pause) from error

    def _issue_all(self, item, units, attempt):
        own = web_services.web_service_units(item)
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
            if monotonic() - started > ATTEMPT_TIMEOUT - self.service.timeout:
                raise SourceNotReady(gettext("Requesting codes one by one."))
            try:
                yield from web_services.ask(self.service, item, [unit], unit=unit, attempt=attempt).items()
            except CodesHeld:
                raise
            except CodesMissing as error:
                missing = error
        if missing:
            raise missing

    def shortage(self):
        return gettext("The web service “{service}” returned too few codes.").format(service=self.service)
