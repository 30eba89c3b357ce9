import csv
import io
import re
from datetime import UTC, datetime
from html import unescape

import pytest

from api.tests.factories import make_api, pay
from delivery.models import Delivery
from fulfillment.models import Fulfillment
from fulfillment.tests.factories import make_product, work
from merchants.models import CheckoutPage
from orders.models import Order
from pools.imports import import_keys
from pools.tests.factories import make_pool
from portal import paging
from portal.orders import export
from portal.orders.export import escape_formula

pytestmark = pytest.mark.django_db
ORDERS = "/orders/"


def make_rows(merchant):
    """Create Ada's order A0012345678 and Bob's order B99."""
    pool = make_pool(merchant, name="Photo")
    import_keys(pool, ["AAAA-BBBB-CCCC-7Q2M", "AAAA-BBBB-CCCC-8X9Y"], actor="test")
    bob = {"email": "bob@oneil.example", "first_name": "Bob", "last_name": "O’Neil"}
    api = make_api(merchant)
    pay(api, make_product(merchant, pool=pool, sku="PHOTO-PRO"), order="A0012345678")
    lite = make_product(merchant, pool=pool, sku="PHOTO-LITE", name="Program 2")
    pay(api, lite, order="B99", customer=bob, number=2)
    work()


@pytest.fixture
def order(merchant):
    return Order.objects.get(number="A0012345678")


def listed_orders(response):
    return re.findall(r'<th scope="row"><a href="/orders/([^/]+)/">', response.content.decode())


@pytest.mark.parametrize(
    "text",
    [
        "A0012345678",
        "12345678",
        "ada@example.com",
        "ADA@EX",
        "byron",
        "AAAA-BBBB-CCCC-7Q2M",
        "7q2m",
        "photo-pro",
        "aaaabbbbcccc7q2m",
        "cc-7q2m",
        "Byron, Ada",
        "<ada@example.com>",
    ],
)
def test_it_finds_an_order_by(support, order, text):
    assert listed_orders(support.post(ORDERS, {"search": text}, follow=True)) == ["A0012345678"]


def test_it_finds_several_orders_by_their_numbers(support, order):
    assert listed_orders(support.post(ORDERS, {"search": "A0012345678, 99"}, follow=True)) == ["B99", "A0012345678"]


@pytest.mark.parametrize(
    "text", ["AAAA-BBBB-CCCC-7Q2M", "AAAA-BBBB-CCCC-TYPO", "aaaa-bbbb-cccc-7q2m", "AAAABBBBCCCC7Q2M", "CC7Q2M"]
)
def test_a_license_text_is_not_in_the_url(support, order, text):
    response = support.post(ORDERS, {"search": text}, follow=True)

    assert not any(text in url for url, _ in response.redirect_chain)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", " ", ""])
def test_it_finds_a_long_license_with_a_short_url(support, order, pay, make_product, make_pool, line_break):
    lines = ["-----BEGIN LICENSE-----", "A" * 2000 + "7Q", "B" * 1000, "-----END LICENSE-----"]
    pool = make_pool()
    import_keys(pool, ["\n".join(lines)], actor="test")
    pay(make_product(pool=pool, sku="LONG"), order="L1")

    response = support.post(ORDERS, {"search": line_break.join(lines)}, follow=True)

    assert listed_orders(response) == ["L1"]
    assert len(response.redirect_chain[0][0]) < 200


def test_many_numbers_fit_into_a_url(support, order, pay, product, make_pool):
    numbers = [f"Ä{number:060}" for number in range(1, 40)]
    for number in numbers:
        pay(product, order=number)

    response = support.post(ORDERS, {"search": "\n".join(numbers)}, follow=True)

    assert listed_orders(response) and len(response.redirect_chain[0][0]) < 2200


def test_a_license_search_can_be_filtered(support, order):
    response = support.post(ORDERS, {"search": "aaaabbbbcccc7q2m"}, follow=True)
    hidden = dict(re.findall(r'<input type="hidden" name="(license|by)" value="([^"]+)">', response.content.decode()))

    assert listed_orders(support.get(ORDERS, hidden | {"status": "paid"})) == ["A0012345678"]
    assert listed_orders(support.get(ORDERS, hidden | {"status": "deleted"})) == []


def test_a_license_text_in_the_url_finds_nothing(support, order):
    assert listed_orders(support.get(ORDERS, {"q": "AAAA-BBBB-CCCC-7Q2M"})) == []
    for kind, text in (("license", "AAAA-BBBB-CCCC-7Q2M"), ("similar", "AAAABBBBCCCC7Q2M"), ("ending", "CC7Q2M")):
        assert "A0012345678" not in listed_orders(support.get(ORDERS, {"q": text, "by": kind}))


def test_it_shows_when_nothing_is_found(support, order):
    page = support.post(ORDERS, {"search": "nobody"}).content.decode()

    assert "No orders found" in page and 'value="nobody"' in page


