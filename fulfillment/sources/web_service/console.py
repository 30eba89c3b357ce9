"""Trying a web service: what it would be sent, what it answers, and how that is read. No order learns of it."""

import secrets
import shlex
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from time import monotonic

from django.db.models.functions import Now
from django.utils import timezone

from fulfillment.sources.web_service.client import LicenseRequest, Reading, build_request, units_of_services
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.parameters import CATALOGUE, Subject
from merchants.models import Merchant, Product
from orders.models import Order, OrderItem, Subscription
from outbound.masking import mask_answer, mask_code
from outbound.outgoing_requests import Answer, OutgoingRequestError, call, storable
from outbound.signatures import base_string
from work.models import advisory_lock
from work.refusals import Refused

# Somebody waits for the answer, and a vendor's service is not to be loaded by tests.
TESTS_A_MINUTE = 10
# What tells something of an answer besides its body.
SHOWN_HEADERS = ["Content-Type", "Content-Length", "Retry-After"]
# What stands in the curl line in place of the password or token.
PLACEHOLDER = "PASSWORD"
EXAMPLES = {name: parameter.example for name, parameter in CATALOGUE.items()}


class TestRefused(Refused):
    """The test was not made. The text says why, and is for the merchant."""

    code = "test_refused"

    __test__ = False  # no matter what pytest takes it for


class SampleSubject(Subject):
    """Made of the catalogue's examples, a renewal."""

    @cached_property
    def first_licenses(self) -> dict[int, str]:
        return self._licenses("Key_first_renew")

    @cached_property
    def last_licenses(self) -> dict[int, str]:
        return self._licenses("Key_last_renew")

    def _licenses(self, name: str) -> dict[int, str]:
        return {unit: EXAMPLES[name] if unit == 1 else f"{EXAMPLES[name]}-{unit}" for unit in self.units}


def sample(service: WebService) -> Subject:
    """An order item that nobody bought and nothing stores."""
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
    return SampleSubject(item, _of_one_request(service, [*range(1, quantity + 1)]))


def find_item(merchant: Merchant, number: str, reference: str = "") -> OrderItem | None:
    """An item of one of the merchant's orders: the first, or the one of this reference."""
    items = OrderItem.objects.filter(order__merchant=merchant, order__number=number)
    if reference:
        items = items.filter(reference=reference)
    return items.select_related("order", "product", "subscription").order_by("pk").first()


def real(service: WebService, item: OrderItem) -> Subject:
    """An item as it would be asked for; if it takes nothing from web services, its first unit."""
    return Subject(item, _of_one_request(service, units_of_services(item) or [1]))


def _of_one_request(service: WebService, units: list[int]) -> list[int]:
    return units if service.asks_for_all else units[:1]


@dataclass(frozen=True)
class Shown:
    """A request as a page may show it: signed as it stands here, with licenses and secret constants masked."""

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
        # Of a GET the query, which says more than its empty body.
        content = self.request.signed[-1]
        return base_string(headers["webhook-id"], int(headers["webhook-timestamp"]), content).decode()

    @property
    def curl(self) -> str:
        """A line for a POSIX shell that sends the request as it is shown."""
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


def show(service: WebService, subject: Subject, message_id: str = "") -> Shown:
    """The request that would be sent. Raises ServiceError, subscriptions.PredecessorMissing."""
    masked = build_request(service, subject, message_id or make_id(), is_test=True, masked=True)
    whole = build_request(service, subject, masked.headers["webhook-id"], is_test=True)
    return Shown(service, masked, is_masked=(masked.url, masked.body) != (whole.url, whole.body))


def make_id() -> str:
    """Of its own for each test: a vendor that keeps answers by it is not misled about the order's."""
    return f"test_{secrets.token_hex(16)}"


@dataclass(frozen=True)
class ConsoleResult:
    """What came of a test, with codes masked."""

    message_id: str
    seconds: float
    error: str = ""  # why there is no answer
    status_code: int | None = None
    headers: dict[str, str] | None = None
    body: str = ""
    codes: list[str] | None = None
    problem: str = ""  # why there are no codes in it, or too few
    is_temporary: bool = False
    is_held: bool = False  # a person would have to look at it


def send_test(service: WebService, subject: Subject) -> ConsoleResult:
    """Send the request, marked as a test, and return how the answer was read.

    It leaves an OutgoingRequest and nothing else: neither the order nor the circuit breaker changes. Raises
    TestRefused, WebServiceError and subscriptions.PredecessorMissing.
    """
    with advisory_lock("web service test", service.pk) as locked:
        if not locked:
            raise TestRefused("Another test of this web service is under way.")
        last_minute = service.outgoing_requests.filter(called_at__gt=Now() - timedelta(minutes=1), is_test=True)
        if last_minute.count() >= TESTS_A_MINUTE:
            raise TestRefused(f"{TESTS_A_MINUTE} tests were sent within a minute. Wait a moment.")
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
            kept=request.kept,
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
        headers=_telling(answer, request),
        body=reading.kept,
        codes=[mask_code(code) for code in reading.codes],
        problem=str(reading.problem or ""),
        is_held=bool(reading.unlike),
        is_temporary=bool(reading.problem and reading.problem.temporary),
    )


def _telling(answer: Answer, request: LicenseRequest) -> dict[str, str]:
    found = {name: storable(answer.headers[name])[:200] for name in SHOWN_HEADERS if name in answer.headers}
    if "Location" in answer.headers:
        found["Location"] = mask_answer(storable(answer.headers["Location"]), [], secrets=request.secrets)[:200]
    return found
