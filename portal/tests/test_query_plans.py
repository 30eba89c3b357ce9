"""Every search and filter of the list uses an index, according to PostgreSQL's plans for thousands of orders.

No page reads more keys of a pool than it shows.
"""

import re

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from delivery.models import Delivery
from demo.management.commands.demo import make_demo
from demo.orders import add_orders
from fulfillment.attention import needing_attention, newest_needing_attention
from fulfillment.models import Fulfillment
from merchants.models import Member, Merchant
from orders.models import ActivationCode, Order
from orders.search import Kind, find
from portal.attention.causes import count_needing_attention, read_causes
from portal.orders.forms import FilterForm
from portal.staff.health import paid_today, read_troubles, troubled

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
    """The tables of orders, items and e-mails that a plan scans sequentially."""
    return re.findall(r"Seq Scan on ((?:orders|fulfillment|delivery)_\w+)", plan)


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
        {"delivery": "delivered"},
        {"delivery": "opened"},
        {"product": merchant.products.get(sku="PHOTO-CARE").pk},
        {"checkout_page": merchant.checkout_pages.latest("pk").pk},
        {"reported_from": "2026-06-01", "reported_until": "2026-06-02"},
        {"paid_from": "2026-06-01", "paid_until": "2026-06-02"},
    ):
        found = plan(FilterForm(merchant, filters).apply(orders))
        assert scanned_tables(found) == [], (filters, found)

    # Not its trigrams with a dot, which are in the addresses of half the customers.
    pattern = "%".join(re.split(r"[.@]", order.email))
    assert f"'%{pattern}%'" in plan(orders.with_customer(order.email))
    deleted = Order.objects.filter(status="deleted").order_by("-pk")[:10].explain()
    assert "order_not_paid_of_all" in deleted and "Sort" not in deleted


def test_orders_that_need_attention_are_read_in_the_order_of_an_index(merchant):
    fulfillments = Fulfillment.objects.filter(item__order__status="paid").order_by("pk")
    Fulfillment.objects.filter(pk__in=fulfillments[3000:6000]).update(status="failed", ended_at=Now())
    deliveries = Delivery.objects.filter(order__status="paid").order_by("pk")
    Delivery.objects.filter(pk__in=deliveries[1000:3000]).update(status="failed", created_at=Now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE fulfillment_fulfillment, delivery_delivery, delivery_deliveredcode, orders_order")

    with CaptureQueriesContext(connection) as queries:
        newest = newest_needing_attention(26, merchant)
        later = newest_needing_attention(26, merchant, before=newest[-1])
        counted = count_needing_attention(merchant, 100)

    every = needing_attention(merchant.orders.all(), merchant).order_by("-pk").values_list("pk", flat=True)
    assert [*newest, *later] == list(every[:52])
    assert counted == 100
    read = [count_rows(query["sql"]) for query in queries]
    assert len(read) == 3 and max(read) < 5000, read
    assert sum(cause.count for cause in read_causes(merchant)) >= 5000


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/", "/pools/", "/pools/{pool}/", "/api/v1/pools/", "/api/v1/pools/{pool}/"])
def test_no_page_counts_keys(address, client, make_api, make_product, make_pool, pay):
    pool = make_pool(2000)
    pay(make_product(pool=pool), quantity=3)
    client.force_login(pool.merchant.members.get(role=Member.Role.OWNER).user)
    browser = make_api(pool.merchant) if address.startswith("/api/") else client
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE pools_licensekey")

    with CaptureQueriesContext(connection) as queries:
        response = browser.get(address.format(pool=pool.pk))

    assert response.status_code == 200
    assert "1997" in response.content.decode().replace(",", "")
    read = {query["sql"]: count_keys(query["sql"]) for query in queries if "pools_licensekey" in query["sql"]}
    assert {sql: keys for sql, keys in read.items() if keys > 100} == {}


def count_keys(sql):
    """Count the keys that a query reads in all steps of its plan."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
        return count_rows_of(cursor.fetchone()[0][0]["Plan"], "pools_licensekey")


def count_rows(sql):
    """The same for the rows of all tables."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
        return count_rows_of(cursor.fetchone()[0][0]["Plan"])


def count_rows_of(plan, table=None):
    read = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    own = read if table in {None, plan.get("Relation Name")} and "Relation Name" in plan else 0
    return own + sum(count_rows_of(part, table) for part in plan.get("Plans", []))


def test_no_index_of_a_payments_rows_repeats_the_beginning_of_another(db):
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT short.indexrelid::regclass::text
            FROM pg_index short JOIN pg_index long ON long.indrelid = short.indrelid
            JOIN pg_class ON pg_class.oid = short.indrelid
            WHERE relname ~ '^(orders_|delivery_|pools_(licensekey|keymovement|stock)|fulfillment_fulfillment$)'
                AND short.indexrelid <> long.indexrelid
                AND short.indexprs IS NULL AND long.indexprs IS NULL AND short.indpred IS NULL AND long.indpred IS NULL
                AND NOT short.indisunique AND long.indkey::text || ' ' LIKE short.indkey::text || ' %'
            """
        )
        repeating = [name for (name,) in cursor.fetchall()]
    assert repeating == []


def test_the_admins_orders_by_payment_use_an_index(merchant, without_seq_scans):
    listed = Order.objects.filter(paid_at__isnull=False).order_by("-paid_at", "-pk")[:1000].explain()

    assert "order_by_payment_of_all" in listed and "Sort" not in listed


def test_the_lists_behind_the_numbers_of_the_desk_read_few_rows(merchant):
    failed = Fulfillment.objects.filter(item__order__status="paid").order_by("-pk")[:300]
    Fulfillment.objects.filter(pk__in=failed).update(status="failed", ended_at=Now())
    Order.objects.filter(items__fulfillment__status="failed").update(paid_at=Now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE fulfillment_fulfillment, delivery_delivery, orders_order")

    for ordering, narrow in (("-reported_at", troubled), ("-paid_at", paid_today)):
        with CaptureQueriesContext(connection) as queries:
            found = list(narrow(merchant.orders.all()).order_by(ordering, "-pk").values_list("pk")[:1000])
        assert len(found) >= 250
        assert count_rows(queries[0]["sql"]) < 5000


def test_the_health_of_merchants_reads_no_orders_without_problems(merchant, without_seq_scans):
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {read_troubles.statement.replace('%%', '%')}")
        found = "\n".join(line for (line,) in cursor.fetchall())

    assert scanned_tables(found) == []
