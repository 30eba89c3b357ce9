"""The log of requests to a server: a list beside the chosen request."""

from typing import Any

from django.db.models import Q
from django.http import QueryDict
from django.utils.http import urlencode
from django.utils.translation import gettext

from outbound.models import OutgoingRequest, Upstream
from portal.paging import KeysetPage

Outcome = OutgoingRequest.Outcome
FILTERS: dict[str, Q] = {
    "": Q(),
    "ok": Q(outcome=Outcome.OK),
    "failed": Q(outcome__in=[Outcome.TEMPORARY, Outcome.FATAL]),
    "tests": Q(is_test=True),
}


def read_log(upstream: Upstream, query: QueryDict) -> dict[str, Any]:
    """Return a page of an upstream's requests for portal/request_log.html: newest first, all or those with the outcome
    `show`, and of all orders or the one with the number `order`.
    """
    show = query.get("show", "") if query.get("show") in FILTERS else ""
    number = query.get("order", "").replace("\0", "").strip()[:64]
    requests = OutgoingRequest.objects.filter(FILTERS[show], upstream=upstream).select_related("item__order")
    if number:
        requests = requests.filter(item__order__merchant=upstream.merchant_id, item__order__number=number)
    kept = {"show": show, "order": number}
    cursors = {name: query.get(name, "") for name in ("before", "after")}
    return {
        "page": KeysetPage(requests, "called_at", **cursors),
        "shows": {"": gettext("All"), "ok": gettext("OK"), "failed": gettext("Failed"), "tests": gettext("Tests")},
        "show": show,
        "number": number,
        "query": "".join(f"{urlencode({name: value})}&" for name, value in kept.items() if value),
    }
