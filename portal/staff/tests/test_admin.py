import re
from html import unescape
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.templatetags.admin_list import results
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from fulfillment.models import Fulfillment
from merchants.models import ApiKey, Merchant, User
from orders.models import Order, OrderEvent
from pools.imports import import_keys
from pools.models import KeyMovement
from pools.tests.factories import stock
from portal.staff.large_tables import FirstRows, LargeTable
from portal.staff.merchants import FirstChoicesFilter
from portal.staff.orders import OrderAdmin
from portal.staff.pools import LicensePoolAdmin
from portal.tests.confirming import post_confirmed
from work.models import Incident

ORDERS = "/admin/orders/order/"


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


@pytest.fixture
def order(pay, make_product, merchant):
    product = make_product(keys=0, sku="PHOTO-PRO")
    import_keys(merchant.pools.get(), ["LICENSE-TEXT-1"], actor="test")
    pay(make_product(), order="B99")
    return Order.objects.get(number=pay(product, order="A0012345678")["order"])


@pytest.mark.parametrize(
    "model",
    [model for model, page in admin.site._registry.items() if page.list_filter],
    ids=lambda model: model._meta.label,
)
def test_every_filter_of_a_list_can_be_used(staff, order, model):
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    page = staff.get(address).context["cl"]
    links = [choice["query_string"] for filter in page.filter_specs for choice in filter.choices(page)]

    assert {link: staff.get(address + link).status_code for link in links} == dict.fromkeys(links, 200)


@pytest.mark.parametrize(
    "model",
    [model for model, page in admin.site._registry.items() if isinstance(page, LargeTable)],
    ids=lambda model: model._meta.label,
)
def test_a_list_of_a_large_table_shows_the_same_rows_as_any_list(staff, order, model):
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    shown = staff.get(address).context["cl"]

    ours = [re.findall(r"<t[dh].*?</t[dh]>", row) for row in shown.rows().splitlines()]
    assert [texts(cells) for cells in ours] == [texts(cells) for cells in results(shown)]


def texts(cells):
    return [re.sub(r"\s*<[^>]*>\s*", "", cell) for cell in cells]


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_every_model_has_working_pages(staff, order, model):
    response = staff.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))
    assert response.status_code == 200

    row = model.objects.first()
    if row is not None:
        page = staff.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk]))
        assert page.status_code == 200 and "View on site" not in page.content.decode()  # staff aren't members


def test_the_list_contains_every_order(staff, order):
    page = staff.get(ORDERS).content.decode()

    assert "A0012345678" in page and "B99" in page


def test_a_large_table_lists_its_first_rows_and_counts_no_others(staff, pay, make_product, monkeypatch):
    monkeypatch.setattr(FirstRows, "MAX_ROWS", 30)
    product = make_product(keys=35)
    for number in range(35):
        pay(product, order=f"C{number:03}")
    numbers = [f"C{number:03}" for number in reversed(range(5, 35))]

    with CaptureQueriesContext(connection) as queries:
        pages = [staff.get(f"{ORDERS}?p={number}") for number in (1, 2)]

    listed = [[order.number for order in page.context["cl"].result_list] for page in pages]
    assert listed == [numbers[:25], numbers[25:]]
    assert all("Only the first 30 are listed" in page.content.decode() for page in pages)
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    rest = staff.get(f"{ORDERS}?q=C004")
    assert [order.number for order in rest.context["cl"].result_list] == ["C004"]
    assert "Only the first" not in rest.content.decode()


def test_the_list_of_orders_needing_attention_looks_one_page_ahead(staff, pay, make_product, merchant, monkeypatch):
    products = [make_product(keys=0) for _ in range(2)]
    for number in range(80):
        pay(*products[: number % 2 + 1], order=f"C{number:03}")
    Fulfillment.objects.update(status="failed")
    monkeypatch.setattr(OrderAdmin, "list_per_page", 10)

    pages = [staff.get(f"{ORDERS}?attention=needed&p={number}") for number in (1, 2, 8)]
    exact = staff.get(f"{ORDERS}?attention=needed&merchant__id__exact={merchant.pk}")

    assert [page.context["cl"].result_count for page in [*pages, exact]] == [20, 30, 80, 80]
    assert [order.number for order in pages[1].context["cl"].result_list] == [f"C{n:03}" for n in range(69, 59, -1)]
    assert "Only the first 20 are listed" in pages[0].content.decode()
    assert "Only the first" not in pages[2].content.decode()