def test_it_shows_when_a_key_is_still_in_stock(support, order, merchant):
    import_keys(merchant.pools.get(), ["AAAA-BBBB-CCCC-STCK"], actor="test")

    page = support.post(ORDERS, {"search": "AAAA-BBBB-CCCC-STCK"}).content.decode()

    assert "This license key isn’t in any order" in page and "available in the pool" in page


def test_it_offers_the_other_kind_when_a_text_matches_two(support, order):
    Order.objects.filter(number="B99").update(last_name="7Q2M")

    response = support.post(ORDERS, {"search": "7Q2M"}, follow=True)

    assert listed_orders(response) == ["A0012345678"]
    assert listed_orders(support.get(ORDERS + "?q=7Q2M&by=customer")) == ["B99"]
    assert "?q=7Q2M&by=customer" in unescape(response.content.decode())


@pytest.mark.parametrize(
    "query", ["license=zz", "license=00", "q=%00", "before=1-2-3", "before=9999999999999999-1", "after=x"]
)
def test_a_manipulated_url_causes_no_error(support, order, query):
    assert support.get(f"{ORDERS}?{query}").status_code == 200


def test_it_does_not_find_the_orders_of_another_merchant(client, order, outsider):
    client.force_login(outsider.members.get().user)

    for text in ("A0012345678", "ada@example.com", "AAAA-BBBB-CCCC-7Q2M", "7Q2M", "PHOTO-PRO"):
        assert listed_orders(client.post(ORDERS, {"search": text}, follow=True)) == []


@pytest.mark.parametrize(
    ("prepare", "query"),
    [
        (lambda order: Order.objects.filter(pk=order.pk).update(status="deleted"), {"status": "deleted"}),
        (lambda order: set_fulfillment(order, "failed"), {"fulfillment": "failed"}),
        (lambda order: set_fulfillment(Order.objects.get(number="B99"), "waiting"), {"fulfillment": "done"}),
        (lambda order: order.deliveries.update(status="failed"), {"delivery": "failed"}),
        (lambda order: None, {"product": "PHOTO-PRO"}),
        (lambda order: set_page(order), {"checkout_page": "second"}),
        (
            lambda order: set_time(order, "reported_at"),
            {"reported_from": "2025-01-01", "reported_until": "2025-01-31"},
        ),
        (lambda order: set_time(order, "paid_at"), {"paid_from": "2025-01-01", "paid_until": "2025-01-31"}),
        (lambda order: set_time(order, "paid_at"), {"paid_until": "2025-01-31"}),
    ],
)
def test_it_filters_by(support, order, merchant, prepare, query):
    prepare(order)
    if "product" in query:
        query = {"product": merchant.products.get(sku=query["product"]).pk}
    if "checkout_page" in query:
        query = {"checkout_page": CheckoutPage.objects.get(code="second").pk}

    assert listed_orders(support.get(ORDERS, query)) == ["A0012345678"]


def set_fulfillment(order, status):
    Fulfillment.objects.filter(item__order=order).update(status=status)


def set_page(order):
    page = CheckoutPage.objects.create(merchant=order.merchant, code="second")
    Order.objects.filter(pk=order.pk).update(checkout_page=page)


def set_time(order, field):
    Order.objects.filter(pk=order.pk).update(**{field: datetime(2025, 1, 31, 23, 59, 59, tzinfo=UTC)})


def test_the_delivery_filter_considers_only_the_last_email(support, order):
    fields = {"kind": "resend", "recipient": order.email, "message_id": "<2>", "status": "failed"}
    Delivery.objects.create(merchant=order.merchant, order=order, **fields)

    assert listed_orders(support.get(ORDERS, {"delivery": "failed"})) == ["A0012345678"]
    assert listed_orders(support.get(ORDERS, {"delivery": "sent"})) == ["B99"]


@pytest.mark.parametrize("query", [{"status": "odd"}, {"paid_from": "yesterday"}, {"product": "0"}])
def test_an_invalid_filter_shows_an_error(support, order, query):
    response = support.get(ORDERS, query)

    assert listed_orders(response) == []
    assert 'class="errorlist"' in response.content.decode()


