"""Takes events from shops: verify, store, answer. A task does the rest."""

import logging
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from shops.answers import answer
from shops.changes import Parked
from shops.kinds import KINDS
from shops.kinds.answering import Answering
from shops.kinds.base import Incoming, Rejected
from shops.models import Connection
from shops.storing import store
from work.bodies import BodyTooLong, read_body

logger = logging.getLogger(__name__)

MAX_EVENTS = 100  # in one request
REJECTION_INTERVAL = timedelta(minutes=1)


@csrf_exempt
@require_http_methods(["HEAD", "GET", "POST"])
def receive(request: HttpRequest, token: str) -> HttpResponse:
    """The URL of a connection. Answers 2xx once the events are stored, 4xx to what the shop didn't sign."""
    connection = Connection.find(token)
    if connection is None or connection.kind not in KINDS:
        raise Http404
    kind = KINDS[connection.kind](connection)
    if request.method != "POST" and not (request.method == "GET" and request.GET and kind.takes_queries):
        if request.GET and isinstance(kind, Answering):
            return refuse("Send it as a POST request.", 405)  # an answer with status 200 would be a license
        # Some shops check that the URL exists before they save it.
        return HttpResponse("This is the address to which a shop sends its sales, as POST requests.\n", "text/plain")
    if connection.disabled_at:
        return refuse("The connection is switched off.", 403)
    try:
        incoming = Incoming(request.headers, read_content(request))
    except BodyTooLong as error:
        return refuse(str(error.detail), 413)
    try:
        events = kind.receive(incoming)
    except Rejected as error:
        note_rejection(connection, str(error))
        return refuse(str(error), error.status)
    except Parked as error:  # signed, but nothing names the event
        note_rejection(connection, str(error))
        return refuse(str(error), 400)
    if isinstance(kind, Answering) and any(map(kind.wants_license, events)):
        store(kind, events[:1], nudge=False)
        return answer(kind, events[0])
    store(kind, events[:MAX_EVENTS])
    return kind.acknowledge(events[:MAX_EVENTS])


def read_content(request: HttpRequest) -> bytes:
    """Return the body, of a GET request the query. Raises BodyTooLong."""
    if request.method == "GET":
        return request.META["QUERY_STRING"].encode("latin-1")
    return read_body(request, settings.API_BODY_LIMIT)


def refuse(reason: str, status: int) -> HttpResponse:
    return HttpResponse(f"{reason}\n", "text/plain; charset=utf-8", status)


def note_rejection(connection: Connection, reason: str) -> None:
    """Remember it for the connection's page, at most once a minute: anyone can cause it."""
    logger.warning("Rejected a request of shop connection %s: %s", connection.pk, reason)
    due = Q(rejected_at=None) | Q(rejected_at__lt=Now() - REJECTION_INTERVAL)
    Connection.objects.filter(due, pk=connection.pk).update(rejected_at=Now(), rejected_because=reason[:200])
