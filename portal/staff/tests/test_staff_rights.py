"""Support staff can't extend the rights that a superuser gave them."""

import re

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django import forms as django_forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models.functions import Now
from django.test import RequestFactory
from django.urls import reverse
from django.utils import timezone

from licensing.models import Token, VendorLogin
from merchants.models import ApiKey, User
from portal.tests.confirming import post_confirmed
from portal.web_services.admin import AdminsWebServiceForm
from portal.web_services.forms import WebServiceForm

RIGHTS = {"is_staff", "is_superuser", "groups", "user_permissions"}
DATES = {"date_joined_0": "2026-11-01", "date_joined_1": "10:00:00"}
OTHER, SAME = "https://93.184.216.35/keys", "https://93.184.216.34/other"
NOT_REVOKED = {"revoked_at_0": "", "revoked_at_1": ""}


@pytest.fixture
def staff_user(db):
    """A staff user with every permission who isn't a superuser."""
    user = User.objects.create_user("helper@keywell.example", "correct horse", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    return user


@pytest.fixture
def superuser(db):
    return User.objects.create_superuser("stella@keywell.example", "correct horse")


@pytest.fixture
def staff_request(staff_user):
    request = RequestFactory().get("/admin/")
    request.user = staff_user
    return request


def allows_changes(model_admin, request) -> bool:
    """Return whether an admin allows more than viewing: changing rows, running an action, or using an extra page."""
    rights = [getattr(model_admin, f"has_{right}_permission")(request) for right in ("add", "change", "delete")]
    actions = set(model_admin.get_actions(request)) - {"delete_selected"}
    return any(rights) or bool(actions) or type(model_admin).get_urls is not admin.ModelAdmin.get_urls


def test_the_docs_list_every_model_that_staff_can_change(staff_user, staff_request):
    staff_request.user.is_superuser = True
    text = (settings.BASE_DIR / "docs/operating.md").read_text()
    table = text.partition("\n## Rights of support staff")[2].partition("\n## ")[0]

    changeable = {
        model._meta.label_lower
        for model, model_admin in admin.site._registry.items()
        if allows_changes(model_admin, staff_request)
    }

    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", table, re.MULTILINE)) == changeable


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_no_admin_form_lets_staff_grant_rights(staff_request, model):
    model_admin = admin.site._registry[model]
    forms = []
    if model_admin.has_add_permission(staff_request):
        forms.append(model_admin.get_form(staff_request, change=False))
    if model_admin.has_change_permission(staff_request):
        forms.append(model_admin.get_form(staff_request, model(), change=True))
    for inline in model_admin.get_inline_instances(staff_request, model()):
        if inline.has_add_permission(staff_request, model()) or inline.has_change_permission(staff_request, model()):
            forms.append(inline.get_formset(staff_request, model()).form)

    for form in forms:
        querysets = [getattr(field, "queryset", None) for field in form.base_fields.values()]
        assert not {Group, Permission} & {queryset.model for queryset in querysets if queryset is not None}
        assert not RIGHTS & set(form.base_fields)


def test_staff_cannot_make_themselves_superusers(client, staff_user):
    client.force_login(staff_user)
    page = reverse("admin:merchants_user_change", args=[staff_user.pk])

    assert client.post(page, {"email": staff_user.email, "is_active": "on", "is_superuser": "on"}).status_code == 403

    staff_user.refresh_from_db()
    assert not staff_user.is_superuser


def test_staff_cannot_make_a_member_staff(client, staff_user, merchant):
    member = merchant.members.get().user
    client.force_login(staff_user)
    page = reverse("admin:merchants_user_change", args=[member.pk])
    posted = {"email": member.email, "first_name": "Olga", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    posted |= DATES | {"user_permissions": [Permission.objects.latest("pk").pk]}

    response = client.post(page, posted)

    member.refresh_from_db()
    assert response.status_code == 302 and member.first_name == "Olga"
    assert not (member.is_staff or member.is_superuser or member.user_permissions.exists())


@pytest.mark.parametrize("fields", [{"is_superuser": True}, {"is_staff": True}], ids=["superuser", "staff"])
@pytest.mark.parametrize("address", ["change", "password", "delete"])
def test_staff_cannot_change_another_staff_account(client, staff_user, fields, address):
    other = User.objects.create_user("other@keywell.example", "battery staple", **fields)
    client.force_login(staff_user)
    page = reverse("admin:merchants_user_change", args=[other.pk]).replace("change", address)
    password = {"password1": "taken over 1", "password2": "taken over 1", "usable_password": "true"}

    assert client.post(page, {"email": "helper2@keywell.example", "post": "yes"} | password).status_code == 403

    other.refresh_from_db()
    assert other.email == "other@keywell.example" and other.check_password("battery staple")


@pytest.mark.parametrize("action", ["delete_selected", "remove_second_factors"])
def test_user_actions_do_not_affect_staff_accounts(client, staff_user, superuser, action):
    TOTP.activate(superuser, generate_totp_secret())
    client.force_login(staff_user)

    data = {"action": action, "_selected_action": [superuser.pk], "post": "yes", "_confirmed": "yes"}
    client.post(reverse("admin:merchants_user_changelist"), data)

    assert Authenticator.objects.get().user == superuser


def test_staff_cannot_change_a_group(client, staff_user):
    group = Group.objects.create(name="support")
    staff_user.groups.add(group)
    client.force_login(staff_user)
    posted = {"name": "support", "permissions": [Permission.objects.latest("pk").pk]}

    assert client.post(reverse("admin:auth_group_change", args=[group.pk]), posted).status_code == 403
    assert client.post(reverse("admin:auth_group_add"), {"name": "mine"}).status_code == 403
    assert client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"}).status_code == 403


def test_a_superuser_can_grant_rights(client, superuser, merchant):
    member = merchant.members.get().user
    client.force_login(superuser)
    page = reverse("admin:merchants_user_change", args=[member.pk])

    post_confirmed(client, page, DATES | {"email": member.email, "is_active": "on", "is_staff": "on"})

    member.refresh_from_db()
    assert member.is_staff


def test_an_api_key_keeps_its_merchant_and_scopes_and_stays_revoked(client, superuser, merchant, outsider):
    key, _ = ApiKey.objects.create_key(merchant=merchant, name="shop", scopes=["orders"], revoked_at=timezone.now())
    client.force_login(superuser)
    posted = {"name": "renamed", "merchant": outsider.pk, "scopes": ["pools"]}

    client.post(reverse("admin:merchants_apikey_change", args=[key.pk]), posted | NOT_REVOKED)

    key.refresh_from_db()
    assert (key.name, key.merchant, key.scopes) == ("renamed", merchant, ["orders"])
    assert key.revoked_at


def test_a_live_key_does_not_become_a_test_key(client, superuser, merchant):
    key, _ = ApiKey.objects.create_key(merchant=merchant, name="shop", scopes=["orders"])
    client.force_login(superuser)
    page = reverse("admin:merchants_apikey_change", args=[key.pk])

    assert 'name="test"' not in client.get(page).text
    assert client.post(page, {"name": "renamed", "test": "on"}).status_code == 302

    key.refresh_from_db()
    assert (key.name, key.merchant) == ("renamed", merchant)


def test_a_vendor_login_and_a_token_stay_revoked(client, superuser, merchant):
    login, _ = VendorLogin.objects.create_login(merchant, "shop", revoked_at=Now())
    token = Token.objects.create(
        merchant=merchant, token_type="APIKEY", api_key_role="ROLE_APIKEY_ADMIN", active=False
    )
    client.force_login(superuser)

    client.post(
        reverse("admin:licensing_vendorlogin_change", args=[login.pk]), {"revoked_at_0": "", "revoked_at_1": ""}
    )
    client.post(reverse("admin:licensing_token_change", args=[token.pk]), {"active": "on"})

    login.refresh_from_db()
    token.refresh_from_db()
    assert login.revoked_at and not token.active


# The second factor of support staff

ADMIN_PAGES = ["/admin/", "/admin/orders/order/", "/admin/merchants/user/", "/admin/orders/order/customer/"]


@pytest.mark.parametrize("page", ADMIN_PAGES)
def test_staff_without_a_second_factor_are_redirected_to_set_one_up(client, superuser, settings, page):
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    client.force_login(superuser)

    response = client.get(page, follow=True)

    assert response.redirect_chain == [(reverse("mfa_index"), 302)]
    assert "Support staff need a second factor. Set one up to continue." in response.content.decode()


def test_staff_without_a_second_factor_cannot_use_the_order_page(client, superuser, settings, pay, product):
    pay(product)
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    client.force_login(superuser)
    order = product.merchant.orders.get()

    for page in ("admin:orders_order_change", "admin:orders_order_change-refund"):
        response = client.post(reverse(page, args=[order.pk]))
        assert (response.status_code, response["Location"]) == (302, reverse("mfa_index"))


def test_staff_with_a_second_factor_can_open_the_admin(client, superuser, settings):
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    TOTP.activate(superuser, generate_totp_secret())
    client.force_login(superuser)

    assert client.get("/admin/").status_code == 200


def test_an_installation_can_make_the_second_factor_optional(client, superuser):
    client.force_login(superuser)

    assert client.get("/admin/").status_code == 200


def test_the_admin_does_not_ask_members_for_a_second_factor(client, merchant, settings):
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    client.force_login(merchant.members.get().user)

    assert "/admin/login/" in client.get("/admin/")["Location"]


@pytest.mark.parametrize(("url", "errors"), [(OTHER, ["url"]), (SAME, [])], ids=["another server", "the same server"])
@pytest.mark.parametrize("form", [WebServiceForm, AdminsWebServiceForm])
def test_secret_parameters_prevent_a_change_to_another_server(make_service, form, url, errors):
    service = make_service(url="https://93.184.216.34/keys")
    service.parameters.create(position=6, name="token", constant="s3cr3t", is_secret=True)
    data = django_forms.model_to_dict(service, fields=form.Meta.fields) | {"url": url}

    assert list(form(data, instance=service).errors) == errors
