"""Signing in: password, lockout, second factor, what is led where."""

import re
import time
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from delivery.models import LinkRequest
from merchants.models import User

LOGIN = reverse("account_login")
RESET = reverse("account_reset_password")
AUTHENTICATE = reverse("mfa_authenticate")


@pytest.fixture
def owner(merchant):
    return merchant.members.get().user


@pytest.fixture
def stella(db):
    return User.objects.create_superuser("stella@keywell.example", "correct horse")


def sign_in(client, email="owner@northlight.example", password="correct horse", **extra):
    return client.post(LOGIN, {"login": email, "password": password, **extra.pop("data", {})}, **extra)


def is_signed_in(client):
    return "_auth_user_id" in client.session


def code_of(secret, *, steps_ago=0):
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 - steps_ago))


@pytest.fixture
def secret(owner):
    secret = generate_totp_secret()
    TOTP.activate(owner, secret)
    return secret


# The password


def test_it_leads_to_the_day(client, owner):
    response = sign_in(client)

    assert response.status_code == 302 and response["Location"] == "/"
    assert "Orders paid today" in client.get("/").content.decode()


def test_it_takes_the_address_in_any_case(client, owner):
    sign_in(client, "Owner@NorthLight.example")

    assert is_signed_in(client)


def test_it_takes_who_was_made_with_capital_letters(client, db):
    User.objects.create_user("Ada@Example.com", "correct horse")

    sign_in(client, "Ada@Example.com")

    assert is_signed_in(client)


def test_it_leads_back_to_what_was_asked_for(client, owner):
    asked = client.get("/team/")
    assert asked["Location"] == f"{LOGIN}?next=/team/"
    assert 'name="next" value="/team/"' in client.get(asked["Location"]).content.decode()

    response = sign_in(client, data={"next": "/team/"})

    assert response["Location"] == "/team/"


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_it_leads_to_no_other_site(client, owner, elsewhere):
    response = sign_in(client, data={"next": elsewhere})

    assert response["Location"] == "/"


