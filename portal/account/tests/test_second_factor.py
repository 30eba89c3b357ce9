"""The second factor: setup, signing in, and lost devices."""

import re
import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse

from merchants.models import User
from portal.account.tests.conftest import AUTHENTICATE, is_signed_in, make_code, sign_in
from portal.tests.confirming import post_confirmed


def confirm_password(client, url):
    """Open a page that asks for the password first."""
    page = client.get(url, follow=True)
    assert page.redirect_chain[-1][0].startswith(reverse("account_reauthenticate"))
    return client.post(page.redirect_chain[-1][0], {"password": "correct horse", "next": url}, follow=True)


def test_an_authenticator_app_is_required_once_it_is_set_up(
    client, owner, mailoutbox, django_capture_on_commit_callbacks
):
    sign_in(client)
    page = confirm_password(client, reverse("mfa_activate_totp"))
    secret = re.findall(r'id="totp-secret">(\w+)<', page.content.decode())[0]

    with django_capture_on_commit_callbacks(execute=True):
        done = client.post(reverse("mfa_activate_totp"), {"code": make_code(secret)}, follow=True)
    assert done.redirect_chain[-1][0] == reverse("mfa_view_recovery_codes")
    assert len(re.findall(r"\b\d{8}$", done.content.decode(), re.MULTILINE)) == 10
    assert mailoutbox[-1].subject == "An authenticator app was added to your account"

    other = Client()
    response = sign_in(other, data={"next": "/team/"})
    assert response["Location"] == AUTHENTICATE and not is_signed_in(other)
    assert other.get("/orders/").status_code == 302
    response = other.post(AUTHENTICATE, {"code": make_code(secret)})
    assert response["Location"] == "/team/" and is_signed_in(other)


def test_support_staff_can_set_up_an_app_too(client, stella):
    sign_in(client, "stella@keywell.example")

    page = confirm_password(client, reverse("mfa_activate_totp"))

    assert 'id="totp-secret"' in page.content.decode()


def test_it_rejects_a_wrong_code(client, secret):
    sign_in(client)

    response = client.post(AUTHENTICATE, {"code": "000000" if make_code(secret) != "000000" else "000001"})

    assert "This code is wrong" in response.content.decode()
    assert not is_signed_in(client)


def test_a_code_may_be_one_step_late(client, secret):
    sign_in(client)

    client.post(AUTHENTICATE, {"code": make_code(secret, steps_ago=1)})

    assert is_signed_in(client)


def test_a_code_works_once(client, owner, secret, monkeypatch):
    code = make_code(secret)
    sign_in(client)
    client.post(AUTHENTICATE, {"code": code})
    assert is_signed_in(client)
    # One step later, allauth has forgotten that the code was used, but still accepts it.
    later = time.time() + 30
    monkeypatch.setattr(time, "time", lambda: later)
    assert cache.delete(f"allauth.mfa.totp.used?user={owner.pk}&code={code}")

    other = Client()
    sign_in(other)
    other.post(AUTHENTICATE, {"code": f"{code[:3]} {code[3:]}"})

    assert not is_signed_in(other)


def test_it_limits_attempts_to_guess_a_code(client, secret):
    sign_in(client)
    for _ in range(5):
        client.post(AUTHENTICATE, {"code": "12"})

    other = Client()  # a new session doesn't help
    sign_in(other)
    response = other.post(AUTHENTICATE, {"code": make_code(secret)})

    assert "Too many failed attempts" in response.content.decode()
    assert not is_signed_in(other)


def test_a_recovery_code_works_once(client, owner, secret):
    code = RecoveryCodes.activate(owner).get_unused_codes()[0]
    sign_in(client)
    client.post(AUTHENTICATE, {"code": code})
    assert is_signed_in(client)

    other = Client()
    sign_in(other)
    other.post(AUTHENTICATE, {"code": code})

    assert not is_signed_in(other)


def test_secrets_of_second_factors_are_encrypted_in_the_database(owner, secret):
    RecoveryCodes.activate(owner)

    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, '') FROM mfa_authenticator")
        stored = cursor.fetchone()[0]

    assert secret not in stored
    assert not re.search(r'"seed": "[0-9a-f]{80}"', stored)


# A merchant that requires a second factor


@pytest.fixture
def second_factor_required(merchant):
    merchant.second_factor_required = True
    merchant.save()


@pytest.mark.parametrize("path", ["/orders/", "/team/", "/attention/"])
def test_members_without_a_second_factor_must_set_one_up(client, second_factor_required, path):
    sign_in(client)

    response = client.get(path, follow=True)

    assert response.redirect_chain[-1][0] == reverse("mfa_index")
    assert "requires two-factor authentication" in response.content.decode()


def test_members_with_a_second_factor_can_proceed(client, second_factor_required, secret):
    sign_in(client)
    client.post(AUTHENTICATE, {"code": make_code(secret)})

    assert client.get("/orders/").status_code == 200


# A lost device


def test_support_staff_can_remove_second_factors(client, stella, owner, secret):
    client.force_login(stella)
    page = client.get(reverse("admin:merchants_user_change", args=[owner.pk]))
    assert "TOTP Authenticator" in page.content.decode()

    data = {"action": "remove_second_factors", "_selected_action": [owner.pk]}
    post_confirmed(client, reverse("admin:merchants_user_changelist"), data)

    assert not Authenticator.objects.exists()
    other = Client()
    sign_in(other)
    assert is_signed_in(other)


def test_only_a_superuser_can_remove_second_factors_of_support_staff(client, stella, owner):
    TOTP.activate(stella, generate_totp_secret())
    helper = User.objects.create_user("helper@keywell.example", "correct horse", is_staff=True)
    helper.user_permissions.set(Permission.objects.all())
    client.force_login(helper)

    client.post(
        reverse("admin:merchants_user_changelist"),
        {"action": "remove_second_factors", "_selected_action": [stella.pk], "_confirmed": "yes"},
    )

    assert Authenticator.objects.count() == 1


def test_support_staff_can_require_a_second_factor_for_a_merchant(client, stella, merchant):
    client.force_login(stella)
    page = client.get(reverse("admin:merchants_merchant_change", args=[merchant.pk]))

    assert 'name="second_factor_required"' in page.content.decode()


@pytest.mark.parametrize("address", ["account/emailaddress", "mfa/authenticator"])
def test_the_admin_shows_neither_other_email_addresses_nor_secrets(client, stella, address):
    client.force_login(stella)

    assert client.get(f"/admin/{address}/").status_code == 404
