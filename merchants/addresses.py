"""E-mail addresses: which ones are accepted, and how mail servers write them."""

import re
from contextlib import suppress

import idna
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db.models import Q

INVALID = EmailValidator.message
# A local part with the letters of any script, as RFC 6532 allows.
UTF8_LOCAL = re.compile(r"[-!#$%&'*+/=?^_`{}|~0-9A-Za-z\u00a1-\U0010ffff]+(\.[-!#$%&'*+/=?^_`{}|~\w]+)*")


def validate_mailable(address: str) -> None:
    """Raise ValidationError if the domain has no ASCII form (RFC 5891), so no mail server can be looked up for it."""
    to_ascii_domain(address)


def validate_international(address: str) -> None:
    """Raise ValidationError for an invalid address. Allows a UTF-8 local part (RFC 6531) and any domain (RFC 5891)."""
    local, _, domain = to_ascii_domain(address).rpartition("@")
    if not local.isascii():
        if not (UTF8_LOCAL.fullmatch(local) and local.isprintable()):
            raise ValidationError(INVALID)
        local = "x"
    EmailValidator(INVALID)(f"{local}@{domain}")


def to_ascii_domain(address: str) -> str:
    """Convert the domain to its DNS form: bücher.example becomes xn--bcher-kva.example. Raises ValidationError."""
    local, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode()}"
    except UnicodeError as error:
        raise ValidationError(INVALID) from error


def same_address(field: str, address: str) -> Q:
    """Build a filter that matches the address in any case, with its domain in Unicode or ASCII form."""
    local, at, domain = address.strip().rpartition("@")
    domains = {domain}
    with suppress(UnicodeError):  # an invalid domain matches only itself
        domains |= {idna.encode(domain, uts46=True).decode(), idna.decode(domain)}
    condition = Q()
    for variant in domains:
        condition |= Q(**{f"{field}__iexact": f"{local}{at}{variant}"})
    return condition
