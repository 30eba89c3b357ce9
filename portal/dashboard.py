from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Exists, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fulfillment.attention import held_orders, lost_deliveries, stuck_fulfillments, troubled_upstreams
from fulfillment.models import Fulfillment
from merchants.models import ApiKey, Merchant
from orders.models import Order
from outbound.models import MailAccount
from pools.ledger import stocks_by_day
from pools.models import KeyImport
from portal.access import Role, member_required
from portal.first_steps import get_first_steps, is_new
from portal.pools.chart import StockChart
from portal.pools.stock import EMPTY, Stock, get_stock
from portal.sales import DAYS, Bars, read_days, read_today
from shops.models import Connection
from work.sql import PreparedQuery

MAX_POOLS = 6
MAX_COUNTED = 100
MAX_LATEST = 6
LATEST_FIELDS = ("merchant", "number", "status", "email", "first_name", "last_name", "paid_at")


@never_cache
@member_required(Role.MANAGER, has_test_data=True)
@require_safe
def dashboard(request) -> HttpResponse:
    merchant = request.merchant
    stock = get_stock(merchant)
    shown = stock[:MAX_POOLS]
    problems = count_problems(merchant)
    sales = get_sales(merchant) if problems["is_live"] else {}
    context = {
        "section": "home",
        "stock": list(zip(shown, get_charts(shown), strict=True)),
        "more_pools": len(stock) - MAX_POOLS,
        "waited_for": [row for row in stock if row.state == EMPTY and row.waiting][:MAX_POOLS],
        **problems,
        **sales,
        "steps": get_first_steps(request.member) if is_new(merchant, problems["is_live"]) else [],
        "upstreams": troubled_upstreams(merchant),
        "imports": KeyImport.objects.filter(pool__merchant=merchant, status__in=KeyImport.OPEN)
        .select_related("pool")
        .order_by("uploaded_at"),
    }
    return render(request, "portal/dashboard.html", context)


def get_charts(stock: list[Stock]) -> list[StockChart]:
    """The stock of each pool in the last days, and its forecast."""
    days = stocks_by_day({row.pool: row.available for row in stock}, DAYS) if stock else {}
    return [StockChart(days[row.pool], row.forecast, row.pool.threshold) for row in stock]


def get_sales(merchant: Merchant) -> dict[str, Any]:
    """Template context: what was sold today and before, and the latest orders."""
    today, yesterday = read_today(merchant)
    latest = merchant.orders.filter(paid_at__isnull=False).only(*LATEST_FIELDS).order_by("-paid_at", "-pk")
    bars = Bars(read_days(merchant, today.orders))
    return {"today": today, "yesterday": yesterday, "bars": bars, "latest": latest[:MAX_LATEST]}


def count_problems(merchant: Merchant) -> dict[str, Any]:
    """Count waiting orders, up to MAX_COUNTED stuck items, lost e-mails, held orders and troubled shops.

    `account`: the mail server rejects our login. `expiring`: an API key in use expires soon. `is_live`: an order was
    paid.
    """
    (row,) = read_problems(merchant=merchant.pk)
    counts = {"waiting": row.waiting, "stuck": len(row.stuck), "lost": len(row.lost), "held": len(row.held)}
    counts["shops"] = len(row.shops)
    return counts | {"account": row.account, "expiring": row.expiring, "is_live": row.is_live}


@PreparedQuery
def read_problems(merchant: int) -> QuerySet:
    waiting = Fulfillment.objects.waiting().filter(order__merchant=merchant).order_by().values("status")
    return Merchant.objects.filter(pk=merchant).values(
        waiting=Coalesce(Subquery(waiting.values(count=Count("order", distinct=True))), 0),
        stuck=first_keys(stuck_fulfillments().filter(order__merchant=merchant)),
        lost=first_keys(lost_deliveries().filter(merchant=merchant)),
        held=first_keys(held_orders().filter(merchant=merchant)),
        shops=first_keys(Connection.objects.kept().troubled().filter(merchant=merchant)),
        account=Exists(MailAccount.objects.filter(merchant=merchant).exclude(reason="")),
        expiring=Exists(ApiKey.objects.filter(merchant=merchant).expiring()),
        is_live=Exists(Order.objects.filter(merchant=merchant, paid_at__isnull=False)),
    )


def first_keys(queryset: QuerySet) -> ArraySubquery:
    return ArraySubquery(queryset.order_by().values("pk")[:MAX_COUNTED])