def test_a_merchants_orders_are_listed_in_the_order_of_an_index(staff, order, merchant):
    with CaptureQueriesContext(connection) as queries:
        page = staff.get(f"{ORDERS}?merchant__id__exact={merchant.pk}")

    assert "A0012345678" in page.content.decode()
    [query, _] = [query["sql"] for query in queries if "ORDER BY" in query["sql"] and "orders_order" in query["sql"]]
    assert f'"merchant_id" = {merchant.pk}' in query and "paid_at" in query.partition("ORDER BY")[2]


@pytest.mark.parametrize("text", ["A0012345678", "12345678", "photo-pro"])
def test_it_finds_an_order(staff, order, text):
    response = staff.post(ORDERS, {"search": text}, follow=True)

    assert "A0012345678" in response.content.decode()
    assert "B99" not in strip_tags(response.content.decode())


def test_it_finds_an_order_by_the_customers_address(staff, order):
    response = staff.post(ORDERS, {"search": "ADA@example.com"}, follow=True)

    assert "A0012345678" in response.content.decode() and "B99" in response.content.decode()


def test_a_license_text_leads_to_its_order_without_being_in_the_url(staff, order):
    response = staff.post(ORDERS, {"search": " LICENSE-TEXT-1 "}, follow=True)

    code = order.codes().get(unit=1)
    assert response.redirect_chain == [(f"{ORDERS}{order.pk}/change/?code={code.pk}#code-{code.pk}", 302)]
    assert "LICENSE-TEXT-1" not in response.content.decode()


@pytest.mark.parametrize("text", ["licensetext1", "LICENSE TEXT 1", "TEXT-1.", "ETEXT1"])
def test_it_finds_a_license_in_any_spelling(staff, order, text):
    response = staff.post(ORDERS, {"search": text}, follow=True)

    code = order.codes().get(unit=1)
    assert response.redirect_chain == [(f"{ORDERS}{order.pk}/change/?code={code.pk}#code-{code.pk}", 302)]


def test_a_license_text_next_to_a_number_is_not_in_the_url(staff, order):
    response = staff.post(ORDERS, {"search": "A0012345678 LICENSE-TEXT-1"}, follow=True)

    assert response.redirect_chain == [(f"{ORDERS}?q=A0012345678&by=number", 302)]


def test_a_license_in_stock_leads_to_its_key(staff, order, merchant):
    pool = merchant.pools.get(name="Pool of PHOTO-PRO")
    import_keys(pool, ["LICENSE-TEXT-2"], actor="test")

    response = staff.post(ORDERS, {"search": "LICENSE-TEXT-2"}, follow=True)

    assert "/admin/pools/licensekey/" in response.redirect_chain[0][0]
    assert "It is available" in response.content.decode()


def test_an_unknown_license_text_is_not_in_the_url(staff, order):
    response = staff.post(ORDERS, {"search": "LICENSE-TEXT-TYPO"}, follow=True)

    assert "No order has this" in response.content.decode()
    assert response.redirect_chain == [(f"{ORDERS}?", 302)]


def test_saving_a_page_writes_only_the_changed_fields(staff, make_pool, monkeypatch):
    pool = make_pool(3)
    page = f"/admin/pools/licensepool/{pool.pk}/change/"
    save_model = LicensePoolAdmin.save_model

    def save_late(*args):
        stock(pool, 5)  # an import, between reading the row and writing it
        save_model(*args)

    monkeypatch.setattr(LicensePoolAdmin, "save_model", save_late)
    staff.post(page, {"name": "Renamed", "threshold": 7, "reserve": 0, "recipients": ""})

    pool.refresh_from_db()
    assert (pool.name, pool.threshold, pool.next_position) == ("Renamed", 7, 8)


def test_a_post_to_the_order_page_saves_nothing(staff, order):
    assert staff.post(f"{ORDERS}{order.pk}/change/", {"status": "deleted"}).status_code == 405


