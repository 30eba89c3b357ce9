"""Owners manage checkout pages; only support staff decide whether a page allows delivery."""

from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from merchants.models import CheckoutPage, Member
from orders.checkout_pages import CheckoutPageRefused, add_checkout_page, change_checkout_page, remove_checkout_page

pytestmark = pytest.mark.django_db(transaction=True)

PAGES, ADD = reverse("checkout-pages"), reverse("checkout-page-add")


@pytest.fixture
def owner(client, merchant):
    """A client signed in as the owner."""
    client.force_login(merchant.members.get().user)
    return client


@pytest.fixture
def main(merchant):
    return merchant.checkout_pages.get()


def text_of(response):
    return unescape(response.content.decode())


def test_it_lists_the_pages_and_who_can_change_delivery(owner, main):
    CheckoutPage.objects.create(merchant=main.merchant, code="b2b", name="<B2B>", delivery_allowed=False)

    page = text_of(owner.get(PAGES))

    assert "<code>main</code>" in page and "</svg>allowed</span>" in page and "</svg>not allowed</span>" in page
    assert "Only support staff can change whether customers of a page get their codes by e-mail." in page
    assert b"<B2B>" not in owner.get(PAGES).content


def test_payments_from_a_new_page_are_accepted(owner, pay, product):
    owner.post(ADD, {"code": "b2b", "name": "Resellers"})

    assert pay(product, checkout_page="b2b")["status"] == "paid"
    assert "Checkout page “Resellers” added." in text_of(owner.get(PAGES))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("main", "Another checkout page has this code."),
        ("a b", "Enter a valid “slug”"),
        ("", "This field is required."),
    ],
)
def test_it_refuses_codes_that_are_used_or_not_valid(owner, merchant, code, error):
    assert error in text_of(owner.post(ADD, {"code": code, "name": "Again"}))
    assert merchant.checkout_pages.count() == 1


def test_of_two_pages_with_one_code_added_at_once_one_is_refused(merchant, in_threads):
    user = merchant.members.get().user

    def add(name):
        client = Client()
        client.force_login(user)
        return client.post(ADD, {"code": "b2b", "name": name}).status_code

    assert sorted(in_threads(add, "abcd", threads=4)) == [200, 200, 200, 302]


def test_owners_cannot_change_delivery(owner, main):
    CheckoutPage.objects.update(delivery_allowed=False)
    posted = {"code": "main", "name": "Main", "delivery_allowed": "on"}

    owner.post(reverse("checkout-page-change", args=[main.pk]), posted)

    main.refresh_from_db()
    assert (main.name, main.delivery_allowed) == ("Main", False)


def test_a_new_page_does_not_allow_what_support_staff_turned_off(owner, merchant, main):
    CheckoutPage.objects.update(delivery_allowed=False)

    owner.post(ADD, {"code": "other", "delivery_allowed": "on"})

    assert merchant.checkout_pages.get(code="other").delivery_allowed is False


def test_a_page_without_delivery_cannot_be_removed(owner, main):
    CheckoutPage.objects.update(delivery_allowed=False)

    response = owner.post(reverse("checkout-page-remove", args=[main.pk]), follow=True)

    assert "“main” doesn’t allow delivery, so only support staff can remove it." in text_of(response)
    assert CheckoutPage.objects.filter(pk=main.pk).exists()


def test_a_code_can_be_changed_until_there_are_orders(owner, main, pay, product):
    change = reverse("checkout-page-change", args=[main.pk])
    owner.post(change, {"code": "shop", "name": "Shop"})
    main.refresh_from_db()
    assert main.code == "shop"

    pay(product, checkout_page="shop")
    assert "Can’t be changed: orders from this page exist." in text_of(owner.get(change))
    owner.post(change, {"code": "other", "name": "My shop"})

    main.refresh_from_db()
    assert (main.code, main.name) == ("shop", "My shop")


def test_a_page_can_be_removed_until_there_are_orders(owner, main, pay, product):
    extra = CheckoutPage.objects.create(merchant=main.merchant, code="extra")
    pay(product)

    question = text_of(owner.get(reverse("checkout-page-remove", args=[extra.pk])))
    assert "Payments that report the code “extra” will be refused." in question
    owner.post(reverse("checkout-page-remove", args=[extra.pk]))
    refused = owner.post(reverse("checkout-page-remove", args=[main.pk]), follow=True)

    assert list(CheckoutPage.objects.all()) == [main]
    assert "“main” can’t be removed: orders from it exist." in text_of(refused)


def test_the_rules_hold_for_an_order_that_came_meanwhile(main, pay, product):
    stale = CheckoutPage.objects.get()
    pay(product)

    with pytest.raises(CheckoutPageRefused, match="can’t be changed"):
        change_checkout_page(stale, code="other", name="")
    with pytest.raises(CheckoutPageRefused, match="can’t be removed"):
        remove_checkout_page(stale)


def test_removing_and_adding_at_once_never_restores_delivery(merchant, main, in_threads):
    """An owner must not get rid of a page without delivery, however requests overlap."""
    CheckoutPage.objects.update(delivery_allowed=False)

    def act(code):
        try:
            return add_checkout_page(merchant, code=code, name="") if code else remove_checkout_page(main)
        except CheckoutPageRefused:
            return None

    in_threads(act, ["", "a", "", "b", "", "c"], threads=4)

    assert set(merchant.checkout_pages.values_list("code", "delivery_allowed")) == {
        (code, False) for code in ("main", "a", "b", "c")
    }


@pytest.mark.parametrize("role", [Member.Role.MANAGER, Member.Role.SUPPORT])
def test_others_cannot_use_the_pages(client, make_member, main, role):
    client.force_login(make_member(role).user)
    pages = [PAGES, ADD, *(reverse(f"checkout-page-{name}", args=[main.pk]) for name in ("change", "remove"))]

    assert {client.get(page).status_code for page in pages} == {403}
    assert {client.post(page, {"code": "x"}).status_code for page in pages} == {403}


def test_another_merchants_page_is_not_found(outsider, main):
    charlie = Client()
    charlie.force_login(outsider.members.get().user)

    for name in ("checkout-page-change", "checkout-page-remove"):
        assert charlie.get(reverse(name, args=[main.pk])).status_code == 404
        assert charlie.post(reverse(name, args=[main.pk]), {"code": "x"}).status_code == 404
    main.refresh_from_db()
    assert main.code == "main"
