"""The customer's page of an order, opened by a secret link."""

import logging
import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from merchants.models import CheckoutPage
from orders.models import ActivationCode, Order
from orders.services import refund, renew_link, revoke_link
from pools.imports import import_keys
from portal.customer import order as customer
from portal.customer.order import mask


@pytest.fixture
def order(pay, make_product, work, mailoutbox):
    """An order of two units of Photo Pro, one of which has a code."""
    pay(make_product(keys=1, name="Photo Pro"), quantity=2, order="A1")
    work()
    mailoutbox.clear()
    return Order.objects.get()


@pytest.fixture
def url(order):
    return f"/o/{order.link_token}/"


def text(response):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def show(client, url):
    return client.post(url, {"act": "show"})


def send(client, url):
    return client.post(url, {"act": "send"})


def resends():
    return Delivery.objects.filter(requested_by="the customer").count()


# Content


def test_it_shows_ready_and_missing_licenses(client, url, order):
    page = text(client.get(url))

    assert "Northlight Order A1 Paid on 22 November 2026" in page
    assert "Photo Pro × 2 €59.98" in page
    assert "1 license is ready." in page and "1 license is still to come. Out of stock at the moment." in page


@pytest.mark.parametrize(
    ("status", "source", "words"),
    [
        ("pending", "pool", "We’re preparing it right now."),
        ("waiting", "pool", "Out of stock at the moment."),
        ("waiting", "manual", "Being prepared by Northlight."),
        ("waiting", None, "Being prepared. Northlight has been notified."),
        ("failed", "pool", "Something went wrong. Northlight has been notified and will take care of it."),
    ],
)
def test_it_says_why_a_license_is_missing_without_the_internal_reason(
    client, pay, make_product, status, source, words
):
    pay(make_product(keys=0, source=source))
    Fulfillment.objects.update(status=status, reason="The pool “Pool of SKU-1” has no keys left.")

    page = text(client.get(f"/o/{Order.objects.get().link_token}/"))

    assert f"1 license is still to come. {words}" in page and "Pool of" not in page


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de-AT", ["Bestellung A1", "22. November 2026", "€ 59,98"]),
        ("fr", ["Commande A1", "22 novembre 2026", "59,98 €"]),
        ("es", ["Pedido A1", "22 de noviembre de 2026", "59,98 €"]),
        ("ru-RU", ["Заказ A1", "22 ноября 2026", "59,98 €"]),
        ("it", ["Order A1", "November 22, 2026", "€59.98"]),
    ],
)
def test_it_uses_the_orders_language(client, order, url, language, words):
    Order.objects.update(language=language, country="")

    response = client.get(url)

    assert f'<html lang="{language[:2] if language != "it" else "en"}">' in response.content.decode()
    assert all(word in text(response).replace("\xa0", " ") for word in words)


def test_the_forms_keep_the_chosen_language(client, order, url):
    page = client.get(url, {"language": "fr"}).content.decode()

    assert "Commande A1" in page
    assert set(re.findall(r'action="([^"]*)"', page)) == {f"{url}?language=fr"}
    assert "Commande A1" in text(show(client, f"{url}?language=fr"))
    assert "Order A1" in text(client.get(url, {"language": "tlh"}))


def test_markup_in_names_and_codes_is_escaped(client, make_product, merchant, pay):
    product = make_product(keys=0, name="<b>Pro</b>")
    import_keys(merchant.pools.get(), ["<script>alert(1)</script>"], actor="test")
    merchant.name = "<i>North</i>"
    merchant.save()
    pay(product)

    page = show(client, f"/o/{Order.objects.get().link_token}/").content.decode()

    assert "&lt;b&gt;Pro" in page and "&lt;i&gt;North" in page and "&lt;script&gt;alert" in page
    assert "<b>" not in page and "<i>" not in page and "<script>" not in page


# Codes


def test_codes_are_masked_until_a_click(client, url):
    code = ActivationCode.objects.get()

    with CaptureQueriesContext(connection) as queries:
        assert code.code not in client.get(url).content.decode()
    assert not any('"orders_activationcode"."code"' in query["sql"] for query in queries)
    assert code.code in show(client, url).content.decode()


def test_the_first_view_of_codes_is_recorded(client, url):
    client.get(url)
    assert ActivationCode.objects.get().seen_at is None

    show(client, url)
    first = ActivationCode.objects.get().seen_at
    assert first is not None

    show(client, url)
    assert ActivationCode.objects.get().seen_at == first


