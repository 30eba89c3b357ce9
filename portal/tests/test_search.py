"""The search in every page's bar: what members find with a text, and what they don't."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from fulfillment.tests.factories import fulfill_due
from merchants.models import Member
from orders.models import ActivationCode
from pools.models import LicensePool
from portal.tests.test_every_page import MAX_QUERIES
from shops.connecting import connect

pytestmark = pytest.mark.django_db


@pytest.fixture
def stocked(make_product, pay, merchant, make_service):
    product = make_product(sku="PHOTO-PRO", name="Photo Pro", keys=5)
    pay(product, order="A0012345678")
    pay(product, order="B99", customer={"email": "bob@oneil.example", "first_name": "Bob"})
    fulfill_due()
    make_service(make_product(source=None), name="Photo generator")
    connect(merchant, "woocommerce", name="Photo shop")


@pytest.fixture
def search(client, merchant, make_member, stocked):
    def search(text, role=Member.Role.MANAGER, **headers):
        member = merchant.members.filter(role=role).first() or make_member(role)
        client.force_login(member.user)
        return client.post(reverse("search"), {"search": text}, headers=headers)

    return search


def found(response):
    """The titles of what a response shows, by their group."""
    return {str(group.title): [str(hit.title) for hit in group.hits] for group in response.context["found"]}


def test_its_page_has_the_navigation_of_all_pages(search, client):
    assert f'<a href="{reverse("pools")}"' in search("no such thing").text


@pytest.mark.parametrize("text", ["A0012345678", "12345678", "ada@example.com", "byron"])
def test_one_hit_opens_at_once(search, text):
    response = search(text, role=Member.Role.SUPPORT)

    assert response["Location"] == reverse("order", args=["A0012345678"])


def test_a_code_finds_its_order_and_never_gets_into_a_url(search):
    code = ActivationCode.objects.filter(item__order__number="B99").get()
    response = search(code.code, role=Member.Role.SUPPORT)

    assert response["Location"] == f"{reverse('order', args=['B99'])}?code={code.pk}#code-{code.pk}"


@pytest.mark.parametrize("typed", [str, str.lower, lambda code: code[-4:], lambda code: code[-8:]])
def test_a_code_opens_its_order_at_the_code(search, client, pay, make_product, typed):
    pay(make_product(keys=120), order="MANY", quantity=120)
    fulfill_due()
    code = ActivationCode.objects.get(item__order__number="MANY", unit=100)
    response = search(typed(code.code), role=Member.Role.SUPPORT)
    assert f'id="code-{code.pk}"' in client.get(response["Location"]).text

    other = ActivationCode.objects.filter(item__order__number="B99").get()
    page = client.get(f"{reverse('order', args=['MANY'])}?code={other.pk}").text
    assert '"More for code 1"' in page, "A code of another order changes nothing"


def test_a_key_in_stock_finds_its_pool(search):
    key = LicensePool.objects.get().keys.in_stock().first()
    response = search(key.code)

    assert found(search(key.code, HX_Request="true")) == {"Keys": [key.pool.name]}
    assert response["Location"] == key.pool.get_absolute_url()


def test_everything_with_a_name_is_found(search):
    names = found(search("photo"))

    assert names.keys() == {"Products", "Pools", "Sources", "Shops"}
    assert names["Sources"] == ["Photo generator"] and names["Shops"] == ["Photo shop"]


def test_pages_are_found_by_their_words(search):
    assert search("checkout pages", role=Member.Role.OWNER)["Location"] == reverse("checkout-pages")
    assert found(search("api keys", role=Member.Role.MANAGER)) == {}


def test_support_finds_no_stock(search):
    assert found(search("photo", role=Member.Role.SUPPORT)) == {}


def test_customers_are_listed_with_their_orders(search, pay, merchant):
    for number in range(8):
        pay(merchant.products.get(sku="PHOTO-PRO"), order=f"C{number}")
    response = search("ada@example.com")

    assert found(response)["Customers"] == ["ada@example.com"]
    assert found(response)["Orders"] == [f"C{number}" for number in range(7, 2, -1)]
    assert "All orders that were found" in response.content.decode()


def test_another_merchants_objects_are_not_found(search, outsider, client):
    client.force_login(outsider.members.get().user)
    for text in ("A0012345678", "ada@example.com", "photo", "PHOTO-PRO"):
        response = client.post(reverse("search"), {"search": text})
        assert found(response) == {}


def test_while_typing_only_the_hits_are_sent(search):
    response = search("photo", HX_Request="true")

    assert not response.content.decode().startswith("<!doctype")
    assert response["Cache-Control"].startswith("max-age=0")


@pytest.mark.parametrize("text", ["", " ", "\0", "'", "%", "\\", "x" * 25_000, "“”", "😀"])
def test_no_text_breaks_it(search, text):
    assert search(text).status_code == 200


@pytest.mark.parametrize("text", ["photo", "ada@example.com", "A00", "Byron Bob"])
def test_it_takes_few_queries(search, client, text):
    search(text)
    with CaptureQueriesContext(connection) as queries:
        client.post(reverse("search"), {"search": text})
    assert len(queries) <= MAX_QUERIES
