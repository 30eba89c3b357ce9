"""What a shop reported, and what became of it."""

from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from portal.confirm import Confirmation, Question, confirmed
from portal.orders.forms import CustomerEmailForm
from portal.paging import KeysetPage
from portal.shops.access import for_shop
from shops.changes import Cause
from shops.masking import show_body
from shops.models import Connection, Event, ExternalProduct
from shops.processing import wake

# The log's filters.
STATES = {"": _("All"), Event.State.PARKED: _("Parked"), Event.State.FAILED: _("Failed")}


def log_context(request, shop: Connection) -> dict[str, Any]:
    """Template context for the log, with the filters in the URL."""
    state, cause = read_filters(request)
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    rows = filter_events(shop, state, cause).select_related("order").defer("body")
    page = KeysetPage(rows, "created_at", **cursors)
    return {
        "page": page,
        "state": state,
        "cause": cause,
        "states": STATES,
        "causes": Cause.choices,
        "query": "".join(f"{name}={value}&" for name, value in (("state", state), ("cause", cause)) if value),
        "in_flight": any(event.due_at for event in page.rows),
    }


def read_filters(request) -> tuple[str, str]:
    """Return the state and the cause that the URL names. Only parked events have a cause."""
    state, cause = request.GET.get("state", ""), request.GET.get("cause", "")
    state = state if state in STATES else ""
    return state, cause if state == Event.State.PARKED and cause in Cause.values else ""


def filter_events(shop: Connection, state: str, cause: str) -> QuerySet[Event]:
    chosen = {name: value for name, value in (("state", state), ("cause", cause)) if value}
    return shop.events.filter(**chosen)


@for_shop
@confirmed
def process_all(request, shop: Connection) -> Confirmation:
    """Process the parked or failed events again that match the filter."""
    state, cause = read_filters(request)
    events = filter_events(shop, state or Event.State.PARKED, cause)
    count = events.count()
    yield Question(
        title=ngettext("Process {count} event again?", "Process {count} events again?", count).format(
            count=intcomma(count)
        ),
        text=gettext("Events that became orders aren’t affected. What still can’t be used is parked again."),
        button=gettext("Process again"),
        section="shops",
    )
    woken = wake(events)
    return ngettext("{count} event is being processed.", "{count} events are being processed.", woken).format(
        count=intcomma(woken)
    )


def get_event(shop: Connection, pk: int) -> Event:
    event = get_object_or_404(shop.events.select_related("order"), pk=pk)
    event.connection = shop
    return event


@for_shop
@require_safe
def event_page(request, shop: Connection, event: int) -> HttpResponse:
    row = get_event(shop, event)
    waits_for_products = row.waits_for if row.cause == Cause.UNMAPPED else []
    context = {
        "section": "shops",
        "shop": shop,
        "event": row,
        "body": show_body(bytes(row.body), row.order),
        "products": ExternalProduct.objects.filter(connection=shop, external_id__in=waits_for_products),
        "lacks_address": lacks_address(row),
    }
    return render(request, "portal/shops/event.html", context)


@for_shop
@confirmed
def process(request, shop: Connection, event: int) -> Confirmation:
    row = get_event(shop, event)
    yield Question(
        title=gettext("Process the event again?"),
        text=gettext("A sale that is an order already stays the same order."),
        button=gettext("Process again"),
        section="shops",
        back=row,
    )
    wake(Event.objects.filter(pk=row.pk))
    return gettext("The event is being processed.")


@for_shop
@confirmed
def enter_address(request, shop: Connection, event: int) -> Confirmation:
    row = get_event(shop, event)
    if not lacks_address(row):
        raise Http404
    form = CustomerEmailForm(request.POST or None, initial={"email": row.entered_email})
    yield Question(
        title=gettext("Enter the customer’s address"),
        text=gettext("The sale becomes an order, and its licenses go to this address."),
        button=gettext("Save and send"),
        section="shops",
        form=form,
        back=row,
    )
    Event.objects.filter(pk=row.pk).update(entered_email=form.cleaned_data["email"])
    wake(Event.objects.filter(pk=row.pk))
    return gettext("Address saved. The event is being processed.")


def lacks_address(event: Event) -> bool:
    return event.state == Event.State.PARKED and event.cause == Cause.NO_ADDRESS