def test_support_staff_sign_in_the_same_way(client, stella):
    asked = client.get("/admin/", follow=True)
    assert asked.redirect_chain[-1][0].startswith(LOGIN)

    response = sign_in(client, "stella@keywell.example", data={"next": "/admin/"})

    assert response["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("email", ["owner@northlight.example", "nobody@northlight.example"])
def test_it_says_the_same_of_a_wrong_password_and_an_unknown_address(client, owner, email):
    response = sign_in(client, email, "wrong")

    assert "This e-mail address and password do not belong together." in response.content.decode()
    assert not is_signed_in(client)


def test_a_closed_account_stays_outside(client, owner):
    User.objects.update(is_active=False)

    response = sign_in(client)

    assert response["Location"] == reverse("account_inactive")
    assert not is_signed_in(client)


@pytest.mark.parametrize("name", ["account_signup", "account_email", "account_confirm_email"])
def test_nobody_signs_up_or_changes_their_address(name):
    with pytest.raises(NoReverseMatch):
        reverse(name)


# Lockout


def fail(client, times, email="owner@northlight.example", **extra):
    for _ in range(times):
        response = sign_in(client, email, "wrong", **extra)
    return response


def test_an_account_is_locked_after_five_failures(client, owner):
    fail(client, 5)

    response = sign_in(client)

    assert "Too many failed attempts. Please try again in 15 minutes." in response.content.decode()
    assert not is_signed_in(client)


def test_it_ends_after_a_while(client, owner, monkeypatch):
    fail(client, 5)
    later = time.time() + 15 * 60 + 1
    monkeypatch.setattr("allauth.core.internal.ratelimit.time.time", lambda: later)

    sign_in(client)

    assert is_signed_in(client)


def test_four_failures_lock_nobody_out(client, owner):
    fail(client, 4)

    sign_in(client)

    assert is_signed_in(client)


@pytest.mark.parametrize("number", range(2))
def test_neither_case_nor_host_get_past_the_lock(client, owner, number):
    fail(client, 5)

    if number == 0:
        sign_in(client, "OWNER@northlight.example")
    else:
        sign_in(client, headers={"host": "localhost:1"})

    assert not is_signed_in(client)


def test_the_lock_is_of_one_account(client, owner, stella):
    fail(client, 5)

    sign_in(client, "stella@keywell.example")

    assert is_signed_in(client)


def test_an_address_that_tries_many_accounts_is_locked_out(client, owner):
    for number in range(30):
        sign_in(client, f"user{number}@northlight.example", "wrong", REMOTE_ADDR="192.0.2.7")

    sign_in(client, REMOTE_ADDR="192.0.2.7")
    assert not is_signed_in(client)

    sign_in(client, REMOTE_ADDR="192.0.2.8")
    assert is_signed_in(client)


def test_strangers_from_many_addresses_have_so_many_attempts_together(client, owner, settings):
    settings.LOGIN_FAILED_BY_STRANGERS = "3/15m/key"
    sign_in(client)
    client.post("/accounts/logout/")
    for number in range(3):
        fail(Client(), 1, REMOTE_ADDR=f"192.0.2.{number}")

    stranger = Client()
    sign_in(stranger, REMOTE_ADDR="192.0.2.9")
    assert not is_signed_in(stranger)

    sign_in(client, REMOTE_ADDR="192.0.2.9")  # at a device of the owner
    assert is_signed_in(client)


def test_the_address_is_not_what_somebody_claims(client, owner, settings):
    settings.ACCOUNT_RATE_LIMITS = {"login_failed": "2/15m/ip"}
    for number in range(2):
        fail(client, 1, headers={"x-forwarded-for": f"192.0.2.{number}"})

    sign_in(client, headers={"x-forwarded-for": "192.0.2.9"})

    assert not is_signed_in(client)


def test_behind_a_proxy_it_is_what_the_proxy_says(client, owner, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    settings.ACCOUNT_RATE_LIMITS = {"login_failed": "2/15m/ip"}
    fail(client, 2, headers={"x-forwarded-for": "203.0.113.5, 192.0.2.1"})

    sign_in(client, headers={"x-forwarded-for": "203.0.113.6, 192.0.2.1"})
    assert not is_signed_in(client)

    sign_in(client, headers={"x-forwarded-for": "203.0.113.5, 192.0.2.2"})
    assert is_signed_in(client)


def test_a_new_password_ends_the_lock(client, owner, mailoutbox, work):
    fail(client, 5)

    reset(client, mailoutbox, work)
    sign_in(client, password="battery staple")

    assert is_signed_in(client)


# A forgotten password


def ask_for_reset(client, email="owner@northlight.example"):
    return client.post(RESET, {"email": email}, follow=True)


def link(mailoutbox):
    return re.findall(r"/accounts/password/reset/key/\S+", mailoutbox[0].body)[0]


def reset(client, mailoutbox, work, password="battery staple"):
    ask_for_reset(client)
    work()
    page = client.get(link(mailoutbox), follow=True)
    return client.post(page.redirect_chain[-1][0], {"password1": password, "password2": password}, follow=True)


def test_a_forgotten_password_is_set_anew(client, owner, mailoutbox, work):
    response = reset(client, mailoutbox, work)

    assert "Your password is set" in response.content.decode()
    assert mailoutbox[0].subject == "Set a new password for Keywell"
    assert mailoutbox[0].to == ["owner@northlight.example"]
    sign_in(client, password="battery staple")
    assert is_signed_in(client)


def test_its_link_leads_to_our_own_address_whatever_host_was_asked(client, owner, mailoutbox, work):
    client.post(RESET, {"email": "owner@northlight.example"}, headers={"host": "localhost:99"})
    work()

    assert "http://127.0.0.1:8000/accounts/password/reset/key/" in mailoutbox[0].body
    assert "localhost" not in mailoutbox[0].body


def test_its_link_works_once(client, owner, mailoutbox, work):
    reset(client, mailoutbox, work)

    response = Client().get(link(mailoutbox), follow=True)

    assert "This link does not work any more" in response.content.decode()


def test_a_weak_password_is_refused(client, owner, mailoutbox, work):
    response = reset(client, mailoutbox, work, "password")

    assert "too short" in response.content.decode()


def test_its_owner_is_told(client, owner, mailoutbox, work):
    reset(client, mailoutbox, work)

    assert mailoutbox[1].subject == "Your password was reset"


def test_who_has_no_account_gets_nothing_and_the_same_page(client, owner, mailoutbox, work):
    known = ask_for_reset(client).content
    unknown = ask_for_reset(client, "nobody@northlight.example").content
    work()

    assert known == unknown
    assert [message.to for message in mailoutbox] == [["owner@northlight.example"]]


def test_the_same_is_done_for_an_address_with_an_account_and_one_without(client, owner):
    asked = []
    ask_for_reset(client, "first@northlight.example")  # counts the network address for the first time
    for email in ("owner@northlight.example", "nobody@northlight.example"):
        with CaptureQueriesContext(connection) as queries:
            client.post(RESET, {"email": email})
        asked.append([re.sub(r"'[^']*'| ?-?\d+|[0-9a-f]{16,}", "?", query["sql"]) for query in queries])

    assert asked[0] == asked[1]


def test_three_an_hour_are_sent_to_an_address(client, owner, mailoutbox, work):
    pages = {ask_for_reset(client).content for _ in range(5)}
    work()

    assert len(pages) == 1
    assert len(mailoutbox) == 3
    LinkRequest.objects.update(created_at=Now() - timedelta(hours=1))
    ask_for_reset(client)
    work()
    assert len(mailoutbox) == 4


def test_requests_for_lost_links_leave_those_for_passwords_alone(client, owner, merchant, mailoutbox, work):
    for _ in range(5):
        client.post(reverse("lost-key", args=[merchant.slug]), {"email": owner.email})
    ask_for_reset(client)
    work()

    assert [message.subject for message in mailoutbox] == ["Set a new password for Keywell"]


def test_it_is_sent_again_when_the_mail_server_was_away(client, owner, monkeypatch, mailoutbox, work):
    def refuse(self, messages):
        raise ConnectionRefusedError

    with monkeypatch.context() as away:
        away.setattr(EmailBackend, "send_messages", refuse)
        assert ask_for_reset(client).status_code == 200
        work()
    LinkRequest.objects.update(due_at=Now())
    work()

    assert mailoutbox[0].to == ["owner@northlight.example"]


def test_one_who_left_gets_nothing(client, owner, mailoutbox, work):
    User.objects.update(is_active=False)
    ask_for_reset(client)
    work()

    assert not mailoutbox


def test_a_password_is_changed_though_the_notice_of_it_cannot_be_sent(client, owner, monkeypatch):
    def refuse(self, messages):
        raise ConnectionRefusedError

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)
    sign_in(client)

    client.post(
        reverse("account_change_password"),
        {"oldpassword": "correct horse", "password1": "battery staple", "password2": "battery staple"},
    )

    owner.refresh_from_db()
    assert owner.check_password("battery staple")


# The second factor


def confirm_password(client, url):
    """Open a page that asks for the password first."""
    page = client.get(url, follow=True)
    assert page.redirect_chain[-1][0].startswith(reverse("account_reauthenticate"))
    return client.post(page.redirect_chain[-1][0], {"password": "correct horse", "next": url}, follow=True)


def test_an_authenticator_app_is_set_up_and_asked_for(client, owner, mailoutbox, django_capture_on_commit_callbacks):
    sign_in(client)
    page = confirm_password(client, reverse("mfa_activate_totp"))
    secret = re.findall(r'id="totp-secret">(\w+)<', page.content.decode())[0]

    with django_capture_on_commit_callbacks(execute=True):
        done = client.post(reverse("mfa_activate_totp"), {"code": code_of(secret)}, follow=True)
    assert done.redirect_chain[-1][0] == reverse("mfa_view_recovery_codes")
    assert len(re.findall(r"\b\d{8}$", done.content.decode(), re.MULTILINE)) == 10
    assert mailoutbox[-1].subject == "An authenticator app was added to your account"

    other = Client()
    response = sign_in(other, data={"next": "/team/"})
    assert response["Location"] == AUTHENTICATE and not is_signed_in(other)
    assert other.get("/orders/").status_code == 302
    response = other.post(AUTHENTICATE, {"code": code_of(secret)})
    assert response["Location"] == "/team/" and is_signed_in(other)


def test_an_app_is_set_up_by_support_staff_too(client, stella):
    sign_in(client, "stella@keywell.example")

    page = confirm_password(client, reverse("mfa_activate_totp"))

    assert 'id="totp-secret"' in page.content.decode()


def test_a_wrong_code_is_refused(client, secret):
    sign_in(client)

    response = client.post(AUTHENTICATE, {"code": "000000" if code_of(secret) != "000000" else "000001"})

    assert "This is not right" in response.content.decode()
    assert not is_signed_in(client)


def test_a_code_may_be_one_step_late(client, secret):
    sign_in(client)

    client.post(AUTHENTICATE, {"code": code_of(secret, steps_ago=1)})

    assert is_signed_in(client)


def test_a_code_works_once(client, owner, secret, monkeypatch):
    code = code_of(secret)
    sign_in(client)
    client.post(AUTHENTICATE, {"code": code})
    assert is_signed_in(client)
    # A step later allauth has forgotten that it was used, but takes it still.
    later = time.time() + 30
    monkeypatch.setattr(time, "time", lambda: later)
    assert cache.delete(f"allauth.mfa.totp.used?user={owner.pk}&code={code}")

    other = Client()
    sign_in(other)
    other.post(AUTHENTICATE, {"code": f"{code[:3]} {code[3:]}"})

    assert not is_signed_in(other)


def test_codes_cannot_be_tried_for_long(client, secret):
    sign_in(client)
    for _ in range(5):
        client.post(AUTHENTICATE, {"code": "12"})

    other = Client()  # neither with another session
    sign_in(other)
    response = other.post(AUTHENTICATE, {"code": code_of(secret)})

    assert "Too many failed attempts" in response.content.decode()
    assert not is_signed_in(other)


def test_a_recovery_code_works_in_its_place_once(client, owner, secret):
    code = RecoveryCodes.activate(owner).get_unused_codes()[0]
    sign_in(client)
    client.post(AUTHENTICATE, {"code": code})
    assert is_signed_in(client)

    other = Client()
    sign_in(other)
    other.post(AUTHENTICATE, {"code": code})

    assert not is_signed_in(other)


def test_the_second_factor_is_asked_for_after_a_reset_as_well(client, secret, mailoutbox, work):
    reset(client, mailoutbox, work)

    sign_in(client, password="battery staple")

    assert not is_signed_in(client)


def test_secrets_of_second_factors_are_not_readable_in_the_database(owner, secret):
    RecoveryCodes.activate(owner)

    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, '') FROM mfa_authenticator")
        stored = cursor.fetchone()[0]

    assert secret not in stored
    assert not re.search(r'"seed": "[0-9a-f]{80}"', stored)


