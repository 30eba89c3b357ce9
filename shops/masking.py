"""Shows an event's body without personal data, secrets and license keys."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from orders.models import Order
from outbound.masking import MASK

MAX_SHOWN = 30_000  # characters
MAX_DEPTH = 100
# Masked values, such as a name, are masked in other texts, too: at most this many, if they aren't too short or long.
MAX_REPEATED, REPEATED_LENGTHS = 300, range(4, 201)

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Fields with one of these words in their names are masked.
SENSITIVE = {
    *("email", "emails", "mail", "phone", "mobile", "telephone", "tel", "fax", "address", "addresses", "street"),
    *("city", "zip", "zipcode", "postcode", "postal", "province", "latitude", "longitude", "ip", "browser", "agent"),
    *("firstname", "lastname", "fullname", "username", "surname", "nickname", "birthday", "birth", "dob", "gender"),
    *("note", "notes", "comment", "comments", "message", "memo", "company", "vat", "iban", "bic", "card", "holder"),
    *("password", "secret", "token", "signature", "hash", "authorization", "cookie", "session", "captcha"),
    *(
        "license",
        "licenses",
        "licence",
        "licences",
        "serial",
        "serials",
        "keys",
        "codes",
        "keywell",
        "activation",
        "url",
        "urls",
        "link",
    ),
}
PERSON = {
    *("customer", "client", "buyer", "payer", "purchaser", "consumer", "user", "contact", "recipient", "account"),
    *("billing", "shipping", "person"),
}
# So are fields with one of these words, if their names also have one of the others.
SENSITIVE_WITH = {
    "name": PERSON | {"first", "last", "full", "middle", "given", "family", "business"},
    "key": {"product", "order", "api"},
    "tax": {"id", "number", "code"},
}
# Of objects about a person, or with a sensitive name, only some fields are shown.
PEOPLE = PERSON | {f"{person}_details" for person in PERSON}
SHOWN = {"id", "country", "country_code", "currency", "language", "locale", "type", "object"}
# In any field: e-mail and IP addresses and phone numbers.
PRIVATE = re.compile(
    r"""[^\s@<>"']{1,64}@[^\s@<>"']{1,255}\.\w{2,}|\b(?:\d{1,3}\.){3}\d{1,3}\b"""
    r"""|\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){3,7}|(?<![\w.])\+\d[\d ()/-]{6,20}\d"""
)


def show_body(body: bytes, order: Order | None = None) -> str:
    """Return a body of JSON or form fields with personal data masked, or an empty text if it is neither."""
    masking = Masking(_known(order) if order else [])
    try:
        text = json.dumps(masking.mask(_parse(body)), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
    text = text.encode("utf-8", "replace").decode()  # without lone surrogates
    if len(text) > MAX_SHOWN:
        # A part of a value wouldn't be recognized.
        lines, _, _ = text[:MAX_SHOWN].rpartition("\n")
        text = f"{lines}\n…"
    return masking.mask_repeated(text)


def _known(order: Order) -> list[str]:
    """What must not be shown: who the customer is, and the order's codes."""
    codes = [str(code.code) for code in order.codes()[:MAX_REPEATED]]
    return [order.email, order.first_name, order.last_name, order.company, *codes]


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=1000))


class Masking:
    """Masks a document, and remembers the values that it masked."""

    def __init__(self, known: Iterable[str]) -> None:
        self.values: set[str] = set()
        for value in known:
            self._remember(value)

    def mask(self, value: Any, path: tuple[str, ...] = (), depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise RecursionError
        if isinstance(value, dict):
            # Lists of named values have objects like {"key": "_billing_phone", "value": "…"}.
            given = next((value[name] for name in ("key", "name") if isinstance(value.get(name), str)), "value")
            return {
                PRIVATE.sub(MASK, key): self.mask(entry, (*path, given if key == "value" else key), depth + 1)
                for key, entry in value.items()
            }
        if isinstance(value, list):
            return [self.mask(entry, path, depth + 1) for entry in value]
        if isinstance(value, bool) or value in (None, ""):
            return value
        if is_private(path):
            self._remember(str(value))
            return MASK
        return PRIVATE.sub(MASK, value) if isinstance(value, str) else value

    def _remember(self, value: str) -> None:
        if len(value) in REPEATED_LENGTHS and len(self.values) < MAX_REPEATED:
            self.values.add(value)

    def mask_repeated(self, text: str) -> str:
        """Mask the same values elsewhere in the JSON, such as a name in a description."""
        written = [json.dumps(value, ensure_ascii=False)[1:-1] for value in self.values]
        if not written:
            return text
        longest_first = sorted(written, key=len, reverse=True)
        return re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", MASK, text)


def is_private(path: tuple[str, ...]) -> bool:
    """Whether the field at this path of names may hold personal data, a secret or a license."""
    # A form's names are paths themselves, such as billing[email].
    names = [split_words(part) for name in path for part in re.split(r"[\[\].]+", name) if WORD.search(part)]
    if not names:
        return False
    *parents, words = names
    if words == ["name"] and not parents:  # of the customer
        return True
    if SENSITIVE.intersection(words):
        return True
    if any(word in words and others.intersection(words) for word, others in SENSITIVE_WITH.items()):
        return True
    in_private = any("_".join(parent) in PEOPLE or SENSITIVE.intersection(parent) for parent in parents)
    return in_private and "_".join(words) not in SHOWN


def split_words(name: str) -> list[str]:
    return [word.lower() for word in WORD.findall(name)]
