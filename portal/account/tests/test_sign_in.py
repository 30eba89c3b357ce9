"""Signing in: passwords, lockout and password resets."""

import re
import time
from datetime import timedelta

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from delivery.models import LinkRequest
from merchants.models import User
from portal.account.tests.conftest import LOGIN, RESET, is_signed_in, sign_in

# The password


def test_it_leads_to_the_dashboard(client, owner):
    response = sign_in(client)

    assert response.status_code == 302 and response["Location"] == "/"
    assert "No pools yet" in client.get("/").content.decode()


def test_it_ignores_the_case_of_the_email_address(client, owner):
    sign_in(client, "Owner@NorthLight.example")

    assert is_signed_in(client)


def test_an_account_created_with_capital_letters_can_sign_in(client, db):
    User.objects.create_user("Ada@Example.com", "correct horse")

    sign_in(client, "Ada@Example.com")

    assert is_signed_in(client)


def test_it_leads_back_to_the_requested_page(client, owner):
    requested = client.get("/team/")
    assert requested["Location"] == f"{LOGIN}?next=/team/"
    assert 'name="next" value="/team/"' in client.get(requested["Location"]).content.decode()

    response = sign_in(client, data={"next": "/team/"})

    assert response["Location"] == "/team/"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_it_does_not_redirect_to_other_sites(client, owner, target):
    response = sign_in(client, data={"next": target})

    assert response["Location"] == "/"


