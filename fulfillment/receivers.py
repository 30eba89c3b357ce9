"""What happens in orders and pools becomes work here, inside the transaction in which it happens."""

from django.db import transaction

from fulfillment import services
from fulfillment.models import MerchantNotice, publish
from orders.signals import order_paid, order_refunded
from pools.models import LicensePool
from pools.signals import pool_refilled, stock_low


def connect() -> None:
    order_paid.connect(begin_fulfillment)
    order_refunded.connect(stop_fulfillment)
    pool_refilled.connect(serve_waiting_items)
    stock_low.connect(tell_merchant)


def begin_fulfillment(items, **kwargs):
    services.begin(items)


def stop_fulfillment(order, **kwargs):
    services.stop(order)


def serve_waiting_items(pool, **kwargs):
    # Not in the import's transaction: who waits may be many.
    transaction.on_commit(lambda: publish("fulfillment.tasks.serve_pool", pool.pk), robust=True)


def tell_merchant(pool, level, available, **kwargs):
    empty = level == LicensePool.Notice.EMPTY
    notice = MerchantNotice.objects.create(
        merchant=pool.merchant,
        kind=MerchantNotice.Kind.POOL_EMPTY if empty else MerchantNotice.Kind.POOL_LOW,
        pool=pool,
        available=available,
    )
    notice.nudge()
