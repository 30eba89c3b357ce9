"""Owners create, change and revoke API keys."""

import re
from datetime import timedelta
from functools import partial
from html import unescape

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from merchants.models import ApiKey, Member
from notices.models import MerchantNotice

pytestmark = pytest.mark.django_db

KEYS, ADD = reverse("api-keys"), reverse("api-key-add")
SHOP = {"name": "Shop", "scopes": ["payments", "orders"]}


@pytest.fixture
def owner(client, merchant):
    """A client signed in as the owner."""
    client.force_login(merchant.members.get().user)
    return client


@pytest.fixture
def key(merchant):
    return ApiKey.objects.create_key(merchant=merchant, name="Old shop", scopes=["orders"])[0]


def text_of(response):
    return unescape(response.content.decode())


def find_key_text(response):
    return re.search(r'<code id="secret">(kw_\w+)</code>', text_of(response))


def errors_of(response):
    return re.findall(r'<ul class="errorlist"[^>]*>(.*?)</ul>', text_of(response), re.DOTALL)


def test_a_new_key_is_shown_once_and_works(owner, merchant):
    response = owner.post(ADD, SHOP)

    text = find_key_text(response)[1]
    key = merchant.api_keys.get()
    assert (key.name, key.scopes, key.created_by) == ("Shop", ["payments", "orders"], "owner@northlight.example")
    assert APIClient().get("/api/v1/orders/", headers={"Authorization": f"Bearer {text}"}).status_code == 200
    assert "Copy it now. You won’t see it again." in text_of(response)
    assert "no-store" in response["Cache-Control"]
    page = text_of(owner.get(KEYS))
    assert text not in page and f"kw_{key.prefix}_…" in page
    assert all(text not in str(session.get_decoded()) for session in Session.objects.all())


def test_reloading_the_page_creates_no_second_key_and_shows_none(owner, merchant):
    owner.post(ADD, SHOP)

    response = owner.post(ADD, SHOP)

    assert merchant.api_keys.count() == 1 and find_key_text(response) is None
    assert "Another API key already has this name." in errors_of(response)[0]


def test_it_suggests_what_most_shops_need(owner):
    page = text_of(owner.get(ADD))

    assert re.findall(r'value="(\w+)"[^>]*checked', page) == ["payments", "orders"]


def test_a_key_can_expire_and_be_limited_to_networks(owner, merchant):
    owner.post(ADD, SHOP | {"expires_at": "2099-01-02T03:04", "allowed_networks": "192.0.2.1/32\r\n10.0.0.0/8"})

    key = merchant.api_keys.get()
    assert f"{key.expires_at:%Y-%m-%d %H:%M}" == "2099-01-02 03:04"
    assert key.allowed_networks == ["192.0.2.1", "10.0.0.0/8"]
    page = text_of(owner.get(KEYS))
    assert "192.0.2.1<br>10.0.0.0/8" in page and "2 Jan 2099, 03:04" in page


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("name", "", "This field is required."),
        ("name", "x" * 101, "at most 100 characters"),
        ("name", "a\0b", "Null characters are not allowed."),
        ("name", "a\u202eb", "Remove the invisible character U+202E."),
        ("name", "a\nb", "Remove the invisible character U+000A."),
        ("scopes", [], "Choose at least one permission."),
        ("scopes", ["admin"], "Select a valid choice."),
        ("expires_at", "2020-01-01T00:00", "Enter a time in the future."),
        ("expires_at", "tomorrow", "Enter a valid date/time."),
        ("allowed_networks", "1.2.3.4/8", "Enter 1.2.3.4 or 1.0.0.0/8."),
        ("allowed_networks", "::/0", "leave the field empty"),
        ("allowed_networks", "1.2.3.4\n" * 10_000, "Enter at most 100 addresses and networks, not 10,000."),
        ("allowed_networks", "<script>alert(1)</script>", "is not an IP address"),
    ],
)
def test_an_error_is_next_to_its_field_and_nothing_typed_is_lost(owner, merchant, field, value, error):
    typed = {"name": "Shop", "scopes": ["pools"], "allowed_networks": "192.0.2.1"} | {field: value}

    response = owner.post(ADD, typed)

    (shown,) = errors_of(response)
    assert error in shown
    assert not merchant.api_keys.exists() and not MerchantNotice.objects.exists()
    page = text_of(response)
    if field != "name":
        assert 'value="Shop"' in page
    if field != "allowed_networks":
        assert "192.0.2.1</textarea>" in page
    assert b"<script>alert" not in response.content


