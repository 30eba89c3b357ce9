"""A new merchant's home page lists first steps, checked off by what is in the database."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from api.tests.factories import place
from merchants.models import ApiKey, Member, Merchant, Product
from orders.models import Order
from pools.tests.factories import stock
from portal.tests.test_every_page import MAX_QUERIES
from shops.connecting import connect

pytestmark = pytest.mark.django_db(transaction=True)

TITLES = ["Add a product", "Add license keys", "Create an API key", "Send a test order", "Go live"]


@pytest.fixture
def owner(client, merchant):
    """A client signed in as the owner."""
    client.force_login(merchant.members.get(role="owner").user)
    return client


@pytest.fixture
def manager(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def steps_of(client):
    """The HTML of each step."""
    page = unescape(client.get("/").content.decode())
    found = re.search(r'<ol class="steps">(.*?)</ol>', page, re.DOTALL)
    return re.findall(r"<li.*?</li>", found[1], re.DOTALL) if found else []


def titles(steps):
    return [next(title for title in TITLES if title in step) for step in steps]


def done_titles(client):
    return titles(step for step in steps_of(client) if 'class="done"' in step)


def buttons(client):
    return re.findall(r'<a class="button primary" href="([^"]+)"', "".join(steps_of(client)))


def make_key(merchant, **fields):
    return ApiKey.objects.create_key(merchant=merchant, name="shop", scopes=["payments"], **fields)[0]


def make_sandbox(merchant):
    return Merchant.objects.create(name=merchant.name, slug="northlight-test", live=merchant)


def move_orders(merchant):
    Order.objects.update(merchant=merchant)


def test_a_new_merchant_starts_with_a_product(owner):
    assert titles(steps_of(owner)) == TITLES
    assert done_titles(owner) == []
    assert buttons(owner) == [reverse("product-add")]


def test_each_step_is_checked_off_by_evidence_and_the_next_one_follows(
    owner, merchant, make_pool, make_payment, make_product
):
    Product.objects.create(merchant=merchant, sku="PRO", name="Pro")
    assert (done_titles(owner), buttons(owner)) == (TITLES[:1], [reverse("pools")])

    stock(make_pool(name="Pro"), 1)
    assert (done_titles(owner), buttons(owner)) == (TITLES[:2], [reverse("api-key-add")])

    make_key(merchant)
    assert (done_titles(owner), buttons(owner)) == (TITLES[:3], [reverse("test-order")])

    place(merchant, make_payment(make_product()))
    move_orders(make_sandbox(merchant))
    assert (done_titles(owner), buttons(owner)) == (TITLES[:4], [reverse("shop-kinds")])

    move_orders(merchant)
    assert steps_of(owner) == []


def test_steps_can_be_done_in_any_order(owner, merchant):
    make_key(merchant)

    assert (done_titles(owner), buttons(owner)) == (["Create an API key"], [reverse("product-add")])


def test_an_empty_pool_is_no_evidence_of_keys(owner, make_product):
    make_product(keys=0)

    assert done_titles(owner) == ["Add a product"]


@pytest.mark.parametrize("kind", ["manual", "web service for all products"])
def test_another_source_replaces_keys(owner, merchant, make_product, kind):
    make_product(source="manual" if kind == "manual" else None)
    if kind != "manual":
        merchant.web_services.create(name="Gen", url="https://shop.example/", secret="x", for_all_products=True)

    assert done_titles(owner) == ["Add a product", "Add license keys"]


@pytest.mark.parametrize("field", ["revoked_at", "expires_at"])
def test_a_key_that_no_longer_works_is_no_evidence(owner, merchant, field):
    make_key(merchant, **{field: timezone.now()})

    assert done_titles(owner) == []


def test_a_connected_shop_needs_no_key(owner, merchant):
    connect(merchant, "stripe")

    assert done_titles(owner) == ["Create an API key"]


def test_an_unpaid_order_is_not_live(owner, pay, make_product):
    pay(make_product())
    Order.objects.update(status="unpaid", paid_at=None)

    assert "Go live" in titles(steps_of(owner))


def test_a_refunded_order_was_live(owner, pay, make_product):
    pay(make_product())
    Order.objects.update(status="deleted")

    assert steps_of(owner) == []


def test_a_manager_sees_who_can_create_the_key(manager, make_product):
    make_product(keys=1)

    (step,) = [step for step in steps_of(manager) if "Create an API key" in step]
    assert "An owner can do this." in step
    assert "href" not in step
    assert buttons(manager) == []


def test_nothing_of_another_merchant_counts(owner, outsider, make_product, make_pool, pay):
    make_product(merchant=outsider)
    make_key(outsider)
    pay(make_product())
    Product.objects.exclude(merchant=outsider).update(merchant=outsider)
    stock(make_pool(merchant=outsider), 1)
    merchant = Merchant.objects.get(slug="northlight")
    merchant.pools.update(merchant=outsider)
    merchant.api_keys.update(merchant=outsider)
    move_orders(make_sandbox(outsider))

    assert titles(steps_of(owner)) == TITLES and done_titles(owner) == []


def test_they_can_be_hidden_for_all_members(manager, merchant):
    assert manager.post(reverse("first-steps-hide"))["Location"] == "/"

    assert steps_of(manager) == []
    owner = Client()
    owner.force_login(merchant.members.get(role="owner").user)
    assert steps_of(owner) == []


def test_test_data_has_no_first_steps(owner, merchant):
    sandbox = make_sandbox(merchant)
    Member.objects.create(merchant=sandbox, user=merchant.members.get(role="owner").user, role="owner")

    assert 'class="steps"' not in owner.get(f"/?merchant={sandbox.slug}").content.decode()


@pytest.mark.parametrize("source", ["pool", None])
def test_the_page_of_a_new_merchant_runs_few_queries(owner, make_product, source):
    make_product(keys=0, source=source)
    owner.get("/")
    with CaptureQueriesContext(connection) as queries:
        assert steps_of(owner)

    assert len(queries) <= MAX_QUERIES


def test_a_live_merchant_pays_for_no_query_more(owner, merchant, pay, make_product):
    pay(make_product())
    assert merchant.first_steps_hidden_at is None

    with CaptureQueriesContext(connection) as queries:
        assert steps_of(owner) == []

    assert not [query for query in queries if 'AS "test_order"' in query["sql"]]


def test_the_sample_command_leads_through_its_own_steps(owner):
    page = unescape(owner.get(reverse("orders")).content.decode())

    assert f'<a href="{reverse("api-key-add")}">Create one</a>' in page
    assert f'<a href="{reverse("product-add")}">Add one</a>' in page


def test_the_dashboard_warns_of_a_key_that_expires_soon(owner, merchant):
    make_key(merchant, expires_at=timezone.now() + timedelta(days=3), last_used_at=timezone.now())

    assert "1 API key in use expires soon" in unescape(owner.get("/").content.decode())
