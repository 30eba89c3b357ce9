"""What a person has to look at."""

from datetime import timedelta

from django.db.models import Case, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Now

from delivery.models import DeliveredCode, Delivery
from fulfillment.models import Fulfillment
from fulfillment.sources.netlicensing.models import LicensingAccount
from fulfillment.sources.web_service.models import WebService
from merchants.models import Merchant
from orders.models import Order, OrderQuerySet, OtherItem

# A customer has paid, and waits for longer than this.
LONG = timedelta(hours=1)
# Of servers that codes come from.
AWAY = Q(paused_at__isnull=False) | Q(failing_since__isnull=False)


def stuck_fulfillments() -> QuerySet[Fulfillment]:
    """Items of paid orders that failed, or lack codes for long."""
    long_waiting = Q(status__in=[Fulfillment.Status.WAITING, Fulfillment.Status.PENDING], created_at__lt=Now() - LONG)
    return Fulfillment.objects.filter(
        Q(status=Fulfillment.Status.FAILED) | long_waiting, item__order__status=Order.Status.PAID
    )


def lost_deliveries() -> QuerySet[Delivery]:
    """E-mails of paid orders that did not reach the customer, with a code that no later one holds.

    They failed, came back or were marked as spam, or are late, or were canceled while delivery was not allowed, which
    now it is. Of a customer whose data was erased none is lost: there is nobody to send it to.
    """
    status = Delivery.Status
    late = Q(status=status.QUEUED, created_at__lt=Now() - LONG)
    held_back = Q(status=status.CANCELED, order__checkout_page__delivery_allowed=True)
    later = DeliveredCode.objects.filter(code=OuterRef("code"), delivery_id__gt=OuterRef("delivery_id"))
    orphaned = DeliveredCode.objects.filter(
        ~Exists(later.exclude(delivery__status=status.CANCELED)), delivery=OuterRef("pk"), code__withdrawn_at=None
    )
    lost = Q(status__in=[status.FAILED, *Delivery.RETURNED, status.COMPLAINED])
    return Delivery.objects.exclude(status__in=Delivery.GONE_WELL).filter(
        lost | late | held_back, ~Q(order__email=""), Exists(orphaned), order__status=Order.Status.PAID
    )


def mappable_items() -> QuerySet[OtherItem]:
    """Items of paid orders that were not ours when they were reported, and have a product now."""
    return OtherItem.objects.filter(order__status=Order.Status.PAID).mappable()


def with_failed(services: QuerySet[WebService]) -> QuerySet[WebService]:
    """Each with the number of paid items, `failed`, that failed and that a person may have it asked for again."""
    chosen = Q(item__product__fulfillment_methods__webservicemethod__web_service=OuterRef("pk"))
    for_all = Q(item__product__fulfillment_methods=None, item__product__merchant=OuterRef("for_products_of"))
    failed = Fulfillment.objects.given_up().filter(chosen | for_all, item__order__status=Order.Status.PAID)
    counted = failed.order_by().annotate(all=Value(1)).values("all").annotate(count=Count("pk", distinct=True))
    for_products_of = Case(When(for_all_products=True, then=F("merchant")))
    return services.annotate(for_products_of=for_products_of).annotate(
        failed=Coalesce(Subquery(counted.values("count")), 0)
    )


def troubled_services(merchant: Merchant) -> QuerySet[WebService]:
    """The merchant's web services that are paused or fail, or because of which items failed."""
    return with_failed(merchant.web_services.all()).filter(AWAY | Q(failed__gt=0))


def troubled_accounts(merchant: Merchant) -> QuerySet[LicensingAccount]:
    """The merchant's licensing accounts that are paused or fail."""
    return merchant.licensing_accounts.filter(AWAY)


def needing_attention(orders: OrderQuerySet, merchant: Merchant | None = None) -> OrderQuerySet:
    """Those of the orders, which are this merchant's if one is given, that a person has to look at."""
    stuck, lost, unsold = stuck_fulfillments(), lost_deliveries(), mappable_items()
    if merchant:
        stuck, lost = stuck.filter(item__order__merchant=merchant), lost.filter(order__merchant=merchant)
        unsold = unsold.filter(order__merchant=merchant)
    found = stuck.values_list("item__order").union(lost.values_list("order"), unsold.values_list("order"))
    return orders.filter(pk__in=found)
