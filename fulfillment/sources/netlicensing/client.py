"""Client for NetLicensing services, Keywell's own or any other."""

import json
from base64 import b32encode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext

from fulfillment.sources.netlicensing.models import LicensingAccount
from outbound.breaker import Paused, let_through, note_answer, note_failure, note_success, release_probe
from outbound.masking import MASK, mask_answer
from outbound.models import OutgoingRequest
from outbound.outgoing_requests import MAX_STORED_LENGTH, Answer, HostBusy, OutgoingRequestError, call, slot, storable
from vault.fingerprints import fingerprint
from work.attempts import Failure

# Small pages, because answers are cut at 64 KiB.
PAGE_SIZE, MAX_PAGES = 50, 1000
# Statuses below 500 that mean the service, or a proxy in front of it, is busy or away.
TEMPORARY_STATUSES = {408, 425, 429}
# Properties of an item that logs may show.
LOGGED_PROPERTIES = {
    "active",
    "licenseTemplateNumber",
    "markedForTransfer",
    "name",
    "productModuleNumber",
    "productNumber",
}

Properties = dict[str, str]


class NetLicensingError(Failure):
    """The request to the service failed."""

    temporary = True


class OutOfTime(NetLicensingError):
    """Nothing failed, but there is no time left for another request."""


class NetLicensingRefused(NetLicensingError):
    """The service rejected the request."""

    temporary = False


class Unknown(NetLicensingRefused):
    """No object has this number."""


def secret_number(prefix: str, text: str) -> str:
    """Derive an unguessable number of 125 bits from a text: KW-ABCDE-... The same text gives the same number."""
    digits = b32encode(fingerprint(text)).decode()[:25]
    return "-".join([prefix, *(digits[start : start + 5] for start in range(0, 25, 5))])


@contextmanager
def visit(account: LicensingAccount) -> Iterator[None]:
    """Hold one of the host's slots for several requests, and report the outcome to the circuit breaker.

    Raises NetLicensingError (also while the breaker is open) and HostBusy.
    """
    try:
        is_probe = let_through(account)
    except Paused as paused:
        raise NetLicensingError(str(paused), pause=paused.pause) from paused
    try:
        with slot(account.url):
            yield
    except HostBusy:
        release_probe(account)
        raise
    except OutOfTime:
        note_success(account)
        raise
    except NetLicensingError as error:
        if error.temporary:
            note_failure(account, is_probe=is_probe, at_least=error.pause)
        else:
            note_answer(account)
        raise
    note_success(account)


class NetLicensingClient:
    """Sends requests to an account's service, inside `visit`, until the deadline.

    `secrets` and the API key are kept out of the log. `fields` are stored in each OutgoingRequest.
    """

    def __init__(self, account: LicensingAccount, *, deadline: float, secrets: tuple[str, ...] = (), **fields: Any):
        self.account = account
        self.deadline = deadline
        self.login = b64encode(f"apiKey:{account.api_key}".encode()).decode()
        self.secrets = (*secrets, account.api_key, self.login)
        self.fields = fields

    def get(self, kind: str, number: str) -> Properties | None:
        """Return the object with this number, if it exists."""
        try:
            return self._one(kind, self._ask("GET", f"{kind}/{quote(number, safe='')}"), number)
        except Unknown:
            return None

    def create(self, kind: str, number: str, **values: str) -> Properties:
        """Create the object with this number, or return the existing one."""
        try:
            return self._one(kind, self._ask("POST", kind, {"number": number, **values}), number)
        except NetLicensingRefused:
            # An earlier request, whose answer was lost, may have created it.
            if found := self.get(kind, number):
                return found
            raise

    def update(self, kind: str, number: str, **values: str) -> Properties:
        return self._one(kind, self._ask("POST", f"{kind}/{quote(number, safe='')}", values), number)

    def delete(self, kind: str, number: str) -> None:
        with suppress(Unknown):
            self._ask("DELETE", f"{kind}/{quote(number, safe='')}", query={"forceCascade": "true"})

    def find_all(self, kind: str, **filters: str) -> Iterator[Properties]:
        for page in range(MAX_PAGES):
            terms = {**filters, "page": str(page), "items": str(PAGE_SIZE)}
            query = {"filter": ";".join(f"{name}={value}" for name, value in terms.items())}
            reading = self._ask("GET", kind, query=query)
            yield from (properties for found, properties in reading.items if found == _type(kind))
            if not reading.has_next:
                return
        raise NetLicensingError(
            gettext("The list has more than {max_pages} pages.").format(max_pages=intcomma(MAX_PAGES))
        )

    def _ask(
        self, method: str, path: str, values: dict[str, str] | None = None, query: dict[str, str] | None = None
    ) -> "_Reading":
        if monotonic() + self.account.timeout > self.deadline:
            raise OutOfTime(gettext("Adding licenses one by one."))
        reading = _Reading(self)
        url = f"{self.account.url}/{path}"
        try:
            call(
                self.account.merchant,
                method,
                f"{url}?{urlencode(query)}" if query else url,
                body=urlencode(values or {}).encode(),
                headers={
                    "Accept": "application/json",
                    "Authorization": f"Basic {self.login}",
                    **({"Content-Type": "application/x-www-form-urlencoded"} if values else {}),
                },
                logged=self._without_secrets("&".join(f"{name}={value}" for name, value in (values or {}).items())),
                logged_url=self._without_secrets(url),
                timeout=self.account.timeout,
                trusted=self.account.is_own,
                has_slot=True,
                read=reading,
                upstream=self.account,
                **self.fields,
            )
        except OutgoingRequestError as error:
            raise (NetLicensingError if error.temporary else NetLicensingRefused)(str(error)) from error
        if reading.problem:
            raise reading.problem
        return reading

    def _one(self, kind: str, reading: "_Reading", number: str) -> Properties:
        for found, properties in reading.items:
            if found == _type(kind) and properties.get("number") == number:
                return properties
        raise NetLicensingError(gettext("The service answered without the requested {kind}.").format(kind=kind))

    def _without_secrets(self, text: str) -> str:
        for secret in self.secrets:
            for written in (secret, quote(secret, safe="")):
                text = text.replace(written, MASK) if secret else text
        return text


