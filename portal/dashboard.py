from datetime import UTC, datetime, time
from typing import Any

from django.db.models import Count, Exists, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fulfillment.attention import lost_deliveries, stuck_fulfillments, troubled_upstreams
from fulfillment.models import Fulfillment
from merchants.models import Merchant
from orders.models import Order
from outbound.models import MailAccount
from pools.models import KeyImport
from portal.access import Role, member_required
from portal.pools.stock import EMPTY, HEALTHY, get_stock

MAX_POOLS = 6


@never_cache
@member_required(Role.MANAGER)
@require_safe
def dashboard(request) -> HttpResponse:
    merchant = request.merchant
    stock = get_stock(merchant)
    context = {
        "section": "dashboard",
        "stock": stock[:MAX_POOLS],
        "more_pools": len(stock) - MAX_POOLS,
        "short": sum(row.state != HEALTHY for row in stock),
        "waited_for": [row for row in stock if row.state == EMPTY and row.waiting][:MAX_POOLS],
        "today": get_sales_today(merchant),
        **count_problems(merchant),
        "upstreams": troubled_upstreams(merchant),
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
    """Count waiting orders, stuck items and lost e-mails, and check for a refused mail server login, in one query."""
    counts = {
        "waiting": count(Fulfillment.objects.waiting().filter(item__order__merchant=merchant), "item__order"),
        "stuck": count(stuck_fulfillments().filter(item__order__merchant=merchant)),
        "lost": count(lost_deliveries().filter(order__merchant=merchant)),
        "account": Exists(MailAccount.objects.filter(merchant=merchant).exclude(reason="")),
    }
    return dict(Merchant.objects.filter(pk=merchant.pk).values(**counts).get())


def count(queryset: QuerySet, for_merchant: str = "pk") -> Coalesce:
    counted = (
        queryset.order_by().annotate(all=Value(1)).values("all").annotate(count=Count(for_merchant, distinct=True))
    )
    return Coalesce(Subquery(counted.values("count")), 0)
