"""Senders: they sign and post events as the shops do."""

import json
from urllib.parse import urlsplit

from django.test import Client

from delivery.models import Delivery
from fulfillment.tests.factories import fulfill_due
from orders.models import OrderItem
from shops.connecting import connect
from shops.models import Event
from shops.processing import process
from shops.tests.senders import SECRET, sign


def make_connection(merchant, kind, **fields):
    return connect(merchant, kind, **{"secret": SECRET} | fields)


def post(connection, body, content_type="application/json", **headers):
    """Post to the connection's URL. Underscores in names of headers stand for hyphens."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client().post(urlsplit(connection.url).path, body, content_type, headers=names)


def send_order(shop, order, *, later=False):
    """Send an order as WooCommerce does. Processes it, unless it is left for later."""
    body = json.dumps(order).encode()
    response = post(shop, body, X_WC_Webhook_Topic="order.updated", X_WC_Webhook_Signature=sign(body))
    if not later:
        process_due()
    return response


def process_due():
    """Do all due work on events, as the workers would, and then on the orders."""
    for _ in range(3):
        for event in Event.objects.due().order_by("pk"):
            process(event.pk)
    fulfill_due()


def emails():
    return list(Delivery.objects.values_list("recipient", flat=True))


def subscriptions():
    """The id and period of the subscription that each item belongs to."""
    return list(OrderItem.objects.order_by("pk").values_list("subscription__reference", "subscription__period"))
