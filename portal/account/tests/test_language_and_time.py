"""Each person reads pages in their language, with times in their zone."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.template import Context, Template
from django.urls import reverse
from django.utils import timezone, translation

from merchants.models import Invitation, Member, User
from merchants.team import accept_as_new_user, invite
from orders.localization import show_money
from orders.models import Order, OrderItem
from portal.templatetags.portal import due, format_distance
from portal.tests.translating import install

pytestmark = pytest.mark.django_db

PAGE = "language-and-time"
ACCEPT = {"Accept-Language": "it, de-AT;q=0.8, en;q=0.5"}


@pytest.fixture
def german(settings, tmp_path):
    install(settings, tmp_path, "de", {"Orders": "Bestellungen", "Sign in": "Anmelden", "Save": "Speichern"})


@pytest.fixture
def user(merchant):
    return merchant.members.get().user


def choose(user, language="de", time_zone="Europe/Berlin"):
    User.objects.filter(pk=user.pk).update(language=language, time_zone=time_zone)


def test_a_person_chooses_language_and_time_zone(client, user, german):
    client.force_login(user)
    response = client.post(reverse(PAGE), {"language": "de", "time_zone": "Europe/Berlin"}, follow=True)

    user.refresh_from_db()
    assert (user.language, user.time_zone) == ("de", "Europe/Berlin")
    assert "Speichern" in response.text and '<html lang="de" dir="ltr">' in response.text
    assert response["Content-Language"] == "de"


def test_only_complete_languages_are_offered(client, user, german):
    client.force_login(user)

    assert "Français" not in client.get(reverse(PAGE)).text
    assert client.post(reverse(PAGE), {"language": "fr"}).status_code == 200
    choose(user, language="fr")
    assert '<html lang="en" dir="ltr">' in client.get(reverse(PAGE)).text


def test_dates_numbers_and_money_follow_language_and_time_zone(client, user, german, pay, make_product):
    pay(make_product(keys=1), order="A1")
    OrderItem.objects.update(total_price="1234.50")
    Order.objects.update(paid_at=datetime(2026, 3, 5, 23, 30, 7, tzinfo=UTC))
    client.force_login(user)
    assert "5 Mar 2026, 23:30" in client.get(reverse("order", args=["A1"])).text
    choose(user)
    page = client.get(reverse("order", args=["A1"])).text

    assert "6. März 2026, 00:30" in page and 'title="6. März 2026, 00:30:07 CET"' in page
    assert "1.234,50 EUR" in page and "EUR 1,234.50" not in page


def test_days_of_the_filters_are_those_of_the_time_zone(client, user, pay, make_product):
    pay(make_product(keys=1), order="ORDER-77")
    Order.objects.update(paid_at=datetime(2026, 3, 5, 23, 30, tzinfo=UTC))
    client.force_login(user)
    address = reverse("orders") + "?paid_from=2026-03-06"

    assert "ORDER-77" not in client.get(address).text
    choose(user)
    assert "ORDER-77" in client.get(address).text


def test_the_admin_uses_the_same_formats(client, user, german, pay, make_product):
    pay(make_product(keys=1), order="A1")
    Order.objects.update(paid_at=datetime(2026, 3, 5, 18, 52, tzinfo=UTC))
    staff = User.objects.create_superuser("stella@keywell.example", "correct horse")
    client.force_login(staff)
    address = reverse("admin:orders_order_changelist")
    assert "5 Mar 2026, 18:52" in client.get(address).text
    choose(staff)

    assert "5. März 2026, 19:52" in client.get(address).text


@pytest.mark.parametrize(
    ("language", "distance", "money"),
    [
        ("en", "5 days ago", "EUR 1,234.50"),
        ("de", "vor 5 Tagen", "1.234,50 EUR"),
        ("ru", "5 дней назад", "1\xa0234,50 EUR"),
    ],
)
def test_distances_and_money_are_in_the_language(language, distance, money):
    with translation.override(language):
        assert format_distance(-timedelta(days=5, hours=3)) == distance
        assert show_money(Decimal("1234.50"), "EUR") == money


def test_what_is_overdue_happens_in_a_moment():
    hour = timedelta(hours=1, seconds=5)

    assert ">in a moment<" in due(timezone.now() - hour)
    assert ">in 1 hour<" in due(timezone.now() + hour)


def test_coordinates_keep_their_decimal_point():
    template = Template("{% load l10n %}{% localize off %}{{ x }}{% endlocalize %}")
    with translation.override("de"):
        assert template.render(Context({"x": 12.5})) == "12.5"


def test_before_sign_in_the_browser_decides_among_the_complete_languages(client, german):
    address = reverse("account_login")
    response = client.get(address, headers=ACCEPT)

    assert '<html lang="de"' in response.text and "Anmelden" in response.text
    assert "Accept-Language" in response["Vary"]
    assert '<html lang="en"' in client.get(address, headers={"Accept-Language": "fr"}).text
    assert '<html lang="en"' in client.get(address).text


def test_after_signing_out_pages_keep_the_persons_language(client, user, german, settings):
    choose(user)
    client.force_login(user)
    client.get(reverse(PAGE))
    client.post(reverse("account_logout"))

    page = client.get(reverse("account_login"), headers={"Accept-Language": "en"})
    assert '<html lang="de"' in page.text and "Cookie" in page["Vary"]

    choose(user, language="")
    client.force_login(user)
    client.get(reverse(PAGE))
    assert settings.LANGUAGE_COOKIE_NAME not in client.cookies or not client.cookies["language"].value


@pytest.mark.parametrize("kept", ["xx", "de\r\nX: 1", "../de", "d" * 4000])
def test_an_odd_language_cookie_is_ignored(client, german, settings, kept):
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = kept

    assert '<html lang="en"' in client.get(reverse("account_login")).text


def test_programs_and_customers_pages_are_not_affected(client, german, pay, make_product, merchant):
    pay(make_product(keys=1), order="A1")
    error = client.get("/api/v1/orders/", headers=ACCEPT)

    assert error.json()["detail"] == "Send an API key: Authorization: Bearer kw_…" or error.status_code == 401
    assert "Content-Language" not in error
    page = client.get(f"/o/{Order.objects.get().link_token}/", headers=ACCEPT)
    assert "Content-Language" not in page and "Cookie" not in page.get("Vary", "")


def test_the_language_ends_with_the_request(client, user, german):
    choose(user)
    client.force_login(user)
    before = translation.get_language()
    client.get(reverse("orders"))

    assert translation.get_language() == before and timezone.get_current_timezone_name() == "UTC"


def test_a_zone_that_this_machine_does_not_know_is_utc(client, user):
    choose(user, time_zone="Mars/Olympus")
    client.force_login(user)

    assert client.get(reverse(PAGE)).status_code == 200


def test_the_invitations_language_becomes_the_new_users(merchant):
    merchant.language = "de"
    merchant.save()
    invitation, _ = invite(merchant, email="greta@example.com", role=Member.Role.SUPPORT, actor=None)
    member = accept_as_new_user(Invitation.objects.get(pk=invitation.pk), "correct horse", first_name="Greta")

    assert member.user.language == "de"
