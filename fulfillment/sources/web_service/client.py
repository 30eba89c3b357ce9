"""Request codes from a merchant's web service and read its answers."""

import json
import re
from base64 import b64encode
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from time import time
from typing import Any
from urllib.parse import quote, urlencode

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import HeldCode
from fulfillment.sources.web_service.answers import NoCode, read_codes
from fulfillment.sources.web_service.models import ReceivedCode, RequestParameter, WebService, WebServiceMethod
from fulfillment.sources.web_service.parameters import Subject, get_values, mask
from fulfillment.sources.web_service.shapes import names_error, resembles
from orders.models import OrderItem
from outbound import breaker
from outbound.breaker import Paused
from outbound.masking import MASK, mask_answer, mask_code
from outbound.models import OutgoingRequest
from outbound.outgoing_requests import MAX_STORED_LENGTH, Answer, HostBusy, OutgoingRequestError, call
from outbound.signatures import sign
from vault.fingerprints import fingerprint

Format = WebService.Format

HELD = _(
    "The answer looks unlike the service’s earlier codes and may be an error message. It won’t be sent until somebody"
    " releases it on the order page."
)


class WebServiceError(Exception):
    """The service gave no code, or not all of them. The message tells the merchant why."""

    def __init__(self, message: str, *, temporary: bool, pause: timedelta = timedelta(0)):
        super().__init__(message)
        self.temporary = temporary
        self.pause = pause  # the service's Retry-After


class CodesMissing(WebServiceError):
    """The service answered, but not with a code for each unit. `codes` has those that can be saved."""

    def __init__(self, message: str, codes: dict[int, str], *, temporary: bool):
        super().__init__(message, temporary=temporary)
        self.codes = codes


class CodesHeld(CodesMissing):
    """A person has to check some of the codes."""


class WebServiceBusy(Exception):
    """The request wasn't sent because the host has too many in progress."""


@dataclass(frozen=True, repr=False)
class LicenseRequest:
    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    signed: tuple[bytes, ...]  # contents with a signature each; receivers may verify any of them
    logged: str  # the parameters, masked for the log
    secrets: tuple[str, ...]  # masked in the log, also where the answer repeats them


def request_id(item: OrderItem, unit: int | None) -> str:
    """The ID of a unit's or an item's request: the same at every attempt, different in every installation."""
    return "req_" + fingerprint(f"request for item {item.pk}, {unit or 'all units'}").hex()


def build_request(
    service: WebService,
    subject: Subject,
    message_id: str,
    *,
    parameters: list[RequestParameter] | None = None,
    is_test: bool = False,
    masked: bool = False,
) -> LicenseRequest:
    """Build and sign the request, with the service's parameters or others that aren't saved yet. With `masked`,
    licenses and secret constants are masked for display.

    Raises WebServiceError, subscriptions.PredecessorMissing.
    """
    values = get_values(service.parameters.all() if parameters is None else parameters, subject)
    shown = [(parameter.name, mask(parameter, value)) for parameter, value in values]
    logged = _encode(service, shown, readable=True)
    sent = shown if masked else [(parameter.name, value) for parameter, value in values]
    content = _encode(service, sent)
    url, body = service.url.partition("#")[0], content.encode()
    if service.format == Format.GET:
        url, body = f"{url}{'&' if '?' in url else '?'}{content}" if content else url, b""
    # A GET has no body, so its query is signed too. Libraries that only verify the empty body still accept it.
    signed = (body, url.partition("?")[2].encode()) if service.format == Format.GET else (body,)
    login = _login(service)
    headers = {
        **({"Content-Type": TYPES[service.format]} if body else {}),
        "Idempotency-Key": message_id,
        **({"Keywell-Test": "true"} if is_test else {}),
        **login,
        **sign(service.live_secrets(), message_id, int(time()), *signed),
    }
    hidden = [value for parameter, value in values if mask(parameter, value) != value]
    secrets = (
        *(line for value in hidden for line in [value, *value.splitlines()]),
        *(value.partition(" ")[2] for value in login.values()),
        *([service.password] if login else []),
        *service.live_secrets(),
    )
    return LicenseRequest(
        "GET" if service.format == Format.GET else "POST", url, headers, body, signed, logged, secrets
    )


TYPES: dict[str, str] = {Format.FORM: "application/x-www-form-urlencoded", Format.JSON: "application/json"}


def _encode(service: WebService, values: list[tuple[str, str]], *, readable: bool = False) -> str:
    if service.format == Format.JSON:
        return json.dumps(dict(values), ensure_ascii=False)
    content = urlencode(values, safe="@" if readable else "")
    return content.replace(quote(MASK), MASK) if readable else content


