"""The support desk: open requests, merchants by their problems, the state of the installation, and the search."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from delivery.models import Delivery
from fulfillment.models import DealtWith, Fulfillment, SetupRequest
from fulfillment.setup import submit
from fulfillment.sources.pool.models import PoolMethod
from fulfillment.sources.web_service.models import WebService
from fulfillment.tests.factories import fulfill_due
from licensing.creation import create_licensee
from licensing.models import LicensingProduct
from merchants.models import ApiKey, Member, Merchant, User
from orders.models import ActivationCode, Order
from pools.models import LicensePool
from portal.staff import desk, health
from portal.staff.health import Sight, read_health
from runtime.status import Finding
from shops.connecting import connect
from work.models import Incident

pytestmark = pytest.mark.django_db
MAX_QUERIES = 12
EVERYTHING = Sight(orders=True, servers=["webservice", "licensingaccount"], stock=True)
DESK, SEARCH = "/admin/", "/admin/search/"


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


@pytest.fixture
def helper(client, db):
    """Support staff who see only what their permissions allow."""
    user = User.objects.create_user("helper@keywell.example", "correct horse", is_staff=True)
    client.force_login(user)
    return user


def allow(user, *names):
    user.user_permissions.set(Permission.objects.filter(codename__in=names))


def rows_of(staff, page=1):
    return list(staff.get(DESK, {"p": page}).context["merchants"])


def make_merchants(count):
    Merchant.objects.bulk_create(Merchant(name=f"Foo {n:04}", slug=f"foo-{n}") for n in range(count))


# Merchants


def test_merchants_with_problems_come_first(staff, merchant, outsider, pay, make_product, make_service):
    pay(make_product(keys=5), order="A1")
    pay(make_product(keys=0), order="A2")
    fulfill_due()
    Order.objects.update(paid_at=Now())
    Fulfillment.objects.filter(order__number="A2").update(created_at=timezone.now() - timedelta(hours=2))
    WebService.objects.filter(pk=make_service(make_product(source=None)).pk).update(paused_at=Now())

    first, second = rows_of(staff)

    assert (first.name, first.stuck, first.down, first.state) == (merchant.name, 1, ["webservice"], "failed")
    assert first.today == 2 and first.latest is not None
    assert (second.name, second.stuck, second.today, second.latest) == (outsider.name, 0, 0, None)
    assert second.state == "healthy"


def test_an_order_with_two_problems_counts_once(merchant, pay, make_product):
    pay(make_product(keys=1), make_product(source=None), order="A1")
    fulfill_due()
    Delivery.objects.update(status="failed")
    Fulfillment.objects.filter(order__isnull=False).update(status="failed", due_at=None)

    (row,), _total = read_health(EVERYTHING)

    assert row.stuck == 1


def test_test_orders_and_sandboxes_do_not_count(merchant, staff):
    Merchant.objects.create(name="Test", slug="test", live=merchant)

    assert [row.pk for row in rows_of(staff)] == [merchant.pk]


@pytest.mark.parametrize(("keys", "threshold", "counts"), [(0, 5, (0, 0)), (3, 5, (0, 1)), (3, 2, (0, 0))])
def test_low_stock_is_counted(merchant, make_pool, keys, threshold, counts):
    pool = make_pool(keys)
    type(pool).objects.filter(pk=pool.pk).update(threshold=threshold)

    (row,), _total = read_health(EVERYTHING)

    assert (row.empty, row.low) == counts


def test_an_empty_pool_is_a_problem(merchant, pay, make_product):
    pay(make_product(keys=1))

    (row,), _total = read_health(EVERYTHING)

    assert (row.empty, row.low, row.state) == (1, 0, "failed")


def test_many_merchants_take_no_more_queries(staff, merchant):
    counts = []
    for count in (0, 1000):
        make_merchants(count)
        staff.get(DESK)
        with CaptureQueriesContext(connection) as queries:
            page = staff.get(DESK)
        counts.append(len(queries))

    assert counts[0] == counts[1] <= MAX_QUERIES
    assert len(page.content) < 60_000


def test_the_pages_list_every_merchant_once(staff, merchant, monkeypatch):
    monkeypatch.setattr(health, "PAGE", 15)
    make_merchants(20)

    pages = [rows_of(staff, number) for number in (1, 2)]

    assert [len(page) for page in pages] == [15, 6]
    assert len({row.pk for page in pages for row in page}) == 21


@pytest.mark.parametrize("page", ["0", "-1", "99", "x", "", "1" * 30])
def test_an_invalid_page_is_the_first(staff, merchant, page):
    assert [row.pk for row in staff.get(DESK, {"p": page}).context["merchants"]] == [merchant.pk]


# Each number links to what it counts


@pytest.fixture
def troubled(merchant, outsider, pay, make_product, make_pool, make_service):
    """A merchant with a number in each column, and others that the number must not count."""
    empty, low, unsold = make_product(keys=1), make_product(keys=2), make_product(keys=9)
    pay(empty, order="A1")
    pay(low, order="A2")
    pay(unsold, order="A3")
    pay(make_product(source=None), order="A4")
    pay(unsold, order="A5")
    fulfill_due()
    make_pool(0, name="Never filled")
    LicensePool.objects.update(threshold=1)
    Order.objects.exclude(number="A3").update(paid_at=Now())
    Order.objects.filter(number="A3").update(paid_at=Now() - timedelta(days=2))
    Order.objects.filter(number="A5").update(status="deleted")
    order = Order.objects.get(number="A2")
    order.other_items.create(product=unsold.sku, quantity=1, reference="X", total_price=1)
    down, _healthy, dealt_with = (
        make_service(make_product(source=None, sku=f"S{n}"), name=f"Service {n}") for n in range(3)
    )
    moment = timezone.now() - timedelta(hours=1)
    WebService.objects.filter(pk__in=[down.pk, dealt_with.pk]).update(failing_since=moment, paused_at=moment)
    DealtWith.objects.create(merchant=merchant, trouble="server", subject=dealt_with.pk, occurred_at=moment)
    submit(merchant, [], actor=merchant.members.get().user, products=[], pool_name="Lite")
    submit(merchant, [], actor=merchant.members.get().user, products=[], pool_name="Done")
    SetupRequest.objects.filter(pool_name="Done").update(status="answered")
    return merchant


def linked_lists(client, page):
    """For each number of the table of merchants: its text, and the number of rows that its link lists."""
    table = page.partition('<table class="rows health">')[2].partition("</table>")[0]
    links = re.findall(r'<td[^>]*>(?:<span class="badges">)?((?:<a .*?</a>)+)', table)
    found = {}
    for address, text in re.findall(r'<a href="([^"]+)">(.*?)</a>', "".join(links)):
        if listed := client.get(unescape(address)).context.get("cl"):
            found[strip_tags(text)] = listed.result_count
    return found


NUMBERS = {"3": 3, "1 order": 1, "Web services: 1 down": 1, "1 empty": 1, "1 low": 1}


def test_each_number_of_the_desk_links_to_exactly_what_it_counts(staff, troubled):
    assert linked_lists(staff, staff.get(DESK).text) == NUMBERS


def test_the_page_of_a_merchant_has_its_line_of_the_desk(staff, troubled):
    page = staff.get(reverse("admin:merchants_merchant_change", args=[troubled.pk])).text

    assert linked_lists(staff, page) == NUMBERS | {"1": 1}
    latest = Order.objects.order_by("-paid_at", "-pk")[0]
    assert reverse("admin:orders_order_change", args=[latest.pk]) in page


def test_a_merchant_without_problems_links_to_no_empty_list(staff, merchant):
    assert linked_lists(staff, staff.get(DESK).text) == {}


@pytest.mark.parametrize(
    ("permission", "labels"),
    [
        (None, []),
        ("view_order", ["Paid today", "Needs attention", "Last payment"]),
        ("view_webservice", ["Servers"]),
        ("view_licensepool", ["Stock"]),
        ("view_setuprequest", []),
    ],
)
def test_staff_see_only_numbers_of_what_they_may_see(helper, client, troubled, outsider, permission, labels):
    allow(helper, "view_merchant", permission)
    page = client.get(DESK)
    table = page.text.partition('<table class="rows health">')[2].partition("</table>")[0]

    assert re.findall(r"<th[^>]*>([^<]+)</th>", table) == ["Merchant", *labels]
    if not labels:  # nor does the order say who has problems
        assert [row.name for row in page.context["merchants"]] == sorted([troubled.name, outsider.name])
    assert {row.name for row in page.context["merchants"] if row.state != "healthy"} == (
        {troubled.name} if labels else set()
    )
    merchant_page = client.get(reverse("admin:merchants_merchant_change", args=[troubled.pk])).text
    summary = merchant_page.partition('<table class="rows health">')[2].partition("</table>")[0]
    expected = ["Open requests"] if permission == "view_setuprequest" else labels
    assert re.findall(r"<th[^>]*>([^<]+)</th>", summary) == expected


# Requests and status


def test_open_requests_are_listed_oldest_first(staff, merchant):
    owner = merchant.members.get().user
    for name in ("First", "Second"):
        wanted = submit(merchant, [], actor=owner, products=[{"sku": "A", "name": "A"}], pool_name=name)
        type(wanted).objects.filter(pk=wanted.pk).update(
            created_at=timezone.now() - timedelta(days=2 if name == "First" else 1)
        )
    page = staff.get(DESK).content.decode()

    assert page.index("First") < page.index("Second") and "2 days ago" in page
    assert reverse("admin:fulfillment_setuprequest_apply", args=[wanted.pk]) in page


def test_the_status_is_shown_with_links(staff):
    page = staff.get(DESK).content.decode()

    assert "System status" in page and "/admin/status/#finding-1" in page


@pytest.mark.parametrize("problems", [0, 2])
def test_problems_come_before_merchants_and_the_rest_is_one_line(staff, merchant, monkeypatch, problems):
    findings = [Finding(f"Bad {n}", "It fails.", "failed") for n in range(problems)] + [
        Finding(f"Good {n}", "It works.") for n in range(9)
    ]
    monkeypatch.setattr(desk, "check_recently", lambda: findings)

    page = staff.get(DESK).text

    line = f"{'Everything else works' if problems else 'Everything works'}: 9 checks"
    before, _, after = page.partition('id="merchants-title"')
    assert line in after and "Good 0" in after.partition("<details")[2] and "Good" not in before
    assert before.count("It fails.") == problems and ("System status" in before) == bool(problems)
    assert f"/admin/status/#finding-{problems + 9}" in after


def test_staff_see_only_what_they_may(helper, client, merchant):
    page = client.get(DESK)
    assert "merchants" not in page.context and "requests" not in page.context
    assert "Open requests" not in page.content.decode() and "/admin/orders/" not in page.content.decode()

    allow(helper, "view_merchant", "view_setuprequest")
    submit(merchant, [], actor=merchant.members.get().user, products=[], pool_name="Lite")
    page = client.get(DESK)
    assert merchant.name in page.content.decode() and "Lite" in page.content.decode()
    assert "/apply/" not in page.content.decode()  # needs the permission to change


def test_staff_without_permissions_cause_few_queries(helper, client, merchant):
    allow(helper, "view_merchant", "view_setuprequest", "view_order")
    client.get(DESK)
    with CaptureQueriesContext(connection) as queries:
        client.get(DESK)

    assert len(queries) <= MAX_QUERIES


# Search


@pytest.fixture
def stocked(make_product, pay, merchant, outsider, make_service):
    product = make_product(sku="PHOTO-PRO", name="Photo Pro", keys=5)
    pay(product, order="A0012345678")
    pay(product, order="B99", customer={"email": "bob@oneil.example", "first_name": "Bob"})
    fulfill_due()
    make_service(make_product(source=None), name="Photo generator")
    connect(merchant, "woocommerce", name="Photo shop")


def found(client, text):
    groups = client.post(SEARCH, {"search": text}, headers={"HX-Request": "true"}).context["found"]
    return {str(group.title): [str(hit.title) for hit in group.hits] for group in groups}


@pytest.mark.parametrize("text", ["A0012345678", "12345678", "ada@example.com", "byron"])
def test_one_hit_opens_at_once(staff, stocked, text):
    order = Order.objects.get(number="A0012345678")

    assert staff.post(SEARCH, {"search": text})["Location"] == f"/admin/orders/order/{order.pk}/change/"


def test_things_of_all_merchants_are_found_by_name(staff, stocked, outsider):
    outsider.products.create(name="Photo of others", sku="X")

    names = found(staff, "photo")

    assert names.keys() == {"Products", "Pools", "Sources", "Shops"}
    assert names["Products"] == ["Photo Pro", "Photo of others"]


def test_merchants_and_people_are_found(staff, merchant, make_member):
    member = make_member(Member.Role.SUPPORT, first_name="Cora")

    assert found(staff, merchant.name[:5])["Merchants"] == [merchant.name]
    assert found(staff, "cora")["People"] == [str(member.user)]
    assert found(staff, member.user.email)["People"] == [str(member.user)]


def test_codes_and_keys_are_found_by_their_text(staff, stocked):
    code = ActivationCode.objects.filter(item__order__number="B99").get()
    response = staff.post(SEARCH, {"search": code.code})
    groups = found(staff, code.code)

    assert groups["Orders with this code"] == ["B99"]
    assert code.code not in response.get("Location", "")


def test_secrets_are_found_only_in_full(staff, merchant):
    key, text = ApiKey.objects.create_key(merchant=merchant, name="Shop", scopes=["orders"])
    product = LicensingProduct.objects.create(merchant=merchant, name="Photo")
    create_licensee(product, actor="test", number="LICENSEE-7Q2M")

    assert found(staff, text)["API keys"] == found(staff, key.prefix)["API keys"] == ["Shop"]
    assert found(staff, "LICENSEE-7Q2M")["Licensees"] == ["••••7Q2M"]
    assert "Licensees" not in found(staff, "LICENSEE")


def test_an_incident_is_found_by_its_reference(staff):
    Incident.objects.create(reference="7F3A-21", error="ValueError", place="x.py:1")

    assert found(staff, "7f3a-21") == {"Incidents": ["7F3A-21"]}


def test_tables_are_found_by_their_name(staff):
    assert staff.post(SEARCH, {"search": "webhook endpoints"})["Location"] == "/admin/webhooks/webhookendpoint/"


def test_a_customers_orders_are_linked_without_the_address(staff, stocked, pay, merchant):
    pay(merchant.products.get(sku="PHOTO-PRO"), order="C1")
    page = staff.post(SEARCH, {"search": "ada@example.com"})
    customers = next(group for group in page.context["found"] if str(group.title) == "Customers")

    assert "ada" not in customers.hits[0].url
    listed = staff.get(customers.hits[0].url).context["cl"].result_list
    assert {order.number for order in listed} == {"A0012345678", "C1"}


def test_staff_find_only_what_they_may_see(helper, client, stocked, merchant):
    for text in ("A0012345678", "ada@example.com", "photo", merchant.name, "olga"):
        assert found(client, text) == {}

    allow(helper, "view_product")
    assert found(client, "photo") == {"Products": ["Photo Pro"]}


def test_members_cannot_search(client, merchant):
    client.force_login(merchant.members.get().user)

    assert client.post(SEARCH, {"search": "A1"}).status_code == 302


@pytest.mark.parametrize("text", ["", " ", "\0", "'", "%", "\\", "x" * 25_000, "“”", "😀", "kw_", "kw_test_"])
def test_no_text_breaks_it(staff, text):
    assert staff.post(SEARCH, {"search": text}).status_code == 200


@pytest.mark.parametrize("text", ["photo", "ada@example.com", "A00", "Byron Bob", "x" * 50])
def test_it_takes_few_queries(staff, stocked, text):
    staff.post(SEARCH, {"search": text})
    with CaptureQueriesContext(connection) as queries:
        staff.post(SEARCH, {"search": text})

    assert len(queries) <= 16


def count_queries(staff, page):
    staff.get(page)
    with CaptureQueriesContext(connection) as queries:
        text = staff.get(page).text
    assert len(queries) <= MAX_QUERIES
    return text


def test_the_page_of_a_merchant_reads_all_its_members_at_once(staff, merchant, make_member):
    members = [make_member(first_name=f"m{number}") for number in range(20)]
    text = count_queries(staff, reverse("admin:merchants_merchant_change", args=[merchant.pk]))

    assert all(f'<option value="{member.user.pk}" selected' in text for member in members)


def test_the_page_of_a_product_reads_all_its_pools_at_once(staff, make_product, make_pool):
    product = make_product(source=None)
    pools = [make_pool(name=f"Pool {number}") for number in range(15)]
    for position, pool in enumerate(pools):
        PoolMethod.objects.create(product=product, pool=pool, position=position)
    text = count_queries(staff, reverse("admin:merchants_product_change", args=[product.pk]))

    assert all(f'<option value="{pool.pk}" selected' in text for pool in pools)


def test_who_may_only_view_sees_what_a_row_has(helper, client, merchant, make_product, make_pool):
    product = make_product(pool=make_pool(name="Photo keys"))
    allow(helper, "view_merchant", "view_member", "view_product", "view_poolmethod")

    assert "Photo keys" in client.get(reverse("admin:merchants_product_change", args=[product.pk])).text
    owner = merchant.members.get().user
    assert owner.email in client.get(reverse("admin:merchants_merchant_change", args=[merchant.pk])).text
