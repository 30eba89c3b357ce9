"""The first page of the admin: open requests, how merchants are doing, and the state of the installation."""

from typing import Any

from django.core.paginator import Page, Paginator

from fulfillment.models import SetupRequest
from merchants.models import Merchant
from portal.staff.health import PAGE, read_health
from portal.staff.navigation import may_view
from runtime.status import check_recently

MAX_REQUESTS = 10


def read_desk(site: Any, request: Any) -> dict[str, Any]:
    tables = [model for app in site.get_app_list(request) for model in app["models"] if model["admin_url"]]
    context: dict[str, Any] = {
        "findings": check_recently(),
        "tables": sorted(tables, key=lambda table: str(table["name"]).casefold()),
    }
    if may_view(site, request, SetupRequest):
        # Without the previews, which are long.
        wanted = SetupRequest.objects.filter(status=SetupRequest.Status.OPEN).defer("preview")
        context["requests"] = list(wanted.select_related("merchant", "asked_by").order_by("created_at")[:MAX_REQUESTS])
        context["may_apply"] = request.user.has_perm("fulfillment.change_setuprequest")
    if may_view(site, request, Merchant):
        context["merchants"] = read_merchants(request.GET.get("p", ""))
    return context


def read_merchants(text: str) -> Page:
    number = int(text) if text.isdecimal() and len(text) < 6 and int(text) else 1
    rows, total = read_health(number)
    if not rows and number > 1:  # fewer than when the page was linked
        return read_merchants("1")
    pages = Paginator(range(total), PAGE)
    return Page(rows, number, pages)
