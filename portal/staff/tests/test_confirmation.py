"""Staff see what a change or an action does, in numbers, before it is done."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from fulfillment.setup import submit
from fulfillment.tests.factories import fulfill_due
from licensing.creation import create_license, create_licensee
from licensing.models import LicenseTemplate, LicensingProduct, ProductModule, Token, VendorLogin
from merchants.models import ApiKey, Member, User
from notices.models import MerchantNotice
from orders.models import Order
from pools.models import LicenseKey
from pools.tests.factories import stock
from portal.staff import consequences as staff_consequences
from portal.staff.large_tables import FirstRows

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


def make_api_key(merchant):
    return ApiKey.objects.create_key(merchant=merchant, name="Shop", scopes=["orders"])[0]


def make_login(merchant):
    return VendorLogin.objects.create_login(merchant, "shop")[0]


def read_form(html, form_id):
    """What a browser would send for a form without changes."""
    (form,) = re.findall(rf'<form[^>]*id="{form_id}".*?</form>', html, re.DOTALL)
    posted = {}
    for tag in re.findall(r"<input[^>]*>", form):
        attributes = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
        is_off = attributes.get("type") in {"checkbox", "radio"} and not re.search(r"\bchecked\b", tag)
        if "name" in attributes and not is_off and attributes.get("type") != "submit":
            is_box = attributes.get("type") in {"checkbox", "radio"}
            posted[attributes["name"]] = attributes.get("value", "on" if is_box else "")
    for name, options in re.findall(r'<select[^>]*\sname="([^"]+)".*?>(.*?)</select>', form, re.DOTALL):
        if chosen := re.search(r'value="([^"]*)" selected', options):
            posted[name] = chosen[1]
    for name, text in re.findall(r'<textarea[^>]*name="([^"]+)"[^>]*>\r?\n?(.*?)</textarea>', form, re.DOTALL):
        posted[name] = unescape(text)
    return posted


def consequences(response):
    assert response.status_code == 200 and response.context, response
    if "adminform" in response.context:
        formsets = response.context["inline_admin_formsets"]
        raise AssertionError((response.context["errors"], [formset.formset.errors for formset in formsets]))
    return response.context["consequences"]


def confirm(staff, response):
    """Press the button of the page that asks."""
    assert response.templates[0].name == "admin/confirmation.html"
    posted: dict[str, list[str]] = {}
    for name, value in response.context["fields"]:
        posted.setdefault(name, []).append(value)
    return staff.post(response.wsgi_request.get_full_path(), posted)


def change(staff, row, **changes):
    options = row._meta
    address = reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[row.pk])
    posted = read_form(staff.get(address).content.decode(), f"{options.model_name}_form")
    for name, value in changes.items():
        if value is None:
            del posted[name]
        else:
            posted[name] = value
    return staff.post(address, posted)


def revoke(staff, row):
    return staff.get(reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_revoke", args=[row.pk]))


def act(staff, model, action, *rows):
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return staff.post(address, {"action": action, "index": "0", "_selected_action": [row.pk for row in rows]})


def test_forbidding_delivery_names_the_orders_that_wait(staff, merchant, pay, make_product):
    pay(make_product(keys=2), order="A1")
    pay(make_product(keys=0), order="A2")
    fulfill_due()
    page = merchant.checkout_pages.get()
    Delivery.objects.update(status="queued")

    response = change(staff, merchant, **{"checkout_pages-0-delivery_allowed": None})

    text = " ".join(consequences(response))
    assert "2 paid orders" in text and "1 queued e-mail is canceled" in text and "1 order that waits" in text
    page.refresh_from_db()
    assert page.delivery_allowed

    assert confirm(staff, response).status_code == 302
    page.refresh_from_db()
    assert not page.delivery_allowed


def test_a_change_without_consequences_is_saved_at_once(staff, merchant):
    assert change(staff, merchant, name="Northlight Software").status_code == 302

    merchant.refresh_from_db()
    assert merchant.name == "Northlight Software"


def test_allowing_delivery_is_saved_at_once(staff, merchant):
    merchant.checkout_pages.update(delivery_allowed=False)

    assert change(staff, merchant, **{"checkout_pages-0-delivery_allowed": "on"}).status_code == 302
    assert merchant.checkout_pages.get().delivery_allowed


def test_removing_the_last_owner_says_so(staff, merchant, make_member):
    member = merchant.members.get()

    response = change(staff, merchant, **{"members-0-DELETE": "on"})

    assert consequences(response) == [
        f"{member.user} loses access to {merchant}.",
        f"{merchant} has no owner left.",
    ]
    confirm(staff, response)
    assert not merchant.members.exists()


def test_a_new_role_is_confirmed(staff, merchant, make_member):
    manager = make_member(Member.Role.MANAGER)

    response = change(staff, merchant, **{"members-1-role": "owner"})

    assert consequences(response) == [f"{manager.user} becomes Owner of {merchant}."]


def test_requiring_a_second_factor_counts_who_has_none(staff, merchant, make_member):
    make_member(Member.Role.MANAGER)

    response = change(staff, merchant, second_factor_required="on")

    assert "2 members have none" in " ".join(consequences(response))


def test_a_new_slug_breaks_links(staff, merchant):
    assert "/lost/northlight/" in " ".join(consequences(change(staff, merchant, slug="other")))


def test_revoking_a_key_says_how_it_is_used(staff, merchant, pay, make_product):
    key, _ = ApiKey.objects.create_key(
        merchant=merchant, name="Shop", scopes=["orders"], last_used_at=timezone.now() - timedelta(hours=3)
    )
    pay(make_product(keys=1), order="A1")
    Order.objects.update(reported_by=str(key))

    response = revoke(staff, key)

    text = " ".join(consequences(response))
    assert "last used 3 hours ago" in text and "reported 1 order in the last 30 days" in text
    key.refresh_from_db()
    assert key.revoked_at is None
    confirm(staff, response)
    key.refresh_from_db()
    assert key.revoked_at and key.revoked_by == "stella@keywell.example"
    assert list(MerchantNotice.objects.values_list("kind", flat=True)) == ["api_key_revoked"]
    assert "Revoked." in staff.get(reverse("admin:merchants_apikey_history", args=[key.pk])).text
    assert revoke(staff, key).status_code == 302


def test_the_orders_of_a_key_are_counted_in_every_language(staff, merchant, pay, make_product):
    key = make_api_key(merchant)
    pay(make_product(keys=1), order="A1")
    Order.objects.update(reported_by=str(key))
    User.objects.update(language="de")

    text = " ".join(consequences(revoke(staff, key)))

    assert "API-Schlüssel" in str(staff.get(reverse("admin:merchants_apikey_change", args=[key.pk])).text)
    assert "1 Bestellung" in text


@pytest.mark.parametrize("make_key", [make_api_key, make_login])
def test_a_key_in_use_is_revoked_by_one_answer(staff, merchant, make_key):
    key = make_key(merchant)
    response = revoke(staff, key)
    type(key).objects.update(last_used_at=timezone.now())

    confirm(staff, response)

    key.refresh_from_db()
    assert key.revoked_at


@pytest.mark.parametrize("make_key", [make_api_key, make_login])
def test_keys_are_revoked_by_a_button_and_not_by_a_date(staff, client, merchant, make_key):
    key = make_key(merchant)
    address = reverse(f"admin:{key._meta.app_label}_{key._meta.model_name}_change", args=[key.pk])
    button, field = f"{address.removesuffix('change/')}revoke/", 'name="revoked_at'

    page = staff.get(address).text
    assert button in page and field not in page
    client.post(address, {"name": key, "revoked_at_0": "2026-11-30", "revoked_at_1": "10:00:00"})
    key.refresh_from_db()
    assert key.revoked_at is None

    confirm(staff, revoke(staff, key))
    page = staff.get(address).text
    assert button not in page and field not in page


@pytest.mark.parametrize("make_key", [make_api_key, make_login])
def test_only_who_may_change_a_key_may_revoke_it(client, merchant, make_key):
    key = make_key(merchant)
    user = User.objects.create_user("helper@keywell.example", "correct horse", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename=f"view_{key._meta.model_name}"))
    client.force_login(user)
    address = reverse(f"admin:{key._meta.app_label}_{key._meta.model_name}_change", args=[key.pk])

    assert "/revoke/" not in client.get(address).text
    assert revoke(client, key).status_code == 403
    assert client.post(address.replace("change", "revoke"), {"_confirmed": "yes"}).status_code == 403


def test_limiting_a_keys_addresses_is_confirmed(staff, merchant):
    key, _ = ApiKey.objects.create_key(merchant=merchant, name="Shop", scopes=["orders"])

    assert "10.0.0.0/8" in " ".join(consequences(change(staff, key, allowed_networks="10.0.0.0/8")))


def test_withdrawing_keys_counts_those_in_stock(staff, make_pool, merchant, make_product, pay):
    pool = make_pool(5)
    pay(make_product(pool=pool), order="A1")
    keys = [*LicenseKey.objects.issued(), *LicenseKey.objects.available()[:2]]

    response = act(staff, LicenseKey, "withdraw", *keys)

    text = " ".join(consequences(response))
    assert "2 keys will never be issued" in text and "1 other key was issued" in text
    assert f"“{pool}” of {merchant} has 4 available keys now" in text
    assert not LicenseKey.objects.withdrawn().exists()
    confirm(staff, response)
    assert LicenseKey.objects.withdrawn().count() == 2


def test_withdrawing_a_batch_counts_its_keys(staff, make_pool):
    pool = make_pool(5)
    batch = pool.batches.get()

    response = act(staff, type(batch), "withdraw_rest", batch)

    assert "5 keys will never be issued" in " ".join(consequences(response))
    confirm(staff, response)
    assert pool.keys.withdrawn().count() == 5


def test_a_larger_reserve_holds_keys_back(staff, make_pool):
    pool = make_pool(5)

    response = change(staff, pool, reserve="2")

    assert consequences(response) == ["Up to 2 more keys are held back. Only people can issue them."]
    assert not pool.keys.reserved().exists()
    confirm(staff, response)
    assert pool.keys.reserved().count() == 2


def test_retrying_counts_the_items(staff, pay, make_product):
    pay(make_product(source=None))

    response = act(staff, Fulfillment, "try_again", Fulfillment.objects.get())

    assert consequences(response) == ["1 item is tried immediately. No customer gets a second code."]


def test_applying_a_request_says_what_is_created(staff, merchant, make_product):
    make_product(sku="PRO", name="Pro")
    wanted = submit(
        merchant,
        [b"A-1\nA-2\n"],
        actor=merchant.members.get().user,
        products=[{"sku": "PRO", "name": "Pro"}, {"sku": "NEW", "name": "New"}],
        pool_name="Fresh",
    )
    address = reverse("admin:fulfillment_setuprequest_apply", args=[wanted.pk])

    response = staff.get(address)

    text = " ".join(consequences(response))
    assert "1 product is created" in text and "1 product that exists" in text
    assert "The pool “Fresh” is created" in text and "Up to 2 keys" in text
    wanted.refresh_from_db()
    assert wanted.status == "open"
    confirm(staff, response)
    wanted.refresh_from_db()
    assert wanted.status == "applied"
    assert staff.get(address).status_code == 302  # it is closed


def test_deactivating_a_user_names_their_merchants(staff, merchant):
    user = merchant.members.get().user

    response = change(staff, user, is_active=None)

    assert consequences(response) == [f"{user} can no longer sign in.", f"Member of: {merchant}."]
    user.refresh_from_db()
    assert user.is_active


def test_removing_a_source_counts_what_waits(staff, pay, make_product):
    product = make_product(keys=0)
    pay(product, order="A1")
    fulfill_due()

    method = product.fulfillment_methods.get()
    page = staff.get(reverse("admin:merchants_product_change", args=[product.pk])).content.decode()
    (prefix,) = re.findall(rf'name="([\w-]+?)-fulfillmentmethod_ptr" value="{method.pk}"', page)
    response = change(staff, product, **{f"{prefix}-DELETE": "on"})

    assert "1 item of it waits" in " ".join(consequences(response))
    assert product.fulfillment_methods.exists()


def test_another_server_is_confirmed(staff, make_service, make_product):
    service = make_service(make_product(source=None))

    response = change(staff, service, url="https://93.184.216.35/other")

    assert "new address" in " ".join(consequences(response))
    service.refresh_from_db()
    assert "other" not in service.url


@pytest.fixture
def licensee(merchant):
    product = LicensingProduct.objects.create(merchant=merchant, name="Photo")
    module = ProductModule.objects.create(
        product=product, licensing_model="Subscription", merchant=merchant, name="Pro"
    )
    template = LicenseTemplate.objects.create(module=module, license_type="FEATURE", merchant=merchant, name="Pro")
    licensee = create_licensee(product, actor="test", number="LICENSEE-7Q2M")
    create_license(licensee, template, actor="test")
    return licensee


def test_deactivating_licensing_counts_the_licensees(staff, licensee):
    template = LicenseTemplate.objects.get()
    for row in (licensee.product, template.module, template):
        assert "1 licensee uses it." in consequences(change(staff, row, active=None))
    assert "1 active license." in " ".join(consequences(change(staff, licensee, active=None)))
    assert "stops getting" in " ".join(consequences(change(staff, licensee.licenses.get(), active=None)))
    assert LicensingProduct.objects.get().active and licensee.licenses.get().active


def test_ending_access_to_licensing_is_confirmed(staff, merchant):
    login, _ = VendorLogin.objects.create_login(merchant, "shop")
    token = Token.objects.create(merchant=merchant, token_type="APIKEY", api_key_role="ROLE_APIKEY_ADMIN")

    assert "shop loses access" in " ".join(consequences(revoke(staff, login)))
    assert "loses access" in " ".join(consequences(change(staff, token, active=None)))
    assert not VendorLogin.objects.filter(revoked_at__isnull=False).exists()


def test_what_prevents_a_deletion_is_counted(staff, merchant, pay, make_product):
    pay(make_product(keys=1), order="A1")

    page = staff.get(reverse("admin:merchants_merchant_delete", args=[merchant.pk])).content.decode()

    assert "Orders: 1" in page and "License pools: 1" in page and "Order A1" not in page


def test_a_deletion_says_what_goes_with_it(staff, merchant, make_product):
    product = make_product(keys=1)

    page = staff.get(reverse("admin:merchants_product_delete", args=[product.pk]))

    assert "You can’t undo this" in page.content.decode()
    assert product.fulfillment_methods.exists()
    staff.post(reverse("admin:merchants_product_delete", args=[product.pk]), {"post": "yes"})
    assert not merchant.products.exists()


def test_an_answer_without_permission_changes_nothing(client, merchant):
    user = User.objects.create_user("helper@keywell.example", "correct horse", is_staff=True)
    client.force_login(user)
    wanted = submit(merchant, [], actor=merchant.members.get().user, products=[], pool_name="Lite")
    address = reverse("admin:fulfillment_setuprequest_apply", args=[wanted.pk])

    assert client.get(address).status_code == 403
    assert client.post(address, {"_confirmed": "yes"}).status_code == 403


def test_a_shop_that_goes_on_selling_doesnt_make_it_ask_again(staff, merchant, pay, make_product):
    product = make_product(keys=9)
    pay(product)
    pay(product)
    asked = change(staff, merchant, **{"checkout_pages-0-delivery_allowed": None})
    assert "2 paid orders" in " ".join(consequences(asked))
    pay(product)

    confirm(staff, asked)
    assert not merchant.checkout_pages.get().delivery_allowed


def test_what_changed_since_the_question_is_asked_again(staff, make_pool):
    pool = make_pool(3)
    address = f"{reverse('admin:pools_licensekey_changelist')}?pool__id__exact={pool.pk}"
    data = {"action": "withdraw", "select_across": "1", "_selected_action": [pool.keys.first().pk]}
    asked = staff.post(address, data)
    stock(pool, 5)

    again = confirm(staff, asked)

    assert again.context["consequences"] != asked.context["consequences"]
    assert not pool.keys.withdrawn().exists()


def test_an_action_on_all_rows_affects_only_the_rows_that_the_list_counts(staff, make_pool, monkeypatch):
    monkeypatch.setattr(FirstRows, "MAX_ROWS", 30)
    pool = make_pool(40)
    address = f"{reverse('admin:pools_licensekey_changelist')}?pool__id__exact={pool.pk}"
    assert "Select all 30" in staff.get(address).text

    data = {"action": "withdraw", "select_across": "1", "_selected_action": [pool.keys.first().pk]}
    asked = staff.post(address, data)

    assert "30 keys will never be issued. You can’t undo this." in consequences(asked)
    confirm(staff, asked)
    assert pool.keys.withdrawn().count() == 30
    assert not pool.keys.withdrawn().filter(pk__in=pool.keys.order_by("-pk")[:10]).exists()


def test_a_count_that_was_cut_says_so(staff, make_pool, monkeypatch):
    monkeypatch.setattr(staff_consequences, "MAX_COUNTED", 3)
    pool = make_pool(5)
    batch = pool.batches.get()

    response = act(staff, type(batch), "withdraw_rest", batch)

    assert "3+ keys will never be issued" in " ".join(consequences(response))


def test_a_typed_password_is_not_on_the_page_that_asks(staff, make_service, make_product):
    service = make_service(make_product(source=None), url="https://93.184.216.34/keys", password="letmein-1")
    page = reverse("admin:web_service_webservice_change", args=[service.pk])
    posted = read_form(staff.get(page).text, "webservice_form") | {
        "url": "https://93.184.216.35/keys",
        "login": "bearer",
        "password": "typed-s3cret",
    }

    asked = staff.post(page, posted)
    assert consequences(asked) and "typed-s3cret" not in asked.text and "no-store" in asked["Cache-Control"]
    confirm(staff, asked)

    service.refresh_from_db()
    assert service.password == "typed-s3cret" and service.url.endswith("35/keys")
    assert "confirming" not in staff.session


def test_another_person_in_a_membership_is_confirmed(staff, merchant, make_member):
    member = make_member(Member.Role.OWNER)
    other = User.objects.create_user("mallory@keywell.example", "correct horse")
    page = reverse("admin:merchants_merchant_change", args=[merchant.pk])
    posted = read_form(staff.get(page).text, "merchant_form")
    row = next(name for name, value in posted.items() if name.endswith("-id") and value == str(member.pk))

    texts = consequences(staff.post(page, posted | {row.replace("-id", "-user"): other.pk}))

    assert any(f"{member.user} loses access" in text for text in texts)
    assert any(f"{other} becomes" in text for text in texts)
