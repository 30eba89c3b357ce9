"""Asking a NetLicensing service, Keywell's own or any other, for licensees and their licenses."""

import json
from base64 import b32encode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode

from fulfillment.sources.netlicensing.models import LicensingAccount
from outbound.breaker import Paused, give_back_probe, let_through, note_answer, note_failure, note_success
from outbound.masking import MASK, mask_answer
from outbound.models import OutgoingRequest
from outbound.outgoing_requests import MAX_STORED_LENGTH, Answer, HostBusy, OutgoingRequestError, call, slot, storable
from vault.fingerprints import fingerprint
from work.attempts import Failure

# So many items of a list in an answer, which is cut at 64 KiB.
PAGE, MOST_PAGES = 50, 1000
# Answers that say that the service, or something before it, is busy or away.
TEMPORARY = {408, 425, 429}
# What of an item a log may show.
SHOWN = {"active", "licenseTemplateNumber", "markedForTransfer", "name", "productModuleNumber", "productNumber"}

Properties = dict[str, str]


class NetLicensingError(Failure):
    """The service did not do what it was asked for."""

    temporary = True


class OutOfTime(NetLicensingError):
    """There is no time left for another request; nothing failed."""


class NetLicensingRefused(NetLicensingError):
    """The service answered that it does not do it."""

    temporary = False


class Unknown(NetLicensingRefused):
    """There is nothing of this number."""


def secret_number(prefix: str, text: str) -> str:
    """A number that is the same for the same text, of 125 bits that nobody guesses: KW-ABCDE-..."""
    digits = b32encode(fingerprint(text)).decode()[:25]
    return "-".join([prefix, *(digits[start : start + 5] for start in range(0, 25, 5))])


@contextmanager
def visit(account: LicensingAccount) -> Iterator[None]:
    """Have one of the host's slots for several requests, if the breaker lets them through, and note how they went.

    Raises LicensingError, HostBusy.
    """
    try:
        is_probe = let_through(account)
    except Paused as paused:
        raise NetLicensingError(str(paused), pause=paused.pause) from paused
    try:
        with slot(account.url):
            yield
    except HostBusy:
        give_back_probe(account)
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
    """Makes requests to an account's service, in a `visit`, until its time is over.

    Of these secrets, and of the API key, nothing is kept.
    """

    def __init__(self, account: LicensingAccount, *, deadline: float, secrets: tuple[str, ...] = (), **fields: Any):
        self.account = account
        self.deadline = deadline
        self.login = b64encode(f"apiKey:{account.api_key}".encode()).decode()
        self.secrets = (*secrets, account.api_key, self.login)
        self.fields = fields  # of its Callouts

    def get(self, kind: str, number: str) -> Properties | None:
        """The one of this number, if there is one."""
        try:
            return self._one(kind, self._ask("GET", f"{kind}/{quote(number, safe='')}"), number)
        except Unknown:
            return None

    def create(self, kind: str, number: str, **values: str) -> Properties:
        """Make one of this number, or return the one that there is."""
        try:
            return self._one(kind, self._ask("POST", kind, {"number": number, **values}), number)
        except NetLicensingRefused:
            # A request whose answer was lost may have made it, or still have been on its way a moment ago.
            if found := self.get(kind, number):
                return found
            raise

    def update(self, kind: str, number: str, **values: str) -> Properties:
        return self._one(kind, self._ask("POST", f"{kind}/{quote(number, safe='')}", values), number)

    def delete(self, kind: str, number: str) -> None:
        with suppress(Unknown):
            self._ask("DELETE", f"{kind}/{quote(number, safe='')}", query={"forceCascade": "true"})

    def find_all(self, kind: str, **filters: str) -> Iterator[Properties]:
        for page in range(MOST_PAGES):
            terms = {**filters, "page": str(page), "items": str(PAGE)}
            query = {"filter": ";".join(f"{name}={value}" for name, value in terms.items())}
            reading = self._ask("GET", kind, query=query)
            yield from (properties for found, properties in reading.items if found == _type(kind))
            if not reading.has_next:
                return
        raise NetLicensingError("Its list does not end.")

    # How it asks

    def _ask(
        self, method: str, path: str, values: dict[str, str] | None = None, query: dict[str, str] | None = None
    ) -> "_Reading":
        if monotonic() + self.account.timeout > self.deadline:
            raise OutOfTime("Its licenses are added one by one.")
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
                kept=self._without_secrets("&".join(f"{name}={value}" for name, value in (values or {}).items())),
                kept_url=self._without_secrets(url),
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
        raise NetLicensingError(f"It answered without the {kind} that it was asked for.")

    def _without_secrets(self, text: str) -> str:
        for secret in self.secrets:
            for written in (secret, quote(secret, safe="")):
                text = text.replace(written, MASK) if secret else text
        return text


