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

POOLS_SHOWN = 6


@never_cache
@member_required(Role.MANAGER)
@require_safe
def dashboard(request) -> HttpResponse:
    merchant = request.merchant
    stock = get_stock(merchant)
    context = {
        "section": "dashboard",
        "stock": stock[:POOLS_SHOWN],
        "more_pools": len(stock) - POOLS_SHOWN,
        "short": sum(one.state != HEALTHY for one in stock),
        "waited_for": [one for one in stock if one.state == EMPTY and one.waiting][:POOLS_SHOWN],
        "today": today(merchant),
        **count_open(merchant),
        "upstreams": troubled_upstreams(merchant),
        "imports": KeyImport.objects.filter(pool__merchant=merchant, status__in=KeyImport.OPEN)
        .select_related("pool")
        .order_by("uploaded_at"),
    }
    return render(request, "portal/dashboard.html", context)


def today(merchant: Merchant) -> Any:
    """The orders paid since midnight, UTC: how many, and what they come to, in each currency."""
    midnight = datetime.combine(timezone.now().astimezone(UTC).date(), time.min, UTC)
    paid = merchant.orders.filter(status=Order.Status.PAID, paid_at__gte=midnight, items__isnull=False)
    paid = paid.order_by("currency")
    return paid.values("currency").annotate(orders=Count("pk", distinct=True), sum=Sum("items__total_price"))


def count_open(merchant: Merchant) -> dict[str, Any]:
    """How many orders wait, items are stuck and mails lost; and whether mail is refused."""
    counts = {
        "waiting": count(Fulfillment.objects.waiting().filter(item__order__merchant=merchant), "item__order"),
        "stuck": count(stuck_fulfillments().filter(item__order__merchant=merchant)),
        "lost": count(lost_deliveries().filter(order__merchant=merchant)),
        "account": Exists(MailAccount.objects.filter(merchant=merchant).exclude(reason="")),
    }
    # In one query.
    return dict(Merchant.objects.filter(pk=merchant.pk).values(**counts).get())


def count(queryset: QuerySet, for_merchant: str = "pk") -> Coalesce:
    counted = (
        queryset.order_by().annotate(all=Value(1)).values("all").annotate(count=Count(for_merchant, distinct=True))
    )
    return Coalesce(Subquery(counted.values("count")), 0)
