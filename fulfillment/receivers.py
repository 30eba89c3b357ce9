"""Receivers that turn signals of orders, pools and servers into work, in the sender's transaction."""

from django.db import transaction

from fulfillment import engine, pool_notices, refunds
from fulfillment.models import Fulfillment
from orders.signals import order_paid, order_refunded, order_reinstated
from outbound.signals import upstream_back
from pools.models import LicensePool
from pools.signals import import_due, pool_refilled, stock_low
from webhooks.models import WebhookEvent
from webhooks.payloads import item_payload, order_payload, pool_payload
from webhooks.sending import emit
from work.models import IMPORTS, publish


def connect() -> None:
    order_paid.connect(begin_fulfillment)
    order_paid.connect(emit_payment)
    order_refunded.connect(stop_fulfillment)
    order_refunded.connect(emit_return)
    order_reinstated.connect(restart_fulfillment)
    order_reinstated.connect(emit_reinstatement)
    pool_refilled.connect(serve_waiting_items)
    import_due.connect(work_on_import)
    stock_low.connect(notify_merchant)
    stock_low.connect(emit_stock)
    upstream_back.connect(ask_again)


def begin_fulfillment(items, at_once, **kwargs):
    engine.begin(items, at_once=at_once)


def emit_payment(order, items, **kwargs):
    emit(order.merchant, WebhookEvent.ORDER_PAID, order_payload(order, items))


def stop_fulfillment(order, actor, **kwargs):
    refunds.stop(order, actor=actor)


def emit_return(order, **kwargs):
    items = order.items.select_related("order", "product").order_by("pk")
    emit(order.merchant, WebhookEvent.PRODUCT_RETURNED, *map(item_payload, items))


def restart_fulfillment(order, actor, **kwargs):
    refunds.restart(order, actor=actor)


def emit_reinstatement(order, **kwargs):
    items = order.items.select_related("product").order_by("pk")
    emit(order.merchant, WebhookEvent.ORDER_REINSTATED, order_payload(order, list(items)))


def serve_waiting_items(pool, **kwargs):
    # After the import commits: many items may be waiting.
    transaction.on_commit(lambda: publish("fulfillment.tasks.serve_pool", pool.pk), robust=True)


def work_on_import(key_import, **kwargs):
    transaction.on_commit(
        lambda: publish("fulfillment.tasks.work_on_import", key_import.pk, queue=IMPORTS), robust=True
    )


def notify_merchant(pool, level, available, **kwargs):
    empty = level == LicensePool.Notice.EMPTY
    pool_notices.notify_pool(pool, pool_notices.PoolEmpty if empty else pool_notices.PoolLow, available)


def emit_stock(pool, level, available, **kwargs):
    event = WebhookEvent.POOL_EMPTY if level == LicensePool.Notice.EMPTY else WebhookEvent.POOL_LOW
    emit(pool.merchant, event, pool_payload(pool, available))


def ask_again(upstream, **kwargs):
    Fulfillment.objects.ask_again(upstream)
