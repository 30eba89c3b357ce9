"""A switch in the header shows test data instead of live data."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from fulfillment.sandbox import delete_test_data
from merchants.models import ApiKey, Member, Merchant
from merchants.sandbox import get_sandbox
from orders.models import ActivationCode, Order
from outbound.models import OutgoingRequest
from pools.imports import import_keys
from pools.models import LicensePool
from pools.sandbox import add_test_pools
from portal.tests.test_every_page import MAX_QUERIES
from webhooks.models import WebhookEndpoint

pytestmark = pytest.mark.django_db(transaction=True)

BAR = "You’re looking at test data."


@pytest.fixture
def manager(client, make_member):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def switch(manager):
    def switch(**fields):
        response = manager.post(reverse("show-test-data"), fields)
        assert response.status_code == 302
        return manager

    return switch


def text_of(client, *address, **arguments):
    response = client.get(*address, **arguments)
    assert response.status_code == 200
    return response.content.decode()


def make_endpoint(merchant, url):
    return WebhookEndpoint.objects.create(merchant=merchant, url=url, events=["order.paid"], secret="whsec_MfKQ9r8GK")


def test_the_switch_creates_the_sandbox_and_its_test_pools(switch, merchant, product):
    assert not Merchant.objects.exclude(live=None).exists()

    page = text_of(switch(test="on"), "/")

    assert BAR in page
    assert 'role="switch" aria-checked="true"' in page
    assert "generated" in page  # the test pool's codes
    assert merchant.sandbox.pools.get().live == LicensePool.objects.get(merchant=merchant)
    assert BAR not in text_of(switch(), "/")
    assert BAR in text_of(switch(test="on"), "/")
    assert Merchant.objects.exclude(live=None).count() == 1


def test_lists_show_either_live_or_test_data(switch, manager, pay, pay_as_test, make_product, merchant, sandbox):
    product = make_product(source="manual")
    pay(product, order="REAL-1")
    pay_as_test(product, order="TEST-1")
    make_endpoint(merchant, "https://live.example/")
    make_endpoint(sandbox, "https://test.example/")
    pages = {
        reverse("orders"): ("REAL-1", "TEST-1"),
        reverse("webhooks"): ("live.example", "test.example"),
        reverse("orders-export"): ("REAL-1", "TEST-1"),
    }

    for address, (live, test) in pages.items():
        response = manager.get(address)
        page = "".join(part.decode() for part in response)
        assert (live in page, test in page) == (True, False), address
    switch(test="on")
    for address, (live, test) in pages.items():
        page = "".join(part.decode() for part in manager.get(address))
        assert (live in page, test in page) == (False, True), address
    assert "test-orders-" in manager.get(reverse("orders-export"))["Content-Disposition"]


def test_search_finds_orders_of_the_kind_that_is_shown(switch, manager, pay, pay_as_test, product):
    pay(product, order="REAL-71")
    pay_as_test(product, order="TEST-52")

    def search(text):
        return manager.post(reverse("orders"), {"search": text})

    assert search("TEST-52").status_code == 200  # nothing found
    switch(test="on")
    assert "TEST-52" in search("TEST-52")["Location"]
    assert search("REAL-71").status_code == 200


def test_shared_pages_stay_the_same_and_keep_the_bar(switch, manager, merchant, product):
    switch(test="on")

    for name in ("products", "emails", "web-services", "licensing-accounts", "setup"):
        assert BAR in text_of(manager, reverse(name)), name
    assert product.name in text_of(manager, reverse("products"))
    assert product.name in text_of(manager, reverse("product", args=[product.pk]))
    assert BAR in text_of(manager, reverse("orders"))


def test_a_link_to_an_order_shows_the_kind_that_it_is(switch, manager, pay, pay_as_test, product):
    pay(product, order="REAL-1")
    pay_as_test(product, order="TEST-1")

    assert BAR in text_of(manager, reverse("order", args=["TEST-1"]))
    assert BAR in text_of(manager, reverse("orders"))
    assert BAR not in text_of(manager, reverse("order", args=["REAL-1"]))
    assert BAR not in text_of(manager, reverse("orders"))


def test_the_link_in_a_notice_opens_the_test_order_with_the_number_of_a_real_one(
    manager, pay, pay_as_test, product, merchant, sandbox
):
    pay(product, order="A-1")
    pay_as_test(product, order="A-1")
    address = reverse("order", args=["A-1"])

    assert "This is a test order" not in text_of(manager, address)
    assert "This is a test order" in text_of(manager, f"{address}?merchant={sandbox.slug}")
    assert "This is a test order" in text_of(manager, address)
    assert "This is a test order" not in text_of(manager, f"{address}?merchant={merchant.slug}")


def test_actions_on_a_test_order_stay_with_it(manager, pay, pay_as_test, product, sandbox):
    pay(product, order="A-1")
    pay_as_test(product, order="A-1")
    page = text_of(manager, reverse("order", args=["A-1"]) + f"?merchant={sandbox.slug}")
    code = ActivationCode.objects.get(item__order__merchant=sandbox)

    assert f"/codes/{code.pk}/reveal/?merchant={sandbox.slug}" in page
    revealed = manager.post(f"/orders/A-1/codes/{code.pk}/reveal/?merchant={sandbox.slug}")
    assert code.code in revealed.content.decode()


def test_an_action_on_a_deleted_test_order_never_reaches_the_real_one(
    manager, pay, pay_as_test, product, merchant, sandbox
):
    """Its page is still open."""
    pay(product, order="SAME")
    pay_as_test(product, order="SAME")
    assert delete_test_data(sandbox, timeout=5)
    address = f"/orders/SAME/address/?merchant={sandbox.slug}"

    assert manager.post(address, {"email": "other@example.com"}).status_code == 404
    assert merchant.orders.get().email == "ada@example.com"


def test_a_link_to_a_pool_or_an_endpoint_shows_the_kind_that_it_is(manager, product, sandbox):
    add_test_pools(sandbox)
    pool = LicensePool.objects.get(merchant=sandbox)
    endpoint = make_endpoint(sandbox, "https://test.example/")

    assert BAR in text_of(manager, reverse("pool", args=[pool.pk]))
    assert BAR not in text_of(manager, reverse("pool", args=[pool.live_id]))
    assert BAR in text_of(manager, reverse("webhook", args=[endpoint.pk]))


def test_another_merchants_test_data_is_a_404(manager, outsider, make_product):
    theirs = get_sandbox(outsider)
    make_product(merchant=outsider)
    add_test_pools(theirs)
    endpoint = make_endpoint(theirs, "https://test.example/")

    assert manager.get(reverse("pool", args=[theirs.pools.get().pk])).status_code == 404
    assert manager.get(reverse("webhook", args=[endpoint.pk])).status_code == 404
    assert BAR not in text_of(manager, f"/?merchant={theirs.slug}")


def test_a_member_of_two_merchants_switches_between_all_kinds(manager, merchant, outsider, sandbox):
    user = merchant.members.get(role=Member.Role.MANAGER).user
    Member.objects.create(merchant=outsider, user=user, role=Member.Role.SUPPORT)

    assert BAR in text_of(manager, f"/?merchant={sandbox.slug}")
    page = text_of(manager, f"/orders/?merchant={outsider.slug}")
    assert BAR not in page
    assert "Support of Outsider" in page


def test_support_members_see_test_orders_but_cant_delete_them(support, pay_as_test, product):
    pay_as_test(product, order="TEST-1")
    support.post(reverse("show-test-data"), {"test": "on"})

    page = text_of(support, reverse("orders"))
    assert "TEST-1" in page
    assert reverse("delete-test-data") not in page
    assert support.post(reverse("delete-test-data")).status_code == 403
    assert Order.objects.exists()


def test_a_manager_deletes_test_data_after_confirming(switch, manager, pay, pay_as_test, product):
    pay(product, order="REAL-1")
    pay_as_test(product, order="TEST-1")
    switch(test="on")

    assert "Delete all test data?" in text_of(manager, reverse("delete-test-data"))
    assert Order.objects.count() == 2
    response = manager.post(reverse("delete-test-data"), follow=True)
    assert "Test data deleted." in response.content.decode()
    assert list(Order.objects.values_list("number", flat=True)) == ["REAL-1"]


def test_test_keys_are_added_in_the_portal(switch, manager, merchant, product):
    switch(test="on")
    pool = merchant.sandbox.pools.get()
    address = reverse("pool-import", args=[pool.pk])
    response = manager.post(address, {"text": "T-1\nT-2"}, follow=True)
    assert response.status_code == 200
    manager.post(response.redirect_chain[-1][0] + "confirm/")

    assert pool.keys.count() == 2
    assert product.name in text_of(manager, reverse("pool", args=[pool.pk]))


def test_the_settings_of_a_test_pool_have_no_name_and_reserve(manager, product, sandbox):
    add_test_pools(sandbox)
    pool = sandbox.pools.get()

    page = text_of(manager, reverse("pool-settings", args=[pool.pk]))
    assert 'name="threshold"' in page
    assert 'name="name"' not in page
    manager.post(reverse("pool-settings", args=[pool.pk]), {"threshold": 5})
    pool.refresh_from_db()
    assert (pool.threshold, pool.name) == (5, pool.live.name)


def test_pages_of_test_data_run_few_queries(switch, manager, pay_as_test, make_product, merchant, sandbox, work):
    products = [make_product(source="manual"), *(make_product(keys=1) for _ in range(5))]
    add_test_pools(sandbox)
    for pool in sandbox.pools.all():
        import_keys(pool, [f"T-{pool.pk}-{number}" for number in range(3)], actor="Ada")
    for number in range(10):
        pay_as_test(*products, order=f"T-{number}")
    work()
    switch(test="on")
    pool = sandbox.pools.first()
    addresses = [
        "/",
        *(reverse(name) for name in ("orders", "attention", "webhooks", "reconciliation", "refused-reports")),
        *(reverse(name, args=[pool.pk]) for name in ("pool", "pool-keys", "pool-batches", "pool-ledger")),
    ]
    text_of(manager, "/")  # sales of days that are over are cached
    for address in addresses:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            text_of(manager, address)
        assert len(queries) <= MAX_QUERIES, address


def test_the_customers_page_of_a_test_order_says_so(client, pay, pay_as_test, product):
    test, live = pay_as_test(product)["order_url"], pay(product)["order_url"]
    banner = "This is a test order, and its licenses aren’t valid."

    for address, is_test in ((test, True), (live, False)):
        path = address.partition("/o/")[2]
        assert (banner in text_of(client, f"/o/{path}")) == is_test


def test_the_log_of_a_web_service_links_to_the_test_order(manager, pay, pay_as_test, product, merchant, sandbox):
    service = merchant.web_services.create(name="Gen", url="https://gen.example/", secret="whsec_")
    pay(product, order="A-1")
    pay_as_test(product, order="A-1")
    test = sandbox.orders.get()
    OutgoingRequest.objects.create(
        merchant=sandbox, upstream=service, item=test.items.get(), is_test=True, method="POST", url=service.url
    )

    [row] = service.outgoing_requests.all()
    assert f"/orders/id:{test.pk}/" in text_of(manager, reverse("web-service-request", args=[service.pk, row.pk]))
    assert "This is a test order" in text_of(manager, f"/orders/id:{test.pk}/?merchant={merchant.slug}")


# The admin


@pytest.fixture
def staff(admin_client):
    return admin_client


def test_the_admin_marks_test_orders_and_hides_sandboxes(staff, pay_as_test, product, merchant, sandbox):
    pay_as_test(product)
    order = Order.objects.get()

    assert "Northlight (test data)" in text_of(staff, "/admin/orders/order/")
    page = text_of(staff, f"/admin/orders/order/{order.pk}/change/")
    assert "This is a test order" in page
    assert f"/admin/merchants/merchant/{merchant.pk}/change/" in page
    assert sandbox.slug not in text_of(staff, "/admin/merchants/merchant/")


def test_staff_create_test_keys(staff, merchant):
    fields = {"merchant": merchant.pk, "name": "shop", "scopes": ["payments"], "test": "on"}
    page = staff.post("/admin/merchants/apikey/add/", fields).content.decode()

    key = ApiKey.objects.get()
    assert key.merchant == merchant.sandbox
    assert f"kw_test_{key.prefix}_" in page


def test_a_sandbox_is_renamed_with_its_merchant(staff, merchant, sandbox):
    fields = {"name": "Southlight", "slug": merchant.slug, "language": "en"}
    for prefix in ("checkout_pages", "members"):
        fields |= {f"{prefix}-TOTAL_FORMS": 0, f"{prefix}-INITIAL_FORMS": 0}
    assert staff.post(f"/admin/merchants/merchant/{merchant.pk}/change/", fields).status_code == 302

    sandbox.refresh_from_db()
    assert sandbox.name == "Southlight"


def test_a_form_of_the_other_data_changes_nothing(manager, merchant, sandbox, product, pay, pay_as_test):
    """Somebody switches in another window between the question and the answer."""
    pay(product, order="L1")
    pay_as_test(product, order="T1")
    Order.objects.update(held_until=timezone.now() + timedelta(days=1))
    question = text_of(manager, f"/attention/held/fix/?merchant={sandbox.slug}")
    hidden = dict(re.findall(r'type="hidden" name="(_merchant|seen)" value="([^"]+)"', question))
    assert hidden["_merchant"] == sandbox.slug
    text_of(manager, f"/?merchant={merchant.slug}")

    refused = manager.post("/attention/held/fix/", hidden)

    assert refused.status_code == 403 and "in another window, so nothing was changed" in refused.content.decode()
    assert Order.objects.exclude(held_until=None).count() == 2
