from collections import defaultdict
from functools import partial
from typing import Any

from django.contrib import messages
from django.db.models import Window
from django.db.models.functions import RowNumber
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
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
@member_required(Role.MANAGER)
@require_safe
def webhooks(request) -> HttpResponse:
    endpoints = request.merchant.webhook_endpoints.kept().order_by("pk")
    return render(request, "portal/webhooks/webhooks.html", {"section": "webhooks", "endpoints": endpoints})


@member_required(Role.MANAGER)
@confirmed
def add(request) -> Confirmation:
    new = WebhookEndpoint(merchant=request.merchant, secret=WebhookEndpoint.make_secret())
    form = EndpointForm(request.POST or None, instance=new)
    yield form_page(title="Add an endpoint", form=form, back="webhooks", then=new)
    form.save()
    return "Endpoint added. Give your shop the signing secret, then send a test event."


@for_endpoint
@confirmed
def change(request, endpoint: WebhookEndpoint) -> Confirmation:
    form = EndpointForm(request.POST or None, instance=endpoint)
    yield form_page(title="Edit the endpoint", form=form)
    endpoint.save(update_fields=form.Meta.fields)
    return "Endpoint changed. What is under way goes to its address from now on."


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
    """Give each message the last attempts at it."""
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
        title="Make a new signing secret?",
        text="For 24 hours messages are signed with both. By then your shop must know the new one. A secret that was"
        " being replaced already ends now.",
        button="Make a new secret",
        danger=True,
    )
    endpoint.rotate()
    return "There is a new secret. Until tomorrow messages are signed with the one before, too."


@for_endpoint
@confirmed
def send_test(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title="Send a test event?", text=f"An event of the type webhook.test is sent to {endpoint.url}.", button="Send"
    )
    service.send_test(endpoint)
    return "A test event is on its way. What becomes of it is in the log below."


@for_endpoint
@require_POST
def enable(request, endpoint: WebhookEndpoint) -> HttpResponse:
    service.enable(endpoint)
    messages.success(request, "The endpoint is enabled. It is told of what happens from now on.")
    return redirect(endpoint)


@for_endpoint
@confirmed
def disable(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title="Disable the endpoint?",
        text="What is under way is not sent any more, and what happens meanwhile is never sent to it.",
        button="Disable",
        danger=True,
    )
    service.disable(endpoint)
    return "The endpoint is disabled."


@for_endpoint
@confirmed
def delete(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title="Delete the endpoint?",
        text=f"{endpoint} is told of nothing any more. Its log and its secret are deleted with it.",
        button="Delete",
        danger=True,
        then="webhooks",
    )
    service.remove(endpoint)
    return f"The endpoint {endpoint} is deleted."


@for_endpoint
@confirmed
def send_failed(request, endpoint: WebhookEndpoint) -> Confirmation:
    yield Question(
        title="Send again all that failed?",
        text=f"{endpoint.url} gets them under the same ids as before.",
        button="Send again",
    )
    count = service.send_again(endpoint)
    return f"{count} event{'' if count == 1 else 's'} will be sent again."


@for_endpoint
@confirmed
def send_again(request, endpoint: WebhookEndpoint, message: int) -> Confirmation:
    row = get_object_or_404(endpoint.messages, pk=message)
    yield Question(
        title="Send this event again?",
        text=f"{endpoint.url} gets {row} under the same id as before, so your shop can tell that it is the same.",
        button="Send again",
    )
    service.send_again(endpoint, message=row)
    return f"{row} will be sent again within seconds."
