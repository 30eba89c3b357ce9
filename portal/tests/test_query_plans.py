"""Every search and filter of the list uses an index, according to PostgreSQL's plans for thousands of orders."""

import re

import pytest
from django.db import connection

from demo.management.commands.demo import make_demo
from demo.orders import add_orders
from merchants.models import Merchant
from orders.models import ActivationCode
from orders.search import Kind, find
from portal.orders.forms import FilterForm

INDEXES = {
    Kind.EMAIL: "order_email",
    Kind.NUMBER: "order_short_number",
    Kind.LICENSE: "orders_activationcode_fingerprint_",
    Kind.SIMILAR: "orders_activationcode_loose_fingerprint_",
    Kind.ENDING: "code_hint",
    Kind.CUSTOMER: "order_customer",
    Kind.SKU: "order_by_report",
}


@pytest.fixture
def without_seq_scans(transactional_db):
    """Turn off sequential scans: for only thousands of orders, they can be as cheap as an index."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        yield
        cursor.execute("RESET enable_seqscan")


@pytest.fixture
def merchant(transactional_db):
    make_demo()
    merchant = Merchant.objects.get()
    add_orders(merchant, 15_000, progress=lambda line: None)
    return merchant


def plan(orders):
    return orders.order_by("-reported_at", "-pk")[:51].explain()


def scanned_tables(plan):
    """The order tables that a plan scans sequentially."""
    return re.findall(r"Seq Scan on (orders_\w+|fulfillment_\w+)", plan)


def test_every_search_and_filter_uses_an_index(merchant, without_seq_scans):
    orders = merchant.orders.all()
    numbered_codes = ActivationCode.objects.filter(item__order__email__regex=r"[0-9]{8}@")
    code = numbered_codes.order_by("pk")[3000]
    order = code.item.order
    searches = {
        Kind.EMAIL: order.email,
        Kind.NUMBER: order.short_number,
        Kind.LICENSE: code.code,
        Kind.SIMILAR: code.code.lower().replace("-", " "),
        Kind.ENDING: code.hint,
        Kind.CUSTOMER: order.email.partition("@")[0][-8:],
        Kind.SKU: "PHOTO-PRO",
    }
    for kind, text in searches.items():
        found = plan(find(orders, text)[kind])
        assert scanned_tables(found) == [] and INDEXES[kind] in found, (kind, found)

    for filters in (
        {"status": "deleted"},
        {"status": "unpaid"},
        {"fulfillment": "failed"},
        {"fulfillment": "waiting"},
        {"delivery": "failed"},
        {"delivery": "queued"},
        {"delivery": "bounced"},
        {"product": merchant.products.get(sku="PHOTO-CARE").pk},
        {"checkout_page": merchant.checkout_pages.latest("pk").pk},
        {"reported_from": "2026-06-01", "reported_until": "2026-06-02"},
        {"paid_from": "2026-06-01", "paid_until": "2026-06-02"},
    ):
        found = plan(FilterForm(merchant, filters).apply(orders))
        assert scanned_tables(found) == [], (filters, found)
