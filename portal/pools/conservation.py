from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pools.conservation import balance
from pools.models import KeyMovement, LicensePool
from portal.access import Role, member_required
from portal.paging import KeysetPage
from portal.pools.views import for_pool, read_number


@never_cache
@member_required(Role.MANAGER)
@require_safe
def conservation(request: HttpRequest) -> HttpResponse:
    """That no license was lost or given out twice, in numbers that lead to what they count."""
    balances = balance(request.merchant)  # type: ignore[attr-defined]
    sound = all(not one.problems for one in balances)
    return render(request, "portal/conservation.html", {"section": "pools", "balances": balances, "sound": sound})


@for_pool
@require_safe
def ledger(request: HttpRequest, pool: LicensePool) -> HttpResponse:
    """Every movement of a pool's keys, the last first; of one key, if `key` names it."""
    movements = KeyMovement.objects.filter(pool=pool).select_related("item__order", "batch")
    one = None
    if key := read_number(request, "key"):
        one = get_object_or_404(pool.keys.defer("code"), pk=key)
        movements = movements.filter(key_id=one.pk)
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    page = KeysetPage(movements, "moved_at", **cursors)
    hints = dict(pool.keys.filter(pk__in=[row.key_id for row in page.rows]).values_list("pk", "hint"))
    rows = [(row, hints.get(row.key_id, "")) for row in page.rows]
    context = {"section": "pools", "pool": pool, "key": one, "page": page, "rows": rows}
    context["query"] = f"key={one.pk}&" if one else ""
    return render(request, "portal/ledger.html", context)