def _login(service: WebService) -> dict[str, str]:
    if service.login == WebService.Login.BASIC:
        pair = b64encode(f"{service.username}:{service.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    if service.login == WebService.Login.BEARER:
        if not re.fullmatch("[!-~]+", service.password):
            raise WebServiceError(
                gettext("The token of “{service}” is empty or has characters that a header can’t hold.").format(
                    service=service
                ),
                temporary=False,
            )
        return {"Authorization": f"Bearer {service.password}"}
    return {}


@dataclass(repr=False)
class Reading:
    """A parsed answer: its codes, and the problem if there are none or too few."""

    service: WebService
    expected: int
    request: LicenseRequest
    logged: str = ""  # the answer, masked for the log
    codes: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)  # codes that look unlike the earlier ones
    problem: NoCode | None = None
    compares: bool = True  # codes with earlier ones

    @property
    def is_short(self) -> bool:
        return not self.service.sends_itself and len(self.codes) < self.expected

    def __call__(self, answer: Answer) -> dict[str, Any]:
        """Read the answer and return the OutgoingRequest fields that record it."""
        try:
            self.codes = read_codes(self.service, answer)
            if self.service.holds_unlike and self.compares:
                self.unlike = [code for code in self.codes if not resembles(code, self.service.known_shapes)]
            if self.is_short:
                raise NoCode(
                    gettext("The answer has {codes} of {expected} codes.").format(
                        codes=len(self.codes), expected=self.expected
                    ),
                    temporary=True,
                )
            if self.unlike:
                raise NoCode(str(HELD))
        except NoCode as problem:
            self.problem = problem
        outcome = OutgoingRequest.Outcome.OK
        if self.problem:
            outcome = OutgoingRequest.Outcome.TEMPORARY if self.problem.temporary else OutgoingRequest.Outcome.FATAL
        # Keep error messages readable. Anything in them that may be a code is still masked.
        codes = [code for code in self.codes if not (code in self.unlike and names_error(code))]
        masked = mask_answer(answer.text, codes, secrets=self.request.secrets, shown=self.request.logged)
        self.logged = masked[:MAX_STORED_LENGTH]
        return {"answer": self.logged, "outcome": outcome, "error": str(self.problem or "")[:500]}


def web_service_units(item: OrderItem) -> list[int]:
    """The units without a code and those whose code came from a web service."""
    others = item.activation_codes.exclude(source=WebServiceMethod.SOURCE)
    elsewhere = set(others.values_list("unit", flat=True))
    return [unit for unit in range(1, item.units + 1) if unit not in elsewhere]


class Unwatched:
    """In place of the circuit breaker for test orders: they neither wait for a paused service nor pause it."""

    @staticmethod
    def let_through(service: WebService) -> bool:
        return False

    @staticmethod
    def note_failure(service: WebService, **fields: Any) -> None:
        pass

    note_answer = note_success = release_probe = note_failure


def ask(service: WebService, item: OrderItem, units: list[int], *, unit: int | None, attempt: int) -> dict[int, str]:
    """Request the codes of these units: of one `unit` or, if that is None, of all that the item takes from services.

    Return codes by unit, the first code for the first unit. None if the service sends them itself. A retry sends the
    same request with the same ID. Requests of test orders say so in a header. Raises WebServiceError, WebServiceBusy,
    subscriptions.PredecessorMissing.
    """
    merchant = item.order.merchant
    message_id = request_id(item, unit)
    request = build_request(service, Subject(item, units), message_id, is_test=merchant.is_test)
    circuit: Any = Unwatched if merchant.is_test else breaker
    try:
        is_probe = circuit.let_through(service)
    except Paused as paused:
        raise WebServiceError(str(paused), temporary=True, pause=paused.pause) from paused
    reading = Reading(service, len(units), request, compares=not merchant.is_test)
    try:
        answer = call(
            merchant,
            request.method,
            request.url,
            body=request.body,
            headers=request.headers,
            logged=request.logged,
            timeout=service.timeout,
            read=reading,
            upstream=service,
            item=item,
            unit=unit,
            is_test=merchant.is_test,
            request_id=message_id,
            attempt=attempt,
        )
    except HostBusy as error:
        circuit.release_probe(service)
        raise WebServiceBusy(str(error)) from error
    except OutgoingRequestError as error:
        circuit.note_failure(service, is_probe=is_probe)
        raise WebServiceError(str(error), temporary=error.temporary) from error
    if reading.problem and not reading.codes:
        if reading.problem.temporary:
            circuit.note_failure(service, is_probe=is_probe, at_least=answer.retry_after)
        else:
            circuit.note_answer(service)
        raise WebServiceError(str(reading.problem), temporary=reading.problem.temporary, pause=answer.retry_after)
    circuit.note_success(service)
    return _take(reading, item, units, message_id)