# A merchant that requires one


@pytest.fixture
def strict(merchant):
    merchant.second_factor_required = True
    merchant.save()


@pytest.mark.parametrize("path", ["/orders/", "/team/", "/attention/"])
def test_who_has_none_is_led_to_setting_it_up(client, strict, path):
    sign_in(client)

    response = client.get(path, follow=True)

    assert response.redirect_chain[-1][0] == reverse("mfa_index")
    assert "asks its members for a second factor" in response.content.decode()


def test_who_has_one_goes_on(client, strict, secret):
    sign_in(client)
    client.post(AUTHENTICATE, {"code": code_of(secret)})

    assert client.get("/orders/").status_code == 200


# A lost device


def test_support_staff_remove_second_factors(client, stella, owner, secret):
    client.force_login(stella)
    page = client.get(reverse("admin:merchants_user_change", args=[owner.pk]))
    assert "TOTP Authenticator" in page.content.decode()

    client.post(
        reverse("admin:merchants_user_changelist"),
        {"action": "remove_second_factors", "_selected_action": [owner.pk]},
    )

    assert not Authenticator.objects.exists()
    other = Client()
    sign_in(other)
    assert is_signed_in(other)


def test_only_a_superuser_removes_those_of_support_staff(client, stella, owner):
    TOTP.activate(stella, generate_totp_secret())
    helper = User.objects.create_user("helper@keywell.example", "correct horse", is_staff=True)
    helper.user_permissions.set(Permission.objects.all())
    client.force_login(helper)

    client.post(
        reverse("admin:merchants_user_changelist"),
        {"action": "remove_second_factors", "_selected_action": [stella.pk]},
    )

    assert Authenticator.objects.count() == 1


def test_support_staff_can_say_in_the_admin_that_a_merchant_requires_one(client, stella, merchant):
    client.force_login(stella)
    page = client.get(reverse("admin:merchants_merchant_change", args=[merchant.pk]))

    assert 'name="second_factor_required"' in page.content.decode()


@pytest.mark.parametrize("address", ["account/emailaddress", "mfa/authenticator"])
def test_the_admin_shows_neither_second_addresses_nor_secrets(client, stella, address):
    client.force_login(stella)

    assert client.get(f"/admin/{address}/").status_code == 404