def test_the_pages_continue_without_gaps(support, order, pay, product, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for number in range(3):
        pay(product, order=f"C{number}")
    same_time = datetime(2026, 1, 1, tzinfo=UTC)
    Order.objects.filter(number__in=["C0", "C1", "B99"]).update(reported_at=same_time)

    pages, urls, url = [], [], ORDERS
    while url:
        response = support.get(url)
        urls.append(url)
        pages.append(listed_orders(response))
        older = re.search(r'href="(\?[^"]+)" rel="next"', response.content.decode())
        url = ORDERS + unescape(older[1]) if older else ""
    (newer,) = re.findall(r'href="(\?[^"]+)" rel="prev"', response.content.decode())

    assert pages == [["C2", "A0012345678"], ["C1", "C0"], ["B99"]]
    assert listed_orders(support.get(ORDERS + unescape(newer))) == pages[1]


def test_without_orders_the_page_explains_how_to_report_the_first(client, make_member, make_product, outsider):
    product = make_product(merchant=outsider)
    client.force_login(make_member(merchant=outsider).user)

    page = unescape(client.get(ORDERS).content.decode())

    assert "No orders yet" in page and product.sku in page and "/api/v1/payments/" in page


def read_csv(response):
    assert response["Content-Type"].startswith("text/csv")
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_an_order_shows_its_least_finished_item_and_its_last_email(support, pay, make_product):
    pay(make_product(), make_product(keys=0), order="C1")
    pay(make_product(), order="C2")
    Delivery.objects.filter(order__number="C2").update(status="failed")

    rows = {row.order.number: row for row in support.get("/orders/").context["rows"]}

    assert (rows["C1"].fulfillment, rows["C1"].delivery) == ("waiting", "queued")
    assert (rows["C2"].fulfillment, rows["C2"].delivery) == ("done", "failed")


def test_the_export_contains_the_listed_orders(support, order, pay, make_product):
    pay(make_product(source=None, sku="X"), make_product(sku="Y"), quantity=3, order="C1")

    rows = read_csv(support.get("/orders.csv"))

    assert [row["Order"] for row in rows] == ["C1", "B99", "A0012345678"]
    assert rows[0]["Products"] == "X × 3, Y × 3" and rows[0]["Total"] == "119.96"
    assert rows[2] | {"Reported": "", "Paid": ""} == {
        "Order": "A0012345678",
        "Status": "paid",
        "Reported": "",
        "Paid": "",
        "E-mail": "ada@example.com",
        "First name": "Ada",
        "Last name": "Byron",
        "Company": "",
        "Country": "GB",
        "Currency": "EUR",
        "Total": "59.98",
        "Refunded": "",
        "Checkout page": "main",
        "Products": "PHOTO-PRO × 1",
        "Not ours": "",
        "Fulfillment": "done",
        "Last e-mail": "sent",
    }


def test_the_export_reads_orders_in_batches(support, order, monkeypatch):
    monkeypatch.setattr(export, "BATCH_SIZE", 1)

    assert [row["Order"] for row in read_csv(support.get("/orders.csv"))] == ["B99", "A0012345678"]


def test_the_export_has_the_same_filters_as_the_list(support, order):
    assert [row["Order"] for row in read_csv(support.get("/orders.csv?q=byron&status=paid"))] == ["A0012345678"]


def test_the_export_of_another_merchant_is_empty(client, order, outsider):
    client.force_login(outsider.members.get().user)

    assert read_csv(client.get("/orders.csv")) == []


def test_the_export_escapes_formulas_in_names(support, order):
    Order.objects.update(first_name='=HYPERLINK("http://evil.example")', company="\t@SUM(A1)", last_name=" +1")

    for row in read_csv(support.get("/orders.csv")):
        assert row["First name"] == '\'=HYPERLINK("http://evil.example")'
        assert row["Company"] == "'\t@SUM(A1)" and row["Last name"] == "' +1"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "\ra", "\n=1", "  =1", "＝1"])  # noqa: RUF001
def test_it_escapes_a_cell_that_may_be_a_formula(text):
    assert escape_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "59.98", "Ada", "a;b"])
def test_other_cells_stay_unchanged(text):
    assert escape_formula(text) == text


def test_it_escapes_a_formula_after_a_semicolon():
    assert escape_formula("x; =1+1") == "x;' =1+1"


@pytest.mark.parametrize("query", ["reported_until=9999-12-31", "paid_until=9999-12-31", "paid_from=0001-01-01"])
def test_filters_accept_the_first_and_last_possible_dates(support, order, query):
    assert len(listed_orders(support.get(f"{ORDERS}?{query}"))) == 2
    assert support.get(f"/orders.csv?{query}").status_code == 200


def test_paging_by_payment_date_works_before_the_epoch(support, order, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_SIZE", 1)
    Order.objects.update(paid_at=datetime(1961, 8, 17, tzinfo=UTC))

    first = support.get(f"{ORDERS}?paid_until=1970-01-01")
    (older,) = re.findall(r'href="(\?[^"]+)" rel="next"', first.content.decode())

    assert listed_orders(first) + listed_orders(support.get(ORDERS + unescape(older))) == ["B99", "A0012345678"]


def test_text_next_to_a_number_is_not_in_the_url(support, order):
    response = support.post(ORDERS, {"search": "A0012345678 AAAA-BBBB-CCCC-7Q2M"}, follow=True)

    assert listed_orders(response) == ["A0012345678"]
    assert "AAAA" not in response.redirect_chain[0][0]
