from collections import defaultdict
from functools import partial
from typing import Any

from django.contrib import messages
from django.db.models import Window
from django.db.models.functions import RowNumber
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from outbound.models import OutgoingRequest
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.paging import KeysetPage
from portal.webhooks.forms import EndpointForm
from webhooks import sending as service
from webhooks.models import WebhookEndpoint, WebhookMessage

ATTEMPTS_SHOWN = 5

form_page = partial(Question, section="webhooks", template="portal/webhooks/webhook_form.html")

for_endpoint = scoped(WebhookEndpoint.objects.kept())


@never_cache
@member_required(Role.MANAGER, has_test_data=True)
@require_safe
def webhooks(request) -> HttpResponse:
    endpoints = request.merchant.webhook_endpoints.kept().order_by("pk")
    return render(request, "portal/webhooks/webhooks.html", {"section": "webhooks", "endpoints": endpoints})


@member_required(Role.MANAGER, has_test_data=True)
@confirmed
def add(request) -> Confirmation:
    new = WebhookEndpoint(merchant=request.merchant, secret=WebhookEndpoint.make_secret())
    form = EndpointForm(request.POST or None, instance=new)
    yield form_page(title=gettext("Add endpoint"), form=form, back="webhooks", then=new)
    form.save()
    return gettext("Endpoint added. Give your shop the signing secret, then send a test event.")


@for_endpoint
@confirmed
def change(request, endpoint: WebhookEndpoint) -> Confirmation:
    form = EndpointForm(request.POST or None, instance=endpoint)
    yield form_page(title=gettext("Edit endpoint"), form=form)
    endpoint.save(update_fields=form.Meta.fields)
    return gettext("Endpoint changed. Queued events will go to its URL.")


@for_endpoint
@require_safe
def webhook(request, endpoint: WebhookEndpoint) -> HttpResponse:
    return show(request, endpoint)


@for_endpoint
@require_POST
def reveal_secret(request, endpoint: WebhookEndpoint) -> HttpResponse:
    return show(request, endpoint, secret=endpoint.secret)


def show(request, endpoint: WebhookEndpoint, secret: str = "") -> HttpResponse:
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    page = KeysetPage(endpoint.messages.all(), "created_at", **cursors)
    add_last_requests(page.rows)
    context = {
        "section": "webhooks",
        "endpoint": endpoint,
        "secret": secret,
        "page": page,
        "in_flight": any(message.attempts == 0 and message.due_at for message in page.rows),
        "failed": endpoint.messages.filter(status=WebhookMessage.Status.FAILED).count(),
    }
    return render(request, "portal/webhooks/webhook.html", context)


def add_last_requests(messages: list[Any]) -> None:
    """Set `last_requests` of each message to its latest attempts."""
    newest_first = Window(RowNumber(), partition_by="request_id", order_by="-pk")
    requests = OutgoingRequest.objects.filter(
        upstream=None, request_id__in=[message.request_id for message in messages]
    )
    last = requests.annotate(place=newest_first).filter(place__lte=ATTEMPTS_SHOWN).order_by("-pk")
    by_request = defaultdict(list)
    for outgoing_request in last:
        by_request[outgoing_request.request_id].append(outgoing_request)
    for message in messages:
        message.last_requests = by_request[message.request_id]


@for_endpoint
@confirmed
def rotate(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title=gettext("Rotate the signing secret?"),
        text=gettext(
            "We sign messages with both the old and the new secret for 24 hours. Give your shop the new one within"
            " that time. If a rotation is already in progress, the oldest secret stops working immediately."
        ),
        button=gettext("Rotate secret"),
        danger=True,
    )
    endpoint.rotate()
    return gettext("Secret rotated. The old secret also works for 24 hours.")


@for_endpoint
@confirmed
def send_test(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title=gettext("Send a test event?"),
        text=gettext("We’ll send a webhook.test event to {url}.").format(url=endpoint.url),
        button=gettext("Send test event"),
    )
    service.send_test(endpoint)
    return gettext("Test event queued. See the log below for the result.")


@for_endpoint
@require_POST
def enable(request, endpoint: WebhookEndpoint) -> HttpResponse:
    service.enable(endpoint)
    messages.success(request, gettext("Endpoint enabled. It will get new events from now on."))
    return redirect(endpoint)


@for_endpoint
@confirmed
def disable(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title=gettext("Disable the endpoint?"),
        text=gettext("Queued events will fail, and the endpoint won’t get events that happen while it’s disabled."),
        button=gettext("Disable endpoint"),
        danger=True,
    )
    service.disable(endpoint)
    return gettext("Endpoint disabled.")


@for_endpoint
@confirmed
def delete(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title=gettext("Delete the endpoint?"),
        text=gettext("{endpoint} won’t get any more events. Its log and secret will be deleted.").format(
            endpoint=endpoint
        ),
        button=gettext("Delete endpoint"),
        danger=True,
        then="webhooks",
    )
    service.remove(endpoint)
    return gettext("Endpoint {endpoint} deleted.").format(endpoint=endpoint)


@for_endpoint
@confirmed
def send_failed(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title=gettext("Resend all failed events?"),
        text=gettext("{url} will get them with their original IDs.").format(url=endpoint.url),
        button=gettext("Resend all"),
    )
    count = service.send_again(endpoint)
    return ngettext("{count} event will be resent.", "{count} events will be resent.", count).format(count=count)


@for_endpoint
@confirmed
def send_again(request, endpoint: WebhookEndpoint, message: int) -> Confirmation:
    row = get_object_or_404(endpoint.messages, pk=message)
    yield Question(
        title=gettext("Resend this event?"),
        text=gettext("{url} will get {row} with its original ID, so your shop can recognize a duplicate.").format(
            url=endpoint.url, row=row
        ),
        button=gettext("Resend"),
    )
    service.send_again(endpoint, message=row)
    return gettext("{row} will be resent within seconds.").format(row=row)
