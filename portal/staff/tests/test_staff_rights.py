"""What support staff can make of their rights: never more rights than a superuser gave them."""

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
from portal.web_services.admin import AdminsWebServiceForm
from portal.web_services.forms import WebServiceForm

RIGHTS = {"is_staff", "is_superuser", "groups", "user_permissions"}
DATES = {"date_joined_0": "2026-11-01", "date_joined_1": "10:00:00"}
OTHER, SAME = "https://93.184.216.35/keys", "https://93.184.216.34/other"
NOT_REVOKED = {"revoked_at_0": "", "revoked_at_1": ""}


@pytest.fixture
def helper(db):
    """A member of staff with every permission who is no superuser."""
    user = User.objects.create_user("helper@keywell.example", "correct horse", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    return user


@pytest.fixture
def superuser(db):
    return User.objects.create_superuser("stella@keywell.example", "correct horse")


@pytest.fixture
def asked(helper):
    request = RequestFactory().get("/admin/")
    request.user = helper
    return request


def can_be_used(model_admin, request) -> bool:
    """Whether an admin lets somebody do more than look: change rows, run an action, or use a page of its own."""
    rights = [getattr(model_admin, f"has_{right}_permission")(request) for right in ("add", "change", "delete")]
    actions = set(model_admin.get_actions(request)) - {"delete_selected"}
    return any(rights) or bool(actions) or "get_urls" in vars(type(model_admin))


def test_the_docs_answer_what_each_right_can_be_turned_into(helper, asked):
    asked.user.is_superuser = True
    text = (settings.BASE_DIR / "docs/operating.md").read_text()
    table = text.partition("\n## Rights of support staff")[2].partition("\n## ")[0]

    changeable = {model._meta.label_lower for model, one in admin.site._registry.items() if can_be_used(one, asked)}

    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", table, re.MULTILINE)) == changeable


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_no_form_of_the_admin_gives_rights(asked, model):
    one = admin.site._registry[model]
    forms = []
    if one.has_add_permission(asked):
        forms.append(one.get_form(asked, change=False))
    if one.has_change_permission(asked):
        forms.append(one.get_form(asked, model(), change=True))
    for inline in one.get_inline_instances(asked, model()):
        if inline.has_add_permission(asked, model()) or inline.has_change_permission(asked, model()):
            forms.append(inline.get_formset(asked, model()).form)

    for form in forms:
        querysets = [getattr(field, "queryset", None) for field in form.base_fields.values()]
        assert not {Group, Permission} & {queryset.model for queryset in querysets if queryset is not None}
        assert not RIGHTS & set(form.base_fields)


def test_staff_cannot_make_themselves_superusers(client, helper):
    client.force_login(helper)
    page = reverse("admin:merchants_user_change", args=[helper.pk])

    assert client.post(page, {"email": helper.email, "is_active": "on", "is_superuser": "on"}).status_code == 403

    helper.refresh_from_db()
    assert not helper.is_superuser


def test_staff_cannot_make_a_member_staff(client, helper, merchant):
    member = merchant.members.get().user
    client.force_login(helper)
    page = reverse("admin:merchants_user_change", args=[member.pk])
    posted = {"email": member.email, "first_name": "Olga", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    posted |= DATES | {"user_permissions": [Permission.objects.latest("pk").pk]}

    response = client.post(page, posted)

    member.refresh_from_db()
    assert response.status_code == 302 and member.first_name == "Olga"
    assert not (member.is_staff or member.is_superuser or member.user_permissions.exists())


@pytest.mark.parametrize("fields", [{"is_superuser": True}, {"is_staff": True}], ids=["superuser", "staff"])
@pytest.mark.parametrize("address", ["change", "password", "delete"])
def test_staff_cannot_touch_another_account_of_staff(client, helper, fields, address):
    other = User.objects.create_user("other@keywell.example", "battery staple", **fields)
    client.force_login(helper)
    page = reverse("admin:merchants_user_change", args=[other.pk]).replace("change", address)
    password = {"password1": "taken over 1", "password2": "taken over 1", "usable_password": "true"}

    assert client.post(page, {"email": "helper2@keywell.example", "post": "yes"} | password).status_code == 403

    other.refresh_from_db()
    assert other.email == "other@keywell.example" and other.check_password("battery staple")


@pytest.mark.parametrize("action", ["delete_selected", "remove_second_factors"])
def test_an_action_on_all_users_spares_staff(client, helper, superuser, action):
    TOTP.activate(superuser, generate_totp_secret())
    client.force_login(helper)

    data = {"action": action, "_selected_action": [superuser.pk], "post": "yes"}
    client.post(reverse("admin:merchants_user_changelist"), data)

    assert Authenticator.objects.get().user == superuser


def test_staff_cannot_change_a_group(client, helper):
    group = Group.objects.create(name="support")
    helper.groups.add(group)
    client.force_login(helper)
    posted = {"name": "support", "permissions": [Permission.objects.latest("pk").pk]}

    assert client.post(reverse("admin:auth_group_change", args=[group.pk]), posted).status_code == 403
    assert client.post(reverse("admin:auth_group_add"), {"name": "mine"}).status_code == 403
    assert client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"}).status_code == 403


def test_a_superuser_gives_rights(client, superuser, merchant):
    member = merchant.members.get().user
    client.force_login(superuser)
    page = reverse("admin:merchants_user_change", args=[member.pk])

    client.post(page, DATES | {"email": member.email, "is_active": "on", "is_staff": "on"})

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


def test_a_vendors_login_and_a_token_stay_revoked(client, superuser, merchant):
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
def test_staff_without_a_second_factor_are_led_to_set_one_up(client, superuser, settings, page):
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    client.force_login(superuser)

    response = client.get(page, follow=True)

    assert response.redirect_chain == [(reverse("mfa_index"), 302)]
    assert "Support staff need a second factor. Set one up to continue." in response.content.decode()


def test_the_desk_is_closed_to_staff_without_a_second_factor(client, superuser, settings, pay, product):
    pay(product)
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    client.force_login(superuser)
    order = product.merchant.orders.get()

    for page in ("admin:orders_order_change", "admin:orders_order_change-refund"):
        response = client.post(reverse(page, args=[order.pk]))
        assert (response.status_code, response["Location"]) == (302, reverse("mfa_index"))


def test_with_one_they_are_let_in(client, superuser, settings):
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    TOTP.activate(superuser, generate_totp_secret())
    client.force_login(superuser)

    assert client.get("/admin/").status_code == 200


def test_an_installation_can_do_without(client, superuser):
    client.force_login(superuser)

    assert client.get("/admin/").status_code == 200


def test_a_member_is_not_asked_to_by_the_admin(client, merchant, settings):
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    client.force_login(merchant.members.get().user)

    assert "/admin/login/" in client.get("/admin/")["Location"]


@pytest.mark.parametrize(("url", "why"), [(OTHER, ["url"]), (SAME, [])], ids=["another server", "the same"])
@pytest.mark.parametrize("form", [WebServiceForm, AdminsWebServiceForm])
def test_secret_texts_do_not_move_to_another_server(make_service, form, url, why):
    service = make_service(url="https://93.184.216.34/keys")
    service.parameters.create(position=6, name="token", constant="s3cr3t", is_secret=True)
    data = django_forms.model_to_dict(service, fields=form.Meta.fields) | {"url": url}

    assert list(form(data, instance=service).errors) == why
