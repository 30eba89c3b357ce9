from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from merchants.models import Member, Merchant
from pools.ledger import stocks_by_day
from pools.models import KeyImport
from portal.access import Role, member_required
from portal.attention.causes import AttentionCause, Fix, count_things, read_causes
from portal.first_steps import get_first_steps, is_new
from portal.pools.chart import StockChart
from portal.pools.stock import Stock, get_stock
from portal.sales import DAYS, Bars, read_days, read_today

MAX_POOLS = 6
MAX_LATEST = 6
MAX_CAUSES = 8
LATEST_FIELDS = ("merchant", "number", "status", "email", "first_name", "last_name", "paid_at")


@never_cache
@member_required(Role.MANAGER, has_test_data=True)
@require_safe
def dashboard(request) -> HttpResponse:
    merchant = request.merchant
    stock = get_stock(merchant)
    shown = stock[:MAX_POOLS]
    causes = read_causes(merchant, pools=[row.pool for row in stock])
    paid = merchant.orders.filter(paid_at__isnull=False).only(*LATEST_FIELDS)
    latest = list(paid.order_by("-paid_at", "-pk")[:MAX_LATEST])
    sales = get_sales(merchant) if latest else {}
    context = {
        "section": "home",
        "stock": list(zip(shown, get_charts(shown), strict=True)),
        "more_pools": len(stock) - MAX_POOLS,
        **sales,
        "latest": latest,
        "steps": get_first_steps(request.member) if is_new(merchant, bool(latest)) else [],
        "causes": [(cause, fix_for(request.member, cause)) for cause in causes[:MAX_CAUSES]],
        "more_causes": len(causes) > MAX_CAUSES,
        "attention_count": count_things(causes),
        "imports": KeyImport.objects.filter(pool__merchant=merchant, status__in=KeyImport.OPEN)
        .select_related("pool")
        .order_by("uploaded_at"),
    }
    return render(request, "portal/dashboard.html", context)


def fix_for(member: Member, cause: AttentionCause) -> Fix | None:
    return cause.fix if cause.fix and member.may(cause.fix.role) else None


def get_charts(stock: list[Stock]) -> list[StockChart]:
    """The stock of each pool in the last days, and its forecast."""
    days = stocks_by_day({row.pool: row.available for row in stock}, DAYS) if stock else {}
    return [StockChart(days[row.pool], row.forecast, row.pool.threshold) for row in stock]


def get_sales(merchant: Merchant) -> dict[str, Any]:
    """Template context: what was sold today and before."""
    today, yesterday = read_today(merchant)
    return {"today": today, "yesterday": yesterday, "bars": Bars(read_days(merchant, today.orders))}
