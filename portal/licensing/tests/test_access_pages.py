"""Logins and API keys for the licensing service, and the admin pages of support staff."""

import pytest
from django.urls import reverse

from licensing.creation import create_licensee
from licensing.models import (
    LicensingProduct,
    Token,
    VendorLogin,
)
from merchants.models import User
from portal.licensing.tests.conftest import NUMBER, page_text, post

pytestmark = pytest.mark.django_db


def test_a_login_signs_in_until_it_is_revoked(owner):
    response = post(owner, "login-add", name="shop")

    login = VendorLogin.objects.get()
    text = response.content.decode()
    password = response.context["secret"]
    assert password in text and login.user_name == "northlight.shop"
    assert VendorLogin.objects.authenticate("northlight.shop", password) == login
    assert password not in page_text(owner, "licensing-access")
    assert "never" in text

    post(owner, "login-revoke", login.pk)
    assert VendorLogin.objects.authenticate("northlight.shop", password) is None
    assert "revoked" in page_text(owner, "licensing-access")


def test_an_api_key_signs_in_until_it_is_revoked(owner, client, licensee):
    data = {"name": "Installer", "role": "ROLE_APIKEY_LICENSEE", "licensee": NUMBER}
    response = post(owner, "key-add", **data)

    key = Token.objects.get()
    assert response.context["secret"] == key.number and key.number in response.content.decode()
    assert (key.token_type, key.api_key_role, key.licensee) == ("APIKEY", "ROLE_APIKEY_LICENSEE", licensee)
    assert key in Token.objects.live()
    text = page_text(owner, "licensing-access")
    assert key.number not in text and NUMBER not in text and "Ada’s" in text

    again = post(owner, "key-add", **data)
    assert "Another API key already has this name." in again.content.decode() and Token.objects.count() == 1
    post(owner, "key-revoke", key.pk)
    assert key not in Token.objects.live()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"licensee": "UNKNOWN"}, "You have no licensee with this number."),
        ({"licensee": "THEIRS"}, "You have no licensee with this number."),
        ({"expiration_time": "2020-01-01T00:00"}, "Choose a time in the future."),
        ({"role": "ROLE_APIKEY_KING"}, "Select a valid choice."),
    ],
)
def test_it_rejects_an_invalid_key(owner, outsider, data, message):
    create_licensee(LicensingProduct.objects.create(merchant=outsider, name="X"), actor="test", number="THEIRS")

    response = post(owner, "key-add", **({"name": "x", "role": "ROLE_APIKEY_ADMIN"} | data))

    assert message in response.content.decode() and not Token.objects.exists()


# Support staff


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse", first_name="Stella"))
    return client


def test_staff_find_a_licensee_by_its_number_but_never_see_the_number(staff, licensee):
    change = reverse("admin:licensing_licensee_change", args=[licensee.pk])

    response = staff.post(reverse("admin:licensing_licensee_changelist"), {"search": NUMBER})

    assert response["Location"] == change
    for address in (change, reverse("admin:licensing_licensee_changelist")):
        text = staff.get(address).content.decode()
        assert "7Q2M" in text and NUMBER not in text
    assert 'method="post" role="search"' in text


@pytest.mark.parametrize("kind", ["licensee", "token"])
def test_staff_without_permission_cannot_find_out_whether_a_number_exists(client, licensee, kind):
    client.force_login(User.objects.create_user("new@keywell.example", "correct horse", is_staff=True))

    for number in (NUMBER, "UNKNOWN"):
        response = client.post(reverse(f"admin:licensing_{kind}_changelist"), {"search": number})
        assert response.status_code == 403


def test_changes_by_staff_are_recorded_in_the_licensees_history(staff, licensee):
    address = reverse("admin:licensing_licensee_change", args=[licensee.pk])

    inlines = {f"{name}-{count}_FORMS": "0" for name in ("events", "failures") for count in ("TOTAL", "INITIAL")}
    staff.post(address, {"name": "Ada’s", "active": "on"} | inlines)

    licensee.refresh_from_db()
    event = licensee.events.get()
    assert not licensee.marked_for_transfer and licensee.number == NUMBER
    assert (event.kind, event.happened_by) == ("unmarked", "Stella (stella@keywell.example), support staff")


def test_staff_find_a_token_by_its_number_but_never_see_the_number(staff, merchant):
    token = Token.objects.create(merchant=merchant, token_type="APIKEY", api_key_role="ROLE_APIKEY_ADMIN")  # noqa: S106
    change = reverse("admin:licensing_token_change", args=[token.pk])

    assert staff.post(reverse("admin:licensing_token_changelist"), {"search": token.number})["Location"] == change
    assert token.number not in staff.get(change).content.decode()
