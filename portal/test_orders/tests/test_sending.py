"""Owners and managers send a test order from the portal; it is reported as a shop would report it."""

import re

import pytest
from django.core import mail
from django.core.cache import cache
from django.urls import reverse

from merchants.models import Member, Merchant
from orders.models import Order
from pools.models import LicenseKey
from portal.test_orders import views

pytestmark = pytest.mark.django_db

FORM = reverse("test-order")


@pytest.fixture(autouse=True)
def no_earlier_requests(db):
    cache.clear()  # it counts test orders, and its table isn't emptied between tests


@pytest.fixture
def manager(make_member):
    return make_member(Member.Role.MANAGER, first_name="Max")


@pytest.fixture
def page(client, manager):
    client.force_login(manager.user)
    return client


@pytest.fixture
def send(page, merchant, manager):
    def send(product, **fields):
        given = {"product": product.pk, "quantity": 1, "recipient": manager.pk, "language": "en"}
        given["checkout_page"] = merchant.checkout_pages.get(code="main").pk
        return page.post(FORM, given | fields)

    return send


def text_of(response):
    return response.content.decode()


def test_it_goes_all_the_way_without_touching_stock(send, product, merchant, manager, work):
    response = send(product, quantity=2, language="de")

    order = Order.objects.get()
    assert response["Location"] == f"/test-order/{order.number}/?merchant={merchant.slug}"
    assert re.fullmatch(r"TEST-\d{10}", order.number)
    assert order.merchant == merchant.sandbox
    assert (order.reported_by, order.email, order.language) == (str(manager.user), manager.user.email, "de")
    assert (order.first_name, order.items.get().quantity, order.total()) == ("Max", 2, 20)
    work()
    assert mail.outbox[0].to == [manager.user.email]
    assert LicenseKey.objects.issued().count() == 0


def test_each_is_a_new_order(send, product):
    send(product)
    send(product)

    assert Order.objects.count() == 2


def test_it_stays_a_test_order_whatever_data_is_shown(page, send, product, merchant):
    page.post(reverse("show-test-data"), {"test": "on"})
    send(product)

    assert Order.objects.get().merchant == merchant.sandbox


def test_the_form_offers_what_the_member_likely_wants(page, product, make_product, merchant, manager):
    other = make_product(name="Other")
    merchant.checkout_pages.create(code="a-first")

    form = page.get(f"{FORM}?product={other.pk}").context["form"]
    assert form["recipient"].value() == manager.pk
    assert form["checkout_page"].value() == merchant.checkout_pages.get(code="main").pk
    assert f'<option value="{other.pk}" selected>' in str(form["product"])


def test_an_unknown_product_in_the_link_is_ignored(page, product):
    for wanted in ("", "x", "\0", "9" * 40):
        assert page.get(FORM, {"product": wanted}).status_code == 200


def test_the_recipient_is_one_of_the_members(send, make_member, product, outsider):
    support = make_member(first_name="Cora")
    inactive = make_member(first_name="Ida")
    inactive.user.is_active = False
    inactive.user.save()

    assert send(product, recipient=support.pk).status_code == 302
    assert Order.objects.get().email == support.user.email
    for other in (inactive, outsider.members.get()):
        response = send(product, recipient=other.pk)
        assert response.context["form"].errors.keys() == {"recipient"}
    assert Order.objects.count() == 1


def test_it_belongs_to_the_merchant(send, make_product, product, outsider):
    theirs = make_product(merchant=outsider)

    assert send(theirs).context["form"].errors.keys() == {"product"}
    foreign = outsider.checkout_pages.get()
    assert send(product, checkout_page=foreign.pk).context["form"].errors.keys() == {"checkout_page"}
    assert not Order.objects.exists()


@pytest.mark.parametrize("quantity", ["0", "-1", "11", "1.5", "many", ""])
def test_the_quantity_is_small(send, product, quantity):
    assert send(product, quantity=quantity).context["form"].errors.keys() == {"quantity"}
    assert not Order.objects.exists()


def test_a_merchant_without_products_is_sent_to_add_one(page):
    response = page.get(FORM)

    assert reverse("product-add") in text_of(response)
    assert "Send test order</button>" not in text_of(response)
    assert page.post(FORM, {}).status_code == 200


def test_a_merchant_without_checkout_pages_learns_what_is_missing(page, merchant, product):
    merchant.checkout_pages.all().delete()

    assert "No checkout pages yet" in text_of(page.get(FORM))


def test_a_product_without_a_source_is_refused_with_a_link_to_it(send, make_product):
    product = make_product(source="", name='<b>"Bold"</b>')

    page = text_of(send(product))
    assert f"<a href='{product.get_absolute_url()}'>Add a source</a>" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert not Order.objects.exists()


def test_a_source_for_all_products_is_enough(send, make_product, merchant):
    product = make_product(source="")
    merchant.web_services.create(name="Gen", url="https://gen.example/", secret="whsec_", for_all_products=True)

    assert send(product).status_code == 302


def test_a_merchant_sends_a_limited_number_per_hour(send, page, product, merchant, monkeypatch):
    monkeypatch.setattr(views, "LIMIT", {"send": "2/h/key"})
    send(product)
    send(product)

    refused = text_of(send(product))
    assert "test orders within an hour" in refused
    assert Order.objects.count() == 2


def test_the_limit_is_that_of_one_merchant(send, product, monkeypatch, client, outsider, make_product):
    monkeypatch.setattr(views, "LIMIT", {"send": "1/h/key"})
    send(product)
    owner, theirs = outsider.members.get(), make_product(merchant=outsider)
    client.force_login(owner.user)

    form = {"product": theirs.pk, "quantity": 1, "recipient": owner.pk, "language": "en"}
    assert client.post(FORM, form | {"checkout_page": outsider.checkout_pages.get().pk}).status_code == 302


def test_an_invalid_form_doesnt_count(send, product, monkeypatch):
    monkeypatch.setattr(views, "LIMIT", {"send": "1/h/key"})
    send(product, quantity=0)

    assert send(product).status_code == 302


def test_support_members_cant_send_test_orders(support, product):
    assert support.get(FORM).status_code == 403
    assert support.post(FORM, {}).status_code == 403
    assert not Merchant.objects.exclude(live=None).exists()
    assert FORM not in text_of(support.get(reverse("orders")))


def test_empty_lists_and_products_lead_to_it(page, merchant, product):
    assert FORM in text_of(page.get(reverse("orders")))
    assert FORM in text_of(page.get(reverse("products")))
    assert f"{FORM}?product={product.pk}" in text_of(page.get(product.get_absolute_url()))
