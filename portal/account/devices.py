"""Remembers browsers that somebody signed in with. Their failed attempts are counted separately."""

import secrets

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from vault.fingerprints import fingerprint

COOKIE = f"{settings.COOKIE_PREFIX}device"
MAX_AGE = 365 * 24 * 3600


def remember(response: HttpResponse, email: str) -> None:
    """Set a cookie for a year that recognizes this browser without revealing the person."""
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
    """Return the browser's id if this person signed in with it before, otherwise an empty string."""
    name = request.get_signed_cookie(COOKIE, default="", salt="portal.account.devices", max_age=MAX_AGE) or ""
    return name if name.endswith(f".{fingerprint(f'device of {email}').hex()}") else ""
