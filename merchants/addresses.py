"""E-mail addresses: which ones are accepted, and how mail servers write them."""

import re
from contextlib import suppress

import idna
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db.models import Q

INVALID = EmailValidator.message
# A local part as RFC 6532 extends it: letters of any script beside those of ASCII.
UTF8_LOCAL = re.compile(r"[-!#$%&'*+/=?^_`{}|~0-9A-Za-z\u00a1-\U0010ffff]+(\.[-!#$%&'*+/=?^_`{}|~\w]+)*")


def validate_mailable(address: str) -> None:
    """Refuse an address whose domain no mail server can be found for: one that has no form in ASCII (RFC 5891)."""
    to_ascii_domain(address)


def validate_international(address: str) -> None:
    """Refuse what is no address. The local part may be UTF-8 (RFC 6531), the domain in any script (RFC 5891)."""
    local, _, domain = to_ascii_domain(address).rpartition("@")
    if not local.isascii():
        if not (UTF8_LOCAL.fullmatch(local) and local.isprintable()):
            raise ValidationError(INVALID)
        local = "x"
    EmailValidator(INVALID)(f"{local}@{domain}")


def to_ascii_domain(address: str) -> str:
    """The address with its domain as DNS has it: xn--bcher-kva.example for bücher.example. Raises ValidationError."""
    local, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode()}"
    except UnicodeError as error:
        raise ValidationError(INVALID) from error


def same_address(field: str, address: str) -> Q:
    """A filter on the field: the address in any case, its domain in its own script or in ASCII."""
    local, at, domain = address.strip().rpartition("@")
    domains = {domain}
    with suppress(UnicodeError):  # what is no domain is found only as it is
        domains |= {idna.encode(domain, uts46=True).decode(), idna.decode(domain)}
    found = Q()
    for each in domains:
        found |= Q(**{f"{field}__iexact": f"{local}{at}{each}"})
    return found