def test_a_multiline_code_is_shown_unchanged_with_its_links(client, make_product, merchant, pay):
    text = (
        'user "ada"\n  https://files.example/a?b=1&c=2\nhttp://plain.example javascript:alert(1) xhttps://no.example'
    )
    product = make_product(keys=0)
    import_keys(merchant.pools.get(), [text], actor="test")
    pay(product)

    page = show(client, f"/o/{Order.objects.get().link_token}/").content.decode()

    (shown,) = re.findall(r"<code[^>]*>(.*?)</code>", page, re.DOTALL)
    assert unescape(re.sub(r"<[^>]+>", "", shown)) == text
    assert re.findall(r"<a [^>]*>", shown) == [
        '<a href="https://files.example/a?b=1&amp;c=2" rel="noopener noreferrer">'
    ]


def test_without_delivery_allowed_nothing_is_shown_or_sent(client, url):
    CheckoutPage.objects.update(delivery_allowed=False)
    code = ActivationCode.objects.get()

    for response in (
        client.get(url),
        client.post(url, {"act": "show"}, follow=True),
        client.post(url, {"act": "send"}, follow=True),
    ):
        assert "available on this page. Please contact Northlight." in text(response)
        assert code.hint not in text(response) and "<button" not in response.content.decode()
    assert ActivationCode.objects.get().seen_at is None and resends() == 0


@pytest.fixture
def order_with_many_codes(order):
    """The order with 10,000 codes."""
    item = order.items.get()
    type(item).objects.update(quantity=10_000, units=10_000)
    codes = [ActivationCode.build(f"BULK-{unit:06}", item=item, unit=unit, source="pool") for unit in range(2, 10_001)]
    ActivationCode.objects.bulk_create(codes)
    return order


def test_ten_thousand_codes_are_shown_fifty_at_a_time(client, order_with_many_codes, url):
    with CaptureQueriesContext(connection) as queries:
        page = show(client, url).content.decode()
    assert page.count("BULK-") == 49 and len(page) < 60_000 and len(queries) <= 12
    assert "Licenses 1 to 50 of 10000" in page

    (after,) = re.findall(r'formaction="([^"]*)"', page)
    page = show(client, after).content.decode()
    assert "BULK-000051" in page and "BULK-000100" in page and page.count("BULK-") == 50
    assert ActivationCode.objects.filter(seen_at__isnull=False).count() == 100
    assert ActivationCode.objects.filter(seen_at__isnull=False).values("seen_at").distinct().count() == 2

    last = client.get(f"{url}?from=9951").content.decode()
    assert re.findall(r'formaction="([^"]*)"', last) == [f"{url}?from=9901"]


@pytest.mark.parametrize("first", ["0", "-1", "99999999", "x", "1" * 5000])
def test_an_invalid_start_position_is_ignored(client, url, first):
    assert client.get(url, {"from": first}).status_code == 200


# Sending again


def test_it_sends_all_codes_to_the_address_on_file(client, url, work, mailoutbox):
    response = send(client, url)
    work()

    assert "on its way to a•••@example.com" in text(response)
    (message,) = mailoutbox
    assert message.to == ["ada@example.com"] and ActivationCode.objects.get().code in message.body


def test_all_items_are_in_one_email(client, pay, make_product, work, mailoutbox):
    pay(make_product(), make_product(), quantity=2)
    work()
    mailoutbox.clear()

    send(client, f"/o/{Order.objects.get().link_token}/")
    work()

    (message,) = mailoutbox
    assert all(code.code in message.body for code in ActivationCode.objects.all())


def test_two_clicks_send_one_email(client, url, work):
    send(client, url)
    page = text(send(client, url))
    work()

    assert "was just sent to a•••@example.com or is about to be" in page
    assert resends() == 1


def age_deliveries(time):
    Delivery.objects.update(created_at=F("created_at") - time)


def test_it_sends_at_most_three_emails_an_hour_and_ten_a_day(client, url, work):
    answers = []
    for _ in range(20):
        answers.append(send(client, url).status_code)
        work()
        age_deliveries(timedelta(minutes=2))
    assert (answers, resends()) == ([200] * 3 + [429] * 17, 3)

    for _ in range(20):
        age_deliveries(timedelta(minutes=20))
        send(client, url)
        work()
    assert resends() == 10


def test_it_says_how_long_to_wait(client, url, work):
    for _ in range(3):
        send(client, url)
        work()
        age_deliveries(timedelta(minutes=10))

    page = text(send(client, f"{url}?language=de"))

    assert "können sie in 31 Minuten noch einmal" in page or "können sie in 30 Minuten noch einmal" in page