def test_a_fulfillment_can_be_retried(staff, pay, make_product, work):
    pay(make_product(source=None))
    fulfillment = Fulfillment.objects.get()

    posted = {"action": "try_again", "_selected_action": [fulfillment.pk]}
    post_confirmed(staff, "/admin/fulfillment/fulfillment/", posted)

    fulfillment.refresh_from_db()
    assert fulfillment.status == "pending" and fulfillment.due_at
    assert OrderEvent.objects.get().happened_by == "stella@keywell.example, support staff"


def test_the_order_page_shows_the_masked_code_and_its_delivery(staff, order, work):
    work()

    page = staff.get(f"{ORDERS}{order.pk}/change/").content.decode()

    assert "••••EXT1" in page and "LICENSE-TEXT-1" not in page
    assert "sent E-mailed to ada@example.com" in " ".join(strip_tags(page).split())


def test_the_order_page_shows_why_an_email_is_late(staff, order):
    order.deliveries.update(reason="The mail server didn’t accept the e-mail: Connection refused")

    assert "Connection refused" in staff.get(f"{ORDERS}{order.pk}/change/").content.decode()


def test_staff_can_enter_a_code(staff, pay, make_product, work, mailoutbox):
    pay(make_product(source="manual"), quantity=2)
    item = Order.objects.get().items.get()
    url = f"{ORDERS}{item.order_id}/items/{item.pk}/codes/"
    assert staff.get(url).status_code == 200

    response = staff.post(url, {"unit_1": "", "unit_2": "AAAA"}, follow=True)
    work()

    assert "is on its way" in response.content.decode()
    assert item.missing_units() == [1]
    assert any("AAAA" in message.body for message in mailoutbox)


def test_entering_no_code_shows_an_error(staff, pay, make_product):
    pay(make_product(source="manual"))
    item = Order.objects.get().items.get()

    response = staff.post(f"{ORDERS}{item.order_id}/items/{item.pk}/codes/", {"unit_1": " "})

    assert "Enter at least one activation code." in response.content.decode()


def test_staff_can_add_keys_from_a_file(staff, make_pool):
    pool = make_pool()
    file = SimpleUploadedFile("keys.txt", b"AAAA\nBBBB\n")

    response = staff.post(f"/admin/pools/licensepool/{pool.pk}/keys/", {"file": file}, follow=True)

    assert "Added 2 keys" in response.content.decode()


def test_it_reports_a_bad_line_and_adds_nothing(staff, make_pool):
    pool = make_pool()

    response = staff.post(
        f"/admin/pools/licensepool/{pool.pk}/keys/", {"file": SimpleUploadedFile("keys.txt", b"AAAA\n\xff")}
    )

    assert "Line 2 isn’t UTF-8 text." in response.content.decode()
    assert pool.keys.count() == 0


def test_a_new_api_key_is_shown_once(staff, merchant):
    response = staff.post(
        "/admin/merchants/apikey/add/", {"merchant": merchant.pk, "name": "shop-2", "scopes": ["orders"]}
    )

    key = ApiKey.objects.get(name="shop-2")
    text, _, after = response.text.partition('<code id="secret">')[2].partition("</code>")
    assert 'data-copy="secret"' in after
    assert ApiKey.authenticate(text) == key
    assert text not in staff.get(f"/admin/merchants/apikey/{key.pk}/change/").content.decode()


def test_staff_can_choose_the_column_and_remove_what_a_spreadsheet_added(staff, make_pool):
    pool = make_pool(0)
    page = f"/admin/pools/licensepool/{pool.pk}/keys/"
    table = b'License Key;Activation code\n="0012-AAAA";XX-11\n="0013-BBBB";XX-12\n'

    def upload(**options):
        file = SimpleUploadedFile("keys.csv", table)
        return unescape(staff.post(page, {"file": file} | options, follow=True).content.decode())

    assert "Which column contains the license keys?" in upload()
    assert not pool.keys.exists()
    assert "Added 2 keys" in upload(column="1", spreadsheet="fix")
    assert {key.code for key in pool.keys.all()} == {"0012-AAAA", "0013-BBBB"}


def test_it_warns_staff_about_unusual_keys(staff, make_pool):
    pool = make_pool(0)
    page = f"/admin/pools/licensepool/{pool.pk}/keys/"

    page_text = unescape(staff.post(page, {"text": '="0012"\nAAAA\naaaa'}, follow=True).content.decode())

    assert "with spreadsheet formatting" in page_text
    assert "except for case" in page_text