def _type(kind: str) -> str:
    return {"licensetemplate": "LicenseTemplate", "productmodule": "ProductModule"}.get(kind, kind.capitalize())


class _Reading:
    """What an answer says: items, or why there are none."""

    def __init__(self, client: NetLicensingClient):
        self.client = client
        self.items: list[tuple[str, Properties]] = []
        self.has_next = False
        self.infos: list[tuple[str, str]] = []
        self.problem: NetLicensingError | None = None

    def __call__(self, answer: Answer) -> dict[str, Any]:
        """Read it, and return what a OutgoingRequest keeps of it."""
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
        if status >= 500 or status in TEMPORARY:
            raise NetLicensingError(f"It answered {status}.", pause=answer.retry_after)
        if status == 204:
            return
        is_envelope = self._parse(answer)
        if status in {401, 403}:
            raise NetLicensingRefused(
                f"It refuses the API key ({status}): the key is wrong or revoked, or its role is too low. It needs"
                f" ROLE_APIKEY_OPERATION.{self._said()}"
            )
        if not is_envelope:
            raise NetLicensingError(f"It answered {status} with something that NetLicensing does not say.")
        if status == 404 or (self.infos and self.infos[0][0] == "NotFoundException"):
            raise Unknown(f"It knows no such thing.{self._said()}")
        if status >= 300 or self.infos:
            raise NetLicensingRefused(f"It answered {status}.{self._said()}")

    def _parse(self, answer: Answer) -> bool:
        """Take an envelope apart; return whether it is one."""
        try:
            content = json.loads(answer.decode())
            if answer.is_cut or not isinstance(content, dict) or not {"infos", "items"} & content.keys():
                return False
            infos = (content.get("infos") or {}).get("info") or []
            errors = (one for one in infos if one.get("type") == "ERROR")
            self.infos = [(_text(one.get("id")), _text(one.get("value"))) for one in errors]
            page = content.get("items") or {}
            self.items = [(_text(item.get("type")), _properties(item)) for item in page.get("item") or []]
            self.has_next = str(page.get("hasnext")).lower() == "true"
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return False
        return True

    def _said(self) -> str:
        said = " ".join(text for _, text in self.infos)
        return f" It says: {self.client._without_secrets(said)}" if said else ""

    def _kept(self, answer: Answer) -> str:
        """Numbers of licensees, also of a customer's own to which a license was moved, are nobody's to read."""
        if not self.items and not self.infos:
            return mask_answer(answer.text, [], secrets=self.client.secrets)
        lines = [f"{id}: {text}" for id, text in self.infos]
        for found, properties in self.items:
            shown = SHOWN | {"number"} - ({"number"} if found == "Licensee" else set())
            told = ", ".join(f"{name}={value}" for name, value in properties.items() if name in shown)
            lines.append(f"{found}: {told}")
        return self.client._without_secrets("\n".join(lines))


def _properties(item: dict[str, Any]) -> Properties:
    return {_text(one["name"]): _text(one["value"]) for one in item.get("property") or []}


def _text(value: Any) -> str:
    return storable(str(value))