def test_names_are_escaped(owner, merchant):
    response = owner.post(ADD, SHOP | {"name": "<b>Shop</b>"})

    assert b"<b>Shop" not in response.content and b"&lt;b&gt;Shop" in response.content
    assert b"<b>Shop" not in owner.get(reverse("api-key-revoke", args=[merchant.api_keys.get().pk])).content


def test_name_expiration_and_networks_can_be_changed(owner, key):
    change = reverse("api-key-change", args=[key.pk])
    ApiKey.objects.update(allowed_networks=["10.0.0.0/8", "192.0.2.1"])
    assert "10.0.0.0/8\n192.0.2.1</textarea>" in text_of(owner.get(change))

    response = owner.post(
        change, {"name": "New shop", "expires_at": "2099-01-02T03:04", "allowed_networks": "::1", "scopes": ["pools"]}
    )

    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.allowed_networks, key.expires_at.year) == ("New shop", ["::1"], 2099)
    assert key.scopes == ["orders"]  # someone may know the text of an old key


def test_an_expired_key_can_be_renamed_and_extended(owner, key):
    expired = timezone.now().replace(second=0, microsecond=0) - timedelta(days=1)
    ApiKey.objects.update(expires_at=expired)
    change = reverse("api-key-change", args=[key.pk])

    owner.post(change, {"name": "Renamed", "expires_at": f"{expired:%Y-%m-%dT%H:%M}"})
    key.refresh_from_db()
    assert (key.name, key.expires_at) == ("Renamed", expired)

    owner.post(change, {"name": "Renamed", "expires_at": ""})
    key.refresh_from_db()
    assert key.expires_at is None


def test_revoking_is_confirmed_with_its_consequence(owner, key):
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=3))
    revoke = reverse("api-key-revoke", args=[key.pk])

    question = text_of(owner.get(revoke))
    assert "Revoke the API key “Old shop”?" in question
    assert "Keywell refuses its payments and other requests. It was last used 3 minutes ago." in question
    key.refresh_from_db()
    assert key.revoked_at is None

    owner.post(revoke)
    key.refresh_from_db()
    assert key.revoked_at is not None and key.revoked_by == "owner@northlight.example"
    page = text_of(owner.get(KEYS))
    assert page.index("Revoked keys") < page.index(f"kw_{key.prefix}_…")


def test_a_revoked_key_cannot_be_changed(owner, key):
    ApiKey.objects.update(revoked_at=timezone.now())

    assert owner.post(reverse("api-key-change", args=[key.pk]), {"name": "Again"}).status_code == 404


def test_the_list_shows_states(owner, merchant):
    now, networks = timezone.now(), [f"192.0.2.{number}" for number in range(9)]
    make_key = partial(ApiKey.objects.create_key, merchant=merchant, scopes=["pools"])
    make_key(name="Expired", expires_at=now - timedelta(days=1))
    make_key(name="Soon", expires_at=now + timedelta(days=2))
    make_key(name="Many", allowed_networks=networks)

    page = text_of(owner.get(KEYS))

    assert "</svg>expired</span>" in page and "</svg>soon</span>" in page
    assert "9 in total" in page and "192.0.2.5" not in page


@pytest.mark.parametrize("role", [Member.Role.MANAGER, Member.Role.SUPPORT])
def test_others_cannot_use_the_pages(client, make_member, key, role):
    client.force_login(make_member(role).user)
    pages = [KEYS, ADD, *(reverse(name, args=[key.pk]) for name in ("api-key-change", "api-key-revoke"))]

    assert {client.get(page).status_code for page in pages} == {403}
    assert {client.post(page, SHOP).status_code for page in pages} == {403}
    assert ApiKey.objects.get().revoked_at is None
    assert KEYS not in text_of(client.get(reverse("orders")))


def test_another_merchants_key_is_not_found(outsider, key):
    charlie = Client()
    charlie.force_login(outsider.members.get().user)

    for name in ("api-key-change", "api-key-revoke"):
        assert charlie.get(reverse(name, args=[key.pk])).status_code == 404
        assert charlie.post(reverse(name, args=[key.pk]), SHOP).status_code == 404
    assert "Old shop" not in text_of(charlie.get(KEYS))
    key.refresh_from_db()
    assert (key.name, key.revoked_at) == ("Old shop", None)


def test_another_merchants_key_may_have_the_same_name(owner, outsider, merchant):
    ApiKey.objects.create_key(merchant=outsider, **SHOP)

    assert find_key_text(owner.post(ADD, SHOP))