def _type(kind: str) -> str:
    return {"licensetemplate": "LicenseTemplate", "productmodule": "ProductModule"}.get(kind, kind.capitalize())


class _Reading:
    """A parsed answer: its items, or the problem."""

    def __init__(self, client: NetLicensingClient):
        self.client = client
        self.items: list[tuple[str, Properties]] = []
        self.has_next = False
        self.infos: list[tuple[str, str]] = []
        self.problem: NetLicensingError | None = None

    def __call__(self, answer: Answer) -> dict[str, Any]:
        """Read the answer and return the OutgoingRequest fields that record it."""
        try:
            self._read(answer)
        except NetLicensingError as problem:
            self.problem = problem
        outcome = OutgoingRequest.Outcome.OK
        if self.problem and not isinstance(self.problem, Unknown):
            outcome = OutgoingRequest.Outcome.TEMPORARY if self.problem.temporary else OutgoingRequest.Outcome.FATAL
        error = str(self.problem)[:500] if outcome != OutgoingRequest.Outcome.OK else ""
        return {"answer": self._kept(answer)[:MAX_STORED_LENGTH], "outcome": outcome, "error": error}

    def _read(self, answer: Answer) -> None:
        status = answer.status_code
        if status >= 500 or status in TEMPORARY_STATUSES:
            raise NetLicensingError(
                gettext("The service answered {status}.").format(status=status), pause=answer.retry_after
            )
        if status == 204:
            return
        is_envelope = self._parse(answer)
        if status in {401, 403}:
            raise NetLicensingRefused(
                gettext(
                    "The service rejected the API key ({status}). The key is wrong or revoked, or lacks the role"
                    " ROLE_APIKEY_OPERATION."
                ).format(status=status)
                + self._messages()
            )
        if not is_envelope:
            raise NetLicensingError(
                gettext("The service answered {status}, but not in the NetLicensing format.").format(status=status)
            )
        if status == 404 or (self.infos and self.infos[0][0] == "NotFoundException"):
            raise Unknown(gettext("The service didn’t find it.") + self._messages())
        if status >= 300 or self.infos:
            raise NetLicensingRefused(
                gettext("The service answered {status}.").format(status=status) + self._messages()
            )

    def _parse(self, answer: Answer) -> bool:
        """Parse the NetLicensing envelope. Return whether the answer is one."""
        try:
            content = json.loads(answer.decode())
            if answer.is_cut or not isinstance(content, dict) or not {"infos", "items"} & content.keys():
                return False
            infos = (content.get("infos") or {}).get("info") or []
            errors = (info for info in infos if info.get("type") == "ERROR")
            self.infos = [(_text(error.get("id")), _text(error.get("value"))) for error in errors]
            page = content.get("items") or {}
            self.items = [(_text(item.get("type")), _properties(item)) for item in page.get("item") or []]
            self.has_next = str(page.get("hasnext")).lower() == "true"
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return False
        return True

    def _messages(self) -> str:
        messages = " ".join(text for _, text in self.infos)
        return (
            " " + gettext("Its message: {messages}").format(messages=self.client._without_secrets(messages))
            if messages
            else ""
        )

    def _kept(self, answer: Answer) -> str:
        """The answer for the log, without licensee numbers: they are activation codes or a customer's own licensee."""
        if not self.items and not self.infos:
            return mask_answer(answer.text, [], secrets=self.client.secrets)
        lines = [f"{id}: {text}" for id, text in self.infos]
        for found, properties in self.items:
            shown = LOGGED_PROPERTIES | {"number"} - ({"number"} if found == "Licensee" else set())
            values = ", ".join(f"{name}={value}" for name, value in properties.items() if name in shown)
            lines.append(f"{found}: {values}")
        return self.client._without_secrets("\n".join(lines))


def _properties(item: dict[str, Any]) -> Properties:
    return {_text(each["name"]): _text(each["value"]) for each in item.get("property") or []}


def _text(value: Any) -> str:
    return storable(str(value))
