"""Signing in: password, lockout, second factor, what is led where."""

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

    assert "Wrong e-mail address or password." in response.content.decode()
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
    assert mailoutbox[0].subject == "Reset your Keywell password"
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

    assert "This link no longer works" in response.content.decode()


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

    assert [message.subject for message in mailoutbox] == ["Reset your Keywell password"]


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


def test_the_second_factor_is_asked_for_after_a_reset_as_well(client, secret, mailoutbox, work):
    reset(client, mailoutbox, work)

    sign_in(client, password="battery staple")

    assert not is_signed_in(client)