def test_support_staff_sign_in_the_same_way(client, stella):
    requested = client.get("/admin/", follow=True)
    assert requested.redirect_chain[-1][0].startswith(LOGIN)

    response = sign_in(client, "stella@keywell.example", data={"next": "/admin/"})

    assert response["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("email", ["owner@northlight.example", "nobody@northlight.example"])
def test_the_error_is_the_same_for_a_wrong_password_and_an_unknown_address(client, owner, email):
    response = sign_in(client, email, "wrong")

    assert "Wrong e-mail address or password." in response.content.decode()
    assert not is_signed_in(client)


def test_a_closed_account_cannot_sign_in(client, owner):
    User.objects.update(is_active=False)

    response = sign_in(client)

    assert response["Location"] == reverse("account_inactive")
    assert not is_signed_in(client)


@pytest.mark.parametrize("name", ["account_signup", "account_email", "account_confirm_email"])
def test_there_are_no_pages_to_sign_up_or_change_the_email_address(name):
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


def test_the_lock_ends_after_15_minutes(client, owner, monkeypatch):
    fail(client, 5)
    later = time.time() + 15 * 60 + 1
    monkeypatch.setattr("allauth.core.internal.ratelimit.time.time", lambda: later)

    sign_in(client)

    assert is_signed_in(client)


def test_four_failures_do_not_lock_an_account(client, owner):
    fail(client, 4)

    sign_in(client)

    assert is_signed_in(client)


@pytest.mark.parametrize("number", range(2))
def test_neither_case_nor_host_bypasses_the_lock(client, owner, number):
    fail(client, 5)

    if number == 0:
        sign_in(client, "OWNER@northlight.example")
    else:
        sign_in(client, headers={"host": "localhost:1"})

    assert not is_signed_in(client)


def test_the_lock_applies_to_one_account(client, owner, stella):
    fail(client, 5)

    sign_in(client, "stella@keywell.example")

    assert is_signed_in(client)


def test_a_network_address_that_tries_many_accounts_is_locked_out(client, owner):
    for number in range(30):
        sign_in(client, f"user{number}@northlight.example", "wrong", REMOTE_ADDR="192.0.2.7")

    sign_in(client, REMOTE_ADDR="192.0.2.7")
    assert not is_signed_in(client)

    sign_in(client, REMOTE_ADDR="192.0.2.8")
    assert is_signed_in(client)


def test_unknown_devices_share_one_limit_across_network_addresses(client, owner, settings):
    settings.LOGIN_FAILED_BY_STRANGERS = "3/15m/key"
    sign_in(client)
    client.post("/accounts/logout/")
    for number in range(3):
        fail(Client(), 1, REMOTE_ADDR=f"192.0.2.{number}")

    stranger = Client()
    sign_in(stranger, REMOTE_ADDR="192.0.2.9")
    assert not is_signed_in(stranger)

    sign_in(client, REMOTE_ADDR="192.0.2.9")  # on a device that the owner has used
    assert is_signed_in(client)


def test_it_ignores_a_forwarded_address_without_a_proxy(client, owner, settings):
    settings.ACCOUNT_RATE_LIMITS = {"login_failed": "2/15m/ip"}
    for number in range(2):
        fail(client, 1, headers={"x-forwarded-for": f"192.0.2.{number}"})

    sign_in(client, headers={"x-forwarded-for": "192.0.2.9"})

    assert not is_signed_in(client)


def test_behind_a_proxy_it_uses_the_address_from_the_proxy(client, owner, settings):
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


def test_a_forgotten_password_can_be_reset(client, owner, mailoutbox, work):
    response = reset(client, mailoutbox, work)

    assert "Your password is set" in response.content.decode()
    assert mailoutbox[0].subject == "Reset your Keywell password"
    assert mailoutbox[0].to == ["owner@northlight.example"]
    sign_in(client, password="battery staple")
    assert is_signed_in(client)


def test_the_link_uses_our_own_host_whatever_host_was_requested(client, owner, mailoutbox, work):
    client.post(RESET, {"email": "owner@northlight.example"}, headers={"host": "localhost:99"})
    work()

    assert "http://127.0.0.1:8000/accounts/password/reset/key/" in mailoutbox[0].body
    assert "localhost" not in mailoutbox[0].body


def test_the_link_works_once(client, owner, mailoutbox, work):
    reset(client, mailoutbox, work)

    response = Client().get(link(mailoutbox), follow=True)

    assert "This link no longer works" in response.content.decode()


def test_it_rejects_a_weak_password(client, owner, mailoutbox, work):
    response = reset(client, mailoutbox, work, "password")

    assert "too short" in response.content.decode()


def test_the_owner_gets_a_notice_of_the_reset(client, owner, mailoutbox, work):
    reset(client, mailoutbox, work)

    assert mailoutbox[1].subject == "Your password was reset"


def test_an_unknown_address_gets_the_same_page_and_no_email(client, owner, mailoutbox, work):
    known = ask_for_reset(client).content
    unknown = ask_for_reset(client, "nobody@northlight.example").content
    work()

    assert known == unknown
    assert [message.to for message in mailoutbox] == [["owner@northlight.example"]]


def test_known_and_unknown_addresses_run_the_same_queries(client, owner):
    requested = []
    ask_for_reset(client, "first@northlight.example")  # creates the counter of the network address
    for email in ("owner@northlight.example", "nobody@northlight.example"):
        with CaptureQueriesContext(connection) as queries:
            client.post(RESET, {"email": email})
        requested.append([re.sub(r"'[^']*'| ?-?\d+|[0-9a-f]{16,}", "?", query["sql"]) for query in queries])

    assert requested[0] == requested[1]


def test_an_address_gets_three_emails_an_hour(client, owner, mailoutbox, work):
    pages = {ask_for_reset(client).content for _ in range(5)}
    work()

    assert len(pages) == 1
    assert len(mailoutbox) == 3
    LinkRequest.objects.update(created_at=Now() - timedelta(hours=1))
    ask_for_reset(client)
    work()
    assert len(mailoutbox) == 4


def test_requests_for_lost_licenses_do_not_count_toward_password_resets(client, owner, merchant, mailoutbox, work):
    for _ in range(5):
        client.post(reverse("lost-key", args=[merchant.slug]), {"email": owner.email})
    ask_for_reset(client)
    work()

    assert [message.subject for message in mailoutbox] == ["Reset your Keywell password"]


def test_it_retries_after_the_mail_server_was_down(client, owner, monkeypatch, mailoutbox, work):
    def fail_to_connect(self, messages):
        raise ConnectionRefusedError

    with monkeypatch.context() as down:
        down.setattr(EmailBackend, "send_messages", fail_to_connect)
        assert ask_for_reset(client).status_code == 200
        work()
    LinkRequest.objects.update(due_at=Now())
    work()

    assert mailoutbox[0].to == ["owner@northlight.example"]


def test_a_closed_account_gets_no_email(client, owner, mailoutbox, work):
    User.objects.update(is_active=False)
    ask_for_reset(client)
    work()

    assert not mailoutbox


def test_the_password_is_changed_even_if_the_notice_cannot_be_sent(client, owner, monkeypatch):
    def fail_to_connect(self, messages):
        raise ConnectionRefusedError

    monkeypatch.setattr(EmailBackend, "send_messages", fail_to_connect)
    sign_in(client)

    client.post(
        reverse("account_change_password"),
        {"oldpassword": "correct horse", "password1": "battery staple", "password2": "battery staple"},
    )

    owner.refresh_from_db()
    assert owner.check_password("battery staple")


def test_the_second_factor_is_required_after_a_reset_too(client, secret, mailoutbox, work):
    reset(client, mailoutbox, work)

    sign_in(client, password="battery staple")

    assert not is_signed_in(client)
