"""The console: preview a web service's request and send tests."""

from functools import cache
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from fulfillment.sources.web_service.client import WebServiceError
from fulfillment.sources.web_service.console import TestRefused, from_item, sample, send_test, show
from fulfillment.sources.web_service.models import WebService
from orders.subscriptions import PredecessorMissing
from portal.access import scoped
from portal.web_services.console_form import ConsoleForm

LANGUAGES = ["Python", "PHP", "Node", "Java", "Go"]


@scoped(WebService)
@require_http_methods(["GET", "HEAD", "POST"])
def console(request, service: WebService) -> HttpResponse:
    # A link, such as that of a request in the log, can name an order.
    given = request.POST if request.method == "POST" else request.GET if "order" in request.GET else None
    form = ConsoleForm(request.merchant, given)
    context = {"section": "web-services", "service": service, "form": form, "snippets": get_snippets()}
    if form.is_valid() or not form.is_bound:
        try:
            context |= _try(request, service, form)
        except PredecessorMissing as missing:
            messages.info(request, gettext("This item can’t be requested yet. {missing}").format(missing=missing))
        except (TestRefused, WebServiceError) as refused:
            messages.error(request, str(refused))
    return render(request, "portal/web_services/console.html", context)


def _try(request, service: WebService, form: ConsoleForm) -> dict[str, Any]:
    subject = from_item(service, form.item) if form.item else sample(service)
    if "send" not in request.POST:
        return {"shown": show(service, subject), "subject": subject}
    result = send_test(service, subject)
    return {"shown": show(service, subject, result.message_id), "subject": subject, "result": result}


@cache
def get_snippets() -> dict[str, str]:
    """Return code samples for verifying a signature, by programming language."""
    folder = settings.BASE_DIR / "templates/portal/verify"
    return {language: (folder / f"{language.lower()}.txt").read_text() for language in LANGUAGES}