def test_resends_by_others_do_not_count(client, api, url, work):
    for _ in range(5):
        assert api.post("/api/v1/orders/A1/items/1/resend/").status_code == 202
        work()
        age_deliveries(timedelta(minutes=2))

    assert send(client, url).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_concurrent_clicks_are_counted_separately(url, order, in_threads):
    for _ in range(2):
        Delivery.objects.create(
            merchant=order.merchant,
            order=order,
            kind="resend",
            recipient="x@example.com",
            requested_by="the customer",
            status="failed",
        )
    # Each resend counts as sent two minutes ago, so that no click is treated as a double click.
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION sent_long_ago() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " NEW.status = 'sent'; NEW.created_at = now() - interval '2 minutes'; RETURN NEW; END $$;"
            " CREATE TRIGGER sent_long_ago BEFORE INSERT ON delivery_delivery"
            " FOR EACH ROW EXECUTE FUNCTION sent_long_ago()"
        )
    try:
        answers = in_threads(lambda _: send(Client(), url).status_code, range(20), threads=8)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION sent_long_ago CASCADE")

    assert sorted(answers) == [200] + [429] * 19
    assert resends() == 3


def test_addresses_are_masked():
    assert mask("ada@example.com") == "a•••@example.com"
    assert mask('"a@b"@example.com') == '"•••@example.com'


# Access


def test_it_is_not_cached_indexed_or_leaked_by_a_referrer(client, url):
    for response in (client.get(url), show(client, url), client.get("/o/unknown/")):
        assert "no-store" in response["Cache-Control"]
        assert response["Referrer-Policy"] == "no-referrer"
        assert "noindex" in response["X-Robots-Tag"] and 'content="noindex' in response.content.decode()
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert not response.cookies
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', response.content.decode())


def test_it_accepts_forms_from_pages_without_a_referrer(url):
    client = Client(enforce_csrf_checks=True, headers={"origin": "null"})

    assert show(client, url).status_code == 200


def renewed(order):
    renew_link(order, actor="Sam")


def revoked(order):
    revoke_link(order, actor="Sam")


def refunded(order):
    refund(order, actor="Sam")


def terminated(order):
    Order.objects.update(status="terminated")


def unpaid(order):
    Order.objects.update(status="unpaid")


def shared_headers(response):
    """The headers without those that differ with each request."""
    return {name: value for name, value in response.headers.items() if name not in {"Expires", "X-Request-ID"}}


@pytest.mark.parametrize("close", [renewed, revoked, refunded, terminated, unpaid])
def test_all_invalid_links_get_the_same_response(client, support, order, url, close):
    unknown = client.get("/o/unknown/")
    close(order)

    for method in (client.get, support.get, lambda url: show(client, url), lambda url: send(client, url)):
        response = method(url)
        assert (response.status_code, response.content) == (404, unknown.content)
        assert shared_headers(response) == shared_headers(unknown)
    assert ActivationCode.objects.get().seen_at is None and resends() == 0


def test_a_link_with_one_letter_more_or_less_is_invalid(client, url):
    unknown = client.get("/o/unknown/").content
    for other in (url[:-2] + "/", url[:-1] + "x/", url[:-1] + "%00/", url.lower(), url + "?language=de"):
        assert (client.get(other).content == unknown) == ("language" not in other)


def test_an_invalid_link_says_so_in_the_browsers_language(client, db):
    response = client.get("/o/unknown/", headers={"accept-language": "fr-CA,fr;q=0.9"})

    assert "Ce lien ne fonctionne pas" in text(response)


@pytest.mark.parametrize("act", ["show", "send"])
def test_a_refund_between_loading_and_clicking_stops_the_action(client, order, url, monkeypatch, act):
    def refund_first(*args):
        refund(order, actor="Sam")
        return real(*args)

    name = {"show": "show_to_customer", "send": "resend_as_customer"}[act]
    real = getattr(customer, name)
    monkeypatch.setattr(customer, name, refund_first)
    response = client.post(url, {"act": act}, follow=True)

    assert response.status_code == 404
    assert ActivationCode.objects.get().seen_at is None and resends() == 0


@pytest.mark.parametrize("method", ["get", "delete"])
def test_links_are_not_logged_even_if_they_are_invalid(client, order, url, caplog, method):
    caplog.set_level(logging.DEBUG, "django.request")
    revoke_link(order, actor="Sam")

    getattr(client, method)(url)

    assert "/o/…/" in caplog.text
    assert url[3:20] not in caplog.text


@pytest.mark.parametrize("start", ["/o//", "/O/", "/de/o/", "/x/../o/"])
def test_a_mistyped_link_is_not_logged(client, url, start, caplog):
    caplog.set_level(logging.DEBUG)

    client.get(url.replace("/o/", start, 1))

    assert url[3:20] not in caplog.text
