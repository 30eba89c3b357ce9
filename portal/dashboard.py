from datetime import UTC, datetime, time
from typing import Any

from django.db.models import Count, Exists, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fulfillment.models import Fulfillment
from merchants.models import Merchant
from orders.models import Order
from pools.models import KeyImport
from portal.access import Role, member_required
from portal.attention.causes import count_things, read_causes
from portal.first_steps import get_first_steps, is_new
from portal.pools.stock import EMPTY, LOW, get_stock
from work.sql import PreparedQuery

MAX_POOLS = 6


@never_cache
@member_required(Role.MANAGER, has_test_data=True)
@require_safe
def dashboard(request) -> HttpResponse:
    merchant = request.merchant
    stock = get_stock(merchant)
    problems, causes = count_problems(merchant), read_causes(merchant)
    context = {
        "section": "home",
        "stock": stock[:MAX_POOLS],
        "more_pools": len(stock) - MAX_POOLS,
        "short": sum(row.state in {EMPTY, LOW} for row in stock),
        "today": get_sales_today(merchant) if problems["is_live"] else [],
        **problems,
        "steps": get_first_steps(request.member) if is_new(merchant, problems["is_live"]) else [],
        "causes": causes,
        "attention_count": count_things(causes),
        "imports": KeyImport.objects.filter(pool__merchant=merchant, status__in=KeyImport.OPEN)
        .select_related("pool")
        .order_by("uploaded_at"),
    }
    return render(request, "portal/dashboard.html", context)


def get_sales_today(merchant: Merchant) -> Any:
    """Return the number and total of orders paid since midnight UTC, per currency."""
    midnight = datetime.combine(timezone.now().astimezone(UTC).date(), time.min, UTC)
    paid = merchant.orders.filter(status=Order.Status.PAID, paid_at__gte=midnight, items__isnull=False)
    paid = paid.order_by("currency")
    return paid.values("currency").annotate(orders=Count("pk", distinct=True), sum=Sum("items__total_price"))


def count_problems(merchant: Merchant) -> dict[str, Any]:
    """Count waiting orders. `is_live`: an order was paid."""
    (row,) = read_problems(merchant=merchant.pk)
    return {"waiting": row.waiting, "is_live": row.is_live}


@PreparedQuery
def read_problems(merchant: int) -> QuerySet:
    waiting = Fulfillment.objects.waiting().filter(order__merchant=merchant).order_by().values("status")
    return Merchant.objects.filter(pk=merchant).values(
        waiting=Coalesce(Subquery(waiting.values(count=Count("order", distinct=True))), 0),
        is_live=Exists(Order.objects.filter(merchant=merchant, paid_at__isnull=False)),
    )
