"""Test a web service: show the request, its answer and the codes read from it. Orders are not affected."""

import secrets
import shlex
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from time import monotonic

from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext

from fulfillment.sources.web_service.client import LicenseRequest, Reading, build_request, web_service_units
from fulfillment.sources.web_service.models import RequestParameter, WebService
from fulfillment.sources.web_service.parameters import CATALOG, Subject
from merchants.models import Merchant, Product
from orders.models import Order, OrderItem, Subscription
from outbound.masking import mask_answer, mask_code
from outbound.outgoing_requests import Answer, OutgoingRequestError, call, storable
from outbound.signatures import base_string
from work.locks import advisory_lock
from work.refusals import Refused

# Protects the vendor's service, and our web workers, which wait for the answers.
MAX_TESTS_PER_MINUTE = 10
SHOWN_HEADERS = ["Content-Type", "Content-Length", "Retry-After"]
# Replaces the password or token in the curl command.
PLACEHOLDER = "PASSWORD"
EXAMPLES = {name: parameter.example for name, parameter in CATALOG.items()}


class TestRefused(Refused):
    """The test wasn't sent. The message tells the merchant why."""

    code = "test_refused"

    __test__ = False  # not a test class, despite its name


class SampleSubject(Subject):
    """A renewal, made of the catalog's examples."""

    @cached_property
    def first_licenses(self) -> dict[int, str]:
        return self._licenses("Key_first_renew")

    @cached_property
    def last_licenses(self) -> dict[int, str]:
        return self._licenses("Key_last_renew")

    def _licenses(self, name: str) -> dict[int, str]:
        return {unit: EXAMPLES[name] if unit == 1 else f"{EXAMPLES[name]}-{unit}" for unit in self.units}


def sample(service: WebService) -> Subject:
    """Build an unsaved sample item."""
    names = {name: EXAMPLES[name.capitalize()] for name in ("email", "first_name", "last_name", "company", "country")}
    order = Order(
        merchant=service.merchant,
        number=EXAMPLES["Order"],
        status=Order.Status.PAID,
        paid_at=timezone.now(),
        currency=EXAMPLES["Currency"],
        language=EXAMPLES["Language"],
        additional_parameters={f"referer{number}": EXAMPLES[f"referer{number}"] for number in range(1, 13)},
        **names,
    )
    quantity = int(EXAMPLES["Quantity"])
    item = OrderItem(
        pk=int(EXAMPLES["Item"]),
        order=order,
        reference="1",
        product=Product(merchant=service.merchant, sku=EXAMPLES["ID"], name="Photo Pro"),
        quantity=quantity,
        units=quantity,
        total_price=Decimal(EXAMPLES["Order_sum"]),
        subscription=Subscription(
            merchant=service.merchant,
            reference=EXAMPLES["Subscription_ID"],
            type=Subscription.Type.AUTO_RENEWING,
            period=EXAMPLES["Subscription_period"],
        ),
        parent_order="A0012300000",
    )
    return SampleSubject(item, _limit_to_request(service, [*range(1, quantity + 1)]))


def find_item(merchant: Merchant, number: str, reference: str = "") -> OrderItem | None:
    """Find an item of a merchant's order: the first, or the one with this reference."""
    items = OrderItem.objects.filter(order__merchant=merchant, order__number=number)
    if reference:
        items = items.filter(reference=reference)
    return items.select_related("order", "product", "subscription").order_by("pk").first()


def from_item(service: WebService, item: OrderItem) -> Subject:
    """A real item's request. If the item takes nothing from web services, for its first unit."""
    return Subject(item, _limit_to_request(service, web_service_units(item) or [1]))


def _limit_to_request(service: WebService, units: list[int]) -> list[int]:
    return units if service.asks_for_all else units[:1]


