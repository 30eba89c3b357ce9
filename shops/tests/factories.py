"""Senders: they sign and post events as the shops do."""

import json
from base64 import b64encode
from hmac import digest
from urllib.parse import urlsplit

from django.test import Client

from delivery.models import Delivery
from fulfillment.tests.factories import fulfill_due
from shops.connecting import connect
from shops.models import Event
from shops.processing import process

SECRET = "a secret of the shop"


def make_connection(merchant, kind, **fields):
    return connect(merchant, kind, **{"secret": SECRET} | fields)


def post(connection, body, content_type="application/json", **headers):
    """Post to the connection's URL. Underscores in names of headers stand for hyphens."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client().post(urlsplit(connection.url).path, body, content_type, headers=names)


def sign(body, secret=SECRET, *, form="base64", algorithm="sha256"):
    code = digest(secret.encode(), body, algorithm)
    return code.hex() if form == "hex" else b64encode(code).decode()


def make_order(**fields):
    """An order of WooCommerce."""
    return {
        "id": 727,
        "number": "727",
        "status": "processing",
        "currency": "EUR",
        "date_paid_gmt": "2026-11-22T17:28:08",
        "total": "29.35",
        "billing": {
            "first_name": "Ada",
            "last_name": "Byron",
            "company": "",
            "country": "GB",
            "email": "ada@example.com",
        },
        "line_items": [
            {
                "id": 315,
                "name": "Photo Pro",
                "product_id": 93,
                "variation_id": 0,
                "quantity": 2,
                "total": "6.00",
                "total_tax": "0.45",
                "sku": "PHOTO-PRO",
            }
        ],
        "shipping_lines": [{"id": 317, "method_title": "Flat Rate", "total": "10.00", "total_tax": "0.00"}],
        "meta_data": [],
        "refunds": [],
    } | fields


def process_due():
    """Do all due work on events, as the workers would, and then on the orders."""
    for _ in range(3):
        for event in Event.objects.due().order_by("pk"):
            process(event.pk)
    fulfill_due()


def emails():
    return list(Delivery.objects.values_list("recipient", flat=True))