def _take(reading: Reading, item: OrderItem, units: list[int], message_id: str) -> dict[int, str]:
    """Return the codes to save, by unit. Raises CodesMissing or CodesHeld if any unit gets none."""
    service = reading.service
    received = _assign(item, units, reading.codes)
    held = {unit: code for unit, code in received.items() if code in reading.unlike}
    codes, conflict = claim(service, item, {unit: code for unit, code in received.items() if unit not in held})
    if held:
        _hold(service, item, held)
    if codes and reading.compares and not service.known_shapes:
        service.remember(list(codes.values()))
    if conflict:
        last = OutgoingRequest.objects.filter(upstream=service, request_id=message_id).order_by("-pk")[:1]
        OutgoingRequest.objects.filter(pk__in=last.values("pk")).update(
            outcome=OutgoingRequest.Outcome.FATAL, error=conflict[:500]
        )
        if reading.compares:
            breaker.note_answer(service)
        raise CodesMissing(conflict, codes, temporary=False)
    if held:
        raise CodesHeld(str(HELD), codes, temporary=False)
    if reading.problem and reading.is_short:
        raise CodesMissing(str(reading.problem), codes, temporary=True)
    return codes


def _hold(service: WebService, item: OrderItem, codes: dict[int, str]) -> None:
    for unit, code in codes.items():
        new = {"source": WebServiceMethod.SOURCE, "upstream": service, "code": code}
        HeldCode.objects.get_or_create(item=item, unit=unit, defaults=new)


def _assign(item: OrderItem, units: list[int], codes: list[str]) -> dict[int, str]:
    """Assign codes to units in order, except that a code received for a unit before stays with it."""
    received = ReceivedCode.objects.filter(item=item, unit__in=units).values_list("fingerprint", "unit")
    saved = item.activation_codes.filter(unit__in=units).values_list("fingerprint", "unit")
    own = defaultdict(set)
    for known, unit in [*received, *saved]:
        own[bytes(known)].add(unit)
    assigned: dict[int, str] = {}
    others = []
    for code in codes:
        if free := own[fingerprint(code)] - assigned.keys():
            assigned[min(free)] = code
        else:
            others.append(code)
    return assigned | dict(zip((unit for unit in units if unit not in assigned), others, strict=False))


def claim(service: WebService, item: OrderItem, candidates: dict[int, str]) -> tuple[dict[int, str], str]:
    """Claim codes for units. Return the codes that no other unit has, and what is wrong with the others.

    Orders of one subscription may share a code, because renewals often extend the same license.
    """
    if service.same_code_allowed:
        return candidates, ""
    codes, problem = {}, ""
    for unit, code in candidates.items():
        received, _ = ReceivedCode.objects.select_related("item__order").get_or_create(
            merchant=item.order.merchant, fingerprint=fingerprint(code), defaults={"item": item, "unit": unit}
        )
        is_own = (received.item_id, received.unit) == (item.pk, unit)
        if is_own or (_may_pass_on(received, item) and _pass_on(received, item, unit)):
            codes[unit] = code
        else:
            holder = gettext("unit {unit} of order {number}").format(
                unit=received.unit, number=received.item.order.number
            )
            problem = gettext("The service sent the code {code} for unit {unit}, but {holder} already has it.").format(
                code=mask_code(code), unit=unit, holder=holder
            )
    return codes, problem


def _may_pass_on(received: ReceivedCode, item: OrderItem) -> bool:
    """Whether a code's holder is another order of the subscription, or a unit that has a different code by now."""
    holder = received.item
    if holder.pk != item.pk:
        is_renewed = item.subscription_id and holder.subscription_id == item.subscription_id
        return bool(is_renewed and holder.order_id != item.order_id)
    saved = item.activation_codes.filter(unit=received.unit).first()
    return bool(saved and bytes(saved.fingerprint) != bytes(received.fingerprint))


def _pass_on(received: ReceivedCode, item: OrderItem, unit: int) -> bool:
    """Move a received code to another unit. Return False if another worker moved it first."""
    held = ReceivedCode.objects.filter(pk=received.pk, item=received.item_id, unit=received.unit)
    return bool(held.update(item=item, unit=unit))
