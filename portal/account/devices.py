"""Which browsers somebody signed in with before: their failed attempts are counted apart from strangers'."""

import secrets

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from vault.fingerprints import fingerprint

COOKIE = f"{settings.COOKIE_PREFIX}device"
MAX_AGE = 365 * 24 * 3600


def remember(response: HttpResponse, email: str) -> None:
    """Mark the browser, without naming the person, for a year from the last sign-in on."""
    response.set_signed_cookie(
        COOKIE,
        f"{secrets.token_urlsafe(12)}.{fingerprint(f'device of {email}').hex()}",
        salt="portal.account.devices",
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def recognize(request: HttpRequest, email: str) -> str:
    """What the browser is called, if this person signed in with it; else an empty text."""
    name = request.get_signed_cookie(COOKIE, default="", salt="portal.account.devices", max_age=MAX_AGE) or ""
    return name if name.endswith(f".{fingerprint(f'device of {email}').hex()}") else ""