@dataclass(frozen=True)
class ShownRequest:
    """A request for display: licenses and secret constants are masked, and the signature matches the masked body."""

    service: WebService
    request: LicenseRequest
    is_masked: bool

    @property
    def headers(self) -> dict[str, str]:
        headers = {"User-Agent": "Keywell", **self.request.headers}
        if self.service.login == WebService.Login.BEARER:
            headers["Authorization"] = f"Bearer {PLACEHOLDER}"
        if self.service.login == WebService.Login.BASIC:
            headers["Authorization"] = f"Basic (user name {self.service.username})"
        return headers

    @property
    def body(self) -> str:
        return self.request.body.decode()

    @property
    def base_string(self) -> str:
        headers = self.request.headers
        # For a GET, the query rather than the empty body.
        content = self.request.signed[-1]
        return base_string(headers["webhook-id"], int(headers["webhook-timestamp"]), content).decode()

    @property
    def curl(self) -> str:
        """A POSIX shell command that sends the request as shown."""
        words = ["curl", "--include", "--globoff", "--path-as-is", "--request", self.request.method]
        headers = self.headers
        if self.service.login == WebService.Login.BASIC:
            del headers["Authorization"]
            words += ["--user", f"{self.service.username}:{PLACEHOLDER}"]
        for name, value in headers.items():
            words += ["--header", f"{name}: {value}"]
        if self.request.body:
            words += ["--data-raw", self.body]
        return shlex.join([*words, self.request.url])


def show(
    service: WebService, subject: Subject, message_id: str = "", *, parameters: list[RequestParameter] | None = None
) -> ShownRequest:
    """Build the request for display, with the service's parameters or others that aren't saved yet.

    Raises WebServiceError, subscriptions.PredecessorMissing.
    """
    message_id = message_id or make_id()
    masked = build_request(service, subject, message_id, parameters=parameters, is_test=True, masked=True)
    whole = build_request(service, subject, message_id, parameters=parameters, is_test=True)
    return ShownRequest(service, masked, is_masked=(masked.url, masked.body) != (whole.url, whole.body))


def make_id() -> str:
    """A new ID for each test, so that a vendor who caches answers by ID doesn't mix them up with the order's."""
    return f"test_{secrets.token_hex(16)}"


@dataclass(frozen=True)
class ConsoleResult:
    """The result of a test, with codes masked."""

    message_id: str
    seconds: float
    error: str = ""  # why there is no answer
    status_code: int | None = None
    headers: dict[str, str] | None = None
    body: str = ""
    codes: list[str] | None = None
    problem: str = ""  # why it has no codes, or too few
    is_temporary: bool = False
    is_held: bool = False  # in an order, a person would have to check it


def send_test(service: WebService, subject: Subject) -> ConsoleResult:
    """Send the request, marked as a test, and return what was read from the answer.

    It only adds an OutgoingRequest: the order and the circuit breaker don't change. Raises TestRefused,
    WebServiceError and subscriptions.PredecessorMissing.
    """
    with advisory_lock("web service test", service.pk) as locked:
        if not locked:
            raise TestRefused(gettext("Another test of this web service is in progress. Try again in a moment."))
        last_minute = service.outgoing_requests.filter(called_at__gt=Now() - timedelta(minutes=1), is_test=True)
        if last_minute.count() >= MAX_TESTS_PER_MINUTE:
            raise TestRefused(
                gettext("You can send {max_tests_per_minute} tests per minute. Try again in a moment.").format(
                    max_tests_per_minute=MAX_TESTS_PER_MINUTE
                )
            )
        return _send(service, subject)


def _send(service: WebService, subject: Subject) -> ConsoleResult:
    message_id = make_id()
    request = build_request(service, subject, message_id, is_test=True)
    reading = Reading(service, len(subject.units), request)
    started = monotonic()
    try:
        answer = call(
            service.merchant,
            request.method,
            request.url,
            body=request.body,
            headers=request.headers,
            logged=request.logged,
            timeout=service.timeout,
            read=reading,
            upstream=service,
            item=None if isinstance(subject, SampleSubject) else subject.item,
            is_test=True,
            request_id=message_id,
        )
    except OutgoingRequestError as error:
        return ConsoleResult(message_id, monotonic() - started, error=str(error), is_temporary=error.temporary)
    result = ConsoleResult(message_id, monotonic() - started)
    return replace(
        result,
        status_code=answer.status_code,
        headers=_shown_headers(answer, request),
        body=reading.logged,
        codes=[mask_code(code) for code in reading.codes],
        problem=str(reading.problem or ""),
        is_held=bool(reading.unlike),
        is_temporary=bool(reading.problem and reading.problem.temporary),
    )


def _shown_headers(answer: Answer, request: LicenseRequest) -> dict[str, str]:
    found = {name: storable(answer.headers[name])[:200] for name in SHOWN_HEADERS if name in answer.headers}
    if "Location" in answer.headers:
        found["Location"] = mask_answer(storable(answer.headers["Location"]), [], secrets=request.secrets)[:200]
    return found
