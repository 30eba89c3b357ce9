"""The first page of the admin: open requests, how merchants are doing, and the state of the installation."""

from typing import Any

from django.core.paginator import Page, Paginator

from fulfillment.models import SetupRequest
from merchants.models import Merchant
from portal.staff.health import PAGE, Sight, read_health, read_sight
from portal.staff.navigation import may_view
from runtime.status import OK, check_recently

MAX_REQUESTS = 10


def read_desk(site: Any, request: Any) -> dict[str, Any]:
    tables = [model for app in site.get_app_list(request) for model in app["models"] if model["admin_url"]]
    findings = list(enumerate(check_recently(), 1))  # with their place on the status page
    context: dict[str, Any] = {
        "problems": [finding for finding in findings if finding[1].state != OK],
        "fine": [finding for finding in findings if finding[1].state == OK],
        "tables": sorted(tables, key=lambda table: str(table["name"]).casefold()),
    }
    if may_view(site, request, SetupRequest):
        # Without the previews, which are long.
        wanted = SetupRequest.objects.filter(status=SetupRequest.Status.OPEN).defer("preview")
        context["requests"] = list(wanted.select_related("merchant", "asked_by").order_by("created_at")[:MAX_REQUESTS])
        context["may_apply"] = request.user.has_perm("fulfillment.change_setuprequest")
    if may_view(site, request, Merchant):
        context["sight"] = sight = read_sight(site, request)
        context["merchants"] = read_merchants(sight, request.GET.get("p", ""))
    return context


def read_summary(site: Any, request: Any, merchant: Merchant) -> dict[str, Any]:
    """The desk's line of a merchant, and its open requests."""
    sight = read_sight(site, request)
    context: dict[str, Any] = {"sight": sight, "merchants": read_health(sight, merchant=merchant.pk)[0]}
    if may_view(site, request, SetupRequest):
        context["request_count"] = merchant.setup_requests.filter(status=SetupRequest.Status.OPEN).count()
    return context


def read_merchants(sight: Sight, text: str) -> Page:
    number = int(text) if text.isdecimal() and len(text) < 6 and int(text) else 1
    rows, total = read_health(sight, page=number)
    if not rows and number > 1:  # fewer than when the page was linked
        return read_merchants(sight, "1")
    pages = Paginator(range(total), PAGE)
    return Page(rows, number, pages)
