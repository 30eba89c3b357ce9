"""The e-mails that were written to files instead of being sent, for superusers."""

from collections.abc import Callable, Iterator
from email.message import EmailMessage
from functools import wraps
from typing import NamedTuple
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from outbound.mail_files import StoredEmail, goes_to_files, newest

PER_PAGE = 50
# A search opens this many files.
SEARCHED = 1000
# The HTML comes from templates and shops. It may show our logos, and nothing else from anywhere.
HTML_POLICY = {
    "script-src": "'none'",
    "style-src": "'unsafe-inline'",
    "img-src": f"{settings.BASE_URL}/logos/ data:",
    "connect-src": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'self'",
    "sandbox": "",
}


def for_superusers(view: Callable) -> Callable:
    """Like a page of the admin, for superusers: e-mails hold codes and links that reset passwords.

    404 if e-mails are really sent.
    """

    def for_staff(request: HttpRequest, **arguments: str) -> HttpResponse:
        if not request.user.is_superuser:
            raise PermissionDenied(gettext("Only superusers can read e-mails."))
        response: HttpResponse = view(request, **arguments)
        return response

    guarded = never_cache(admin.site.admin_view(require_safe(for_staff)))

    @wraps(view)
    def with_files(request: HttpRequest, **arguments: str) -> HttpResponse:
        if not goes_to_files():
            raise Http404(gettext("E-mails don’t go to files here."))
        response: HttpResponse = guarded(request, **arguments)
        return response

    return with_files


@for_superusers
def mailbox(request: HttpRequest) -> HttpResponse:
    words, before = request.GET.get("q", "").strip()[:200], request.GET.get("before", "")
    if words:
        found = [stored for stored in newest(SEARCHED) if _matches(stored, words)]
        older = ""
    else:
        found = newest(PER_PAGE + 1, before=before)
        older = f"?{urlencode({'before': found[PER_PAGE - 1].name})}" if len(found) > PER_PAGE else ""
    context = {"emails": found[:PER_PAGE], "words": words, "before": before, "older": older, "searched": SEARCHED}
    return _render(request, "portal/mailbox/mailbox.html", gettext("Mailbox"), context)


def _matches(stored: StoredEmail, words: str) -> bool:
    try:
        return stored.matches(words)
    except FileNotFoundError:  # deleted meanwhile
        return False


class Attachment(NamedTuple):
    name: str
    kind: str
    size: int


@for_superusers
def email(request: HttpRequest, name: str) -> HttpResponse:
    message = _open(name)
    context = {
        "name": name,
        "sent_at": StoredEmail(name).sent_at,
        "headers": [(header, str(value)) for header, value in message.items()],
        "text": _content(message, "plain"),
        "has_html": message.get_body(("html",)) is not None,
        "attachments": list(_attachments(message)),
    }
    response = _render(request, "portal/mailbox/email.html", StoredEmail(name).subject, context)
    response.content_security_policy = {"frame-src": "'self'"}  # type: ignore[attr-defined]
    return response


@for_superusers
@xframe_options_sameorigin
def html(request: HttpRequest, name: str) -> HttpResponse:
    """The HTML alone, for a frame without scripts, forms and links that lead anywhere."""
    content = _content(_open(name), "html")
    if not content:
        raise Http404(gettext("This e-mail has no HTML."))
    response = HttpResponse(content)
    response.content_security_policy = HTML_POLICY  # type: ignore[attr-defined]
    return response


def _open(name: str) -> EmailMessage:
    try:
        return StoredEmail(name).read()
    except FileNotFoundError as error:
        raise Http404(gettext("There is no such e-mail.")) from error


def _content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    if part is None:
        return ""
    content = part.get_payload(decode=True)
    # Our e-mails are in UTF-8. Another charset could name any of Python's codecs.
    return content.decode(errors="replace") if isinstance(content, bytes) else ""


def _attachments(message: EmailMessage) -> Iterator[Attachment]:
    bodies = [message.get_body((kind,)) for kind in ("plain", "html")]
    for part in message.walk():
        if not part.is_multipart() and part not in bodies:
            content = part.get_payload(decode=True) or b""
            yield Attachment(part.get_filename() or gettext("without a name"), part.get_content_type(), len(content))


def _render(request: HttpRequest, template: str, title: str, context: dict) -> HttpResponse:
    return render(request, template, admin.site.each_context(request) | {"title": title} | context)