@pytest.mark.parametrize("path", [ORDERS, "/admin/pools/licensepool/", "/admin/"])
def test_a_member_cannot_open_the_admin(client, merchant, path):
    client.force_login(merchant.members.get().user)

    response = client.get(path)

    assert response.status_code == 302 and "/admin/login/" in response["Location"]


def test_staff_without_the_permission_cannot_enter_codes(client, pay, make_product):
    user = User.objects.create_user("new@keywell.example", "correct horse", is_staff=True)
    client.force_login(user)
    pay(make_product(source="manual"))
    item = Order.objects.get().items.get()

    assert client.post(f"{ORDERS}{item.order_id}/items/{item.pk}/codes/", {"unit_1": "A"}).status_code == 403


def test_changing_the_reserve_fills_it_immediately(staff, make_pool):
    pool = make_pool(3)

    posted = {"name": "P", "threshold": 0, "reserve": 2, "recipients": ""}
    post_confirmed(staff, f"/admin/pools/licensepool/{pool.pk}/change/", posted)

    assert pool.keys.reserved().count() == 2
    assert "stella" in KeyMovement.objects.latest("pk").moved_by


def test_orders_are_listed_by_payment(staff, pay, make_product):
    product = make_product(keys=9)
    for number, day in (("C1", 20), ("C2", 22), ("C3", 21)):
        pay(product, order=number, paid_at=f"2026-11-{day}T10:00:00Z")
    Order.objects.filter(number="C1").update(status="deleted")
    unpaid = Order.objects.get(number="C3")
    Order.objects.filter(pk=unpaid.pk).update(status="unpaid", paid_at=None)

    def listed(query=""):
        return [order.number for order in staff.get(f"{ORDERS}?{query}").context["cl"].result_list]

    assert listed() == ["C2", "C1"]
    assert listed("status__exact=paid") == ["C2"]
    assert listed("status__exact=unpaid") == ["C3"]
    assert listed("q=C3") == ["C3"]
    assert listed(f"id__in={unpaid.pk}") == ["C3"]


def test_lists_filter_by_the_first_merchants_and_by_any_in_the_url(staff, monkeypatch):
    monkeypatch.setattr(FirstChoicesFilter, "MAX_CHOICES", 2)
    merchants = [Merchant.objects.create(name=f"Foo {number}", slug=f"foo-{number}") for number in range(4)]
    for merchant in merchants:
        merchant.products.create(name="Pro", sku="PRO")

    page = staff.get("/admin/merchants/product/").content.decode()
    filtered = staff.get(f"/admin/merchants/product/?merchant__id__exact={merchants[3].pk}")

    assert "Foo 1" in page and page.count("?merchant__id__exact=") == 2 and "Not all are listed." in page
    assert [product.merchant for product in filtered.context["cl"].result_list] == [merchants[3]]
    assert "Merchant: Foo 3" in filtered.content.decode()


def test_times_are_in_24_hours_and_the_persons_zone(staff, order):
    User.objects.update(time_zone="Asia/Tokyo")
    Order.objects.update(paid_at="2026-11-22T09:52:00Z")

    page = staff.get(ORDERS).content.decode()

    assert "22 Nov 2026, 18:52" in page and "p.m." not in page


def test_the_list_of_pools_shows_the_keys_left(staff, make_pool):
    make_pool(3, name="Spring")

    page = staff.get("/admin/pools/licensepool/").text

    assert re.search(r'data-label="[Aa]vailable"[^>]*>\s*(<span>)?3<', page), page


def test_a_key_is_added_for_the_merchant_of_the_list(staff, merchant):
    filters = urlencode({"_changelist_filters": f"merchant__id__exact={merchant.pk}"})

    page = staff.get(f"/admin/merchants/apikey/add/?{filters}").text

    assert re.search(rf'<option value="{merchant.pk}" selected', page)


def test_a_traceback_keeps_its_lines(staff):
    incident = Incident.objects.create(reference="7F3A-21", error="ValueError", place="GET /", traceback="a < b\n  c")

    page = staff.get(reverse("admin:work_incident_change", args=[incident.pk])).text

    assert '<pre class="sent">a &lt; b\n  c</pre>' in page
