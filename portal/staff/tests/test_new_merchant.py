"""Support staff create a merchant in one form, and resend invitations."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.core.mail.backends.locmem import EmailBackend
from django.db.models import F
from django.test import Client
from django.urls import reverse

from merchants.models import ApiKey, Invitation, Merchant, User
from merchants.team import withdraw
from notices.models import MerchantNotice
from portal.tests.confirming import post_confirmed

pytestmark = pytest.mark.django_db(transaction=True)

ADD = reverse("admin:merchants_merchant_add")
INVITATIONS = reverse("admin:merchants_invitation_changelist")
FOO = {"name": "Foo Büro", "owner": "ada@foo.example", "language": "de"}


@pytest.fixture
def stella(db):
    user = User.objects.create_user("stella@keywell.example", "correct horse", is_staff=True, first_name="Stella")
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="merchants"))
    return user


@pytest.fixture
def staff(client, stella):
    client.force_login(stella)
    return client


@pytest.fixture
def broken_mail(monkeypatch):
    def refuse(*args):
        raise OSError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(EmailBackend, "send_messages", refuse)
        yield patch


def text_of(response):
    return unescape(response.content.decode())


def wait_a_minute():
    Invitation.objects.update(sent_at=F("sent_at") - timedelta(minutes=2))


def resend(staff, *invitations):
    posted = {"action": "resend", "_selected_action": [invitation.pk for invitation in invitations]}
    return text_of(post_confirmed(staff, INVITATIONS, posted, follow=True))


def test_one_form_creates_the_merchant_and_invites_the_owner(staff, stella, mailoutbox, pay, product):
    assert set(re.findall(r'<(?:input|select)[^>]* name="(\w+)"', text_of(staff.get(ADD)))) >= {"name", "owner"}

    text = text_of(staff.post(ADD, FOO, follow=True))

    merchant = Merchant.objects.get(slug="foo-buro")
    assert (merchant.name, merchant.language) == ("Foo Büro", "de")
    assert [page.code for page in merchant.checkout_pages.all()] == ["main"]
    assert merchant.invitations.get().invited_by == stella
    assert "was added successfully" in text and "Invitation sent to ada@foo.example." in text
    (message,) = mailoutbox
    assert message.to == ["ada@foo.example"] and message.subject == "Einladung zu Foo Büro auf Keywell"
    assert "Ihre Rolle: Inhaber (Owner)." in message.body


def test_the_owner_signs_up_and_sees_the_first_steps(staff, mailoutbox):
    staff.post(ADD, FOO)
    (link,) = re.findall(r"http://127.0.0.1:8000(/invitations/\S+)", mailoutbox[0].body)
    ada = Client()
    ada.get(link)

    person = {"first_name": "Ada", "last_name": "Byron", "password": "battery staple"}
    page = text_of(ada.post(reverse("invitation"), person, follow=True))

    assert "Willkommen bei Foo Büro! Ihre Rolle: Inhaber." in page and "Erste Schritte" in page
    assert ada.get(reverse("api-keys")).status_code == 200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": ""}, "This field is required."),
        ({"name": "Foo\u202eBar"}, "Remove the invisible character U+202E."),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"name": "NORTHLIGHT"}, "The merchant “Northlight” already exists (northlight)."),
        ({"owner": "ada"}, "Enter a valid email address."),
        ({"owner": ""}, "This field is required."),
        ({"language": "tlh"}, "Select a valid choice."),
    ],
)
def test_an_error_is_shown_and_nothing_is_created(staff, merchant, mailoutbox, change, error):
    assert error in text_of(staff.post(ADD, FOO | change))
    assert Merchant.objects.get() == merchant and mailoutbox == []


def test_html_in_a_name_is_escaped(staff):
    assert b"<b>Foo" not in staff.post(ADD, FOO | {"name": "<b>Foo</b>"}, follow=True).content


def test_two_clicks_create_one_merchant(stella, in_threads, mailoutbox):
    def add(_):
        client = Client()
        client.force_login(stella)
        return text_of(client.post(ADD, FOO, follow=True))

    pages = in_threads(add, range(3), threads=3)

    assert Merchant.objects.count() == 1 and len(mailoutbox) == 1
    assert sum("was added successfully" in page for page in pages) == 1
    assert sum("already exists (foo-buro)" in page for page in pages) == 2


def test_a_merchant_created_after_the_form_was_checked_is_refused(staff, merchant, monkeypatch, mailoutbox):
    monkeypatch.setattr("merchants.forms.refuse_used_name", lambda name: None)

    text = text_of(staff.post(ADD, FOO | {"name": "Northlight"}, follow=True))

    assert "The merchant “Northlight” already exists (northlight)." in text
    assert Merchant.objects.get() == merchant and mailoutbox == []


def test_without_mail_the_merchant_exists_and_the_page_says_how_to_resend(staff, broken_mail, mailoutbox):
    text = text_of(staff.post(ADD, FOO, follow=True))

    assert Merchant.objects.filter(slug="foo-buro").exists()
    assert "Ada@foo.example is invited, but the e-mail failed." in text and "connection refused" in text
    assert "select it in the list of invitations and choose “Resend the invitation”" in text

    broken_mail.undo()
    assert "Invitation sent to ada@foo.example." in resend(staff, Invitation.objects.get())
    assert len(mailoutbox) == 1


def test_resending_replaces_the_link(staff, mailoutbox):
    staff.post(ADD, FOO)
    wait_a_minute()

    resend(staff, Invitation.objects.get())

    links = [re.findall(r"/invitations/\S+", message.body)[0] for message in mailoutbox]
    assert len(set(links)) == 2
    assert [Client().get(link, follow=True).status_code for link in links] == [404, 200]


def test_an_invitation_is_not_resent_within_a_minute_or_once_withdrawn(staff, mailoutbox):
    staff.post(ADD, FOO)
    invitation = Invitation.objects.get()
    assert "An invitation was just sent to ada@foo.example." in resend(staff, invitation)

    withdraw(invitation)
    assert "The invitation of ada@foo.example is no longer open." in resend(staff, invitation)
    assert len(mailoutbox) == 1


def test_an_address_gets_three_invitations_an_hour(staff, mailoutbox):
    staff.post(ADD, FOO)
    for _ in range(3):
        wait_a_minute()
        text = resend(staff, Invitation.objects.get())

    assert "Ada@foo.example got three invitations within an hour." in text and len(mailoutbox) == 3


@pytest.mark.parametrize("right", ["add_merchant", "change_invitation"])
def test_each_needs_its_right(staff, stella, mailoutbox, right):
    staff.post(ADD, FOO)
    wait_a_minute()
    stella.user_permissions.remove(Permission.objects.get(codename=right))

    assert staff.post(ADD, FOO | {"name": "Bar"}).status_code == (403 if right == "add_merchant" else 302)
    resend(staff, Invitation.objects.get(merchant__name="Foo Büro"))
    assert len(mailoutbox) == 2  # of two merchants, or of one twice


def test_the_merchants_page_still_has_all_fields(staff, merchant):
    page = text_of(staff.get(reverse("admin:merchants_merchant_change", args=[merchant.pk])))

    assert 'name="slug"' in page and 'name="reply_to"' in page and 'name="checkout_pages-0-delivery_allowed"' in page
    assert 'name="owner"' not in page


# API keys

KEYS = reverse("admin:merchants_apikey_add")


def test_staff_set_expiration_and_networks_of_a_key(staff, merchant):
    posted = {"merchant": merchant.pk, "name": "Shop", "scopes": ["orders"], "expires_at_0": "2099-01-02"}
    posted["expires_at_1"] = "03:04"

    text = text_of(staff.post(KEYS, posted | {"allowed_networks": "1.2.3.4/8"}))
    assert "Enter 1.2.3.4 or 1.0.0.0/8." in text
    text = text_of(staff.post(KEYS, posted | {"allowed_networks": "10.0.0.0/8"}))

    key = ApiKey.objects.get()
    assert f"kw_{key.prefix}_" in text
    assert key.allowed_networks == ["10.0.0.0/8"]
    assert key.expires_at == datetime(2099, 1, 2, 3, 4, tzinfo=UTC)
    assert key.created_by == "Stella (stella@keywell.example)"
    assert MerchantNotice.objects.get().kind == "api_key_created"


def test_staff_cannot_create_two_keys_of_one_name(staff, merchant):
    posted = {"merchant": merchant.pk, "name": "Shop", "scopes": ["orders"]}
    staff.post(KEYS, posted)

    assert "Another API key already has this name." in text_of(staff.post(KEYS, posted))
    assert ApiKey.objects.count() == 1


def test_a_revocation_by_staff_is_recorded_and_owners_are_notified(staff, merchant):
    key, _ = ApiKey.objects.create_key(merchant=merchant, name="Shop", scopes=["orders"])
    page = reverse("admin:merchants_apikey_change", args=[key.pk])

    post_confirmed(staff, reverse("admin:merchants_apikey_revoke", args=[key.pk]), {})
    staff.post(page, {"name": "Renamed"})

    key.refresh_from_db()
    assert (key.name, key.revoked_by) == ("Renamed", "Stella (stella@keywell.example)")
    assert key.revoked_at is not None
    assert [notice.kind for notice in MerchantNotice.objects.all()] == ["api_key_revoked"]
