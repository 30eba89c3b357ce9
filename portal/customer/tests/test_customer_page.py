"""The customer's own page of an order, behind a link."""

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
    """Two units of Photo Pro, one of which came."""
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


# What it tells


def test_it_tells_what_came_and_what_is_to_come(client, url, order):
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
def test_it_says_why_something_is_to_come_and_not_what_we_say_among_us(
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
def test_it_speaks_the_orders_language(client, order, url, language, words):
    Order.objects.update(language=language, country="")

    response = client.get(url)

    assert f'<html lang="{language[:2] if language != "it" else "en"}">' in response.content.decode()
    assert all(word in text(response).replace("\xa0", " ") for word in words)


def test_another_language_is_kept_through_its_forms(client, order, url):
    page = client.get(url, {"language": "fr"}).content.decode()

    assert "Commande A1" in page
    assert set(re.findall(r'action="([^"]*)"', page)) == {f"{url}?language=fr"}
    assert "Commande A1" in text(show(client, f"{url}?language=fr"))
    assert "Order A1" in text(client.get(url, {"language": "tlh"}))


def test_markup_in_names_and_codes_is_text(client, make_product, merchant, pay):
    product = make_product(keys=0, name="<b>Pro</b>")
    import_keys(merchant.pools.get(), ["<script>alert(1)</script>"], actor="test")
    merchant.name = "<i>North</i>"
    merchant.save()
    pay(product)

    page = show(client, f"/o/{Order.objects.get().link_token}/").content.decode()

    assert "&lt;b&gt;Pro" in page and "&lt;i&gt;North" in page and "&lt;script&gt;alert" in page
    assert "<b>" not in page and "<i>" not in page and "<script>" not in page


# Codes


def test_codes_are_masked_until_one_click(client, url):
    code = ActivationCode.objects.get()

    with CaptureQueriesContext(connection) as queries:
        assert code.code not in client.get(url).content.decode()
    assert not any('"orders_activationcode"."code"' in query["sql"] for query in queries)
    assert code.code in show(client, url).content.decode()


def test_that_they_were_seen_is_noted_once(client, url):
    client.get(url)
    assert ActivationCode.objects.get().seen_at is None

    show(client, url)
    first = ActivationCode.objects.get().seen_at
    assert first is not None

    show(client, url)
    assert ActivationCode.objects.get().seen_at == first


def test_a_code_of_several_lines_is_shown_as_it_is_with_its_links(client, make_product, merchant, pay):
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


def test_where_delivery_is_not_allowed_nothing_is_shown_or_sent(client, url):
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
def many(order):
    """The order with 10,000 codes."""
    item = order.items.get()
    type(item).objects.update(quantity=10_000, units=10_000)
    codes = [ActivationCode.build(f"BULK-{unit:06}", item=item, unit=unit, source="pool") for unit in range(2, 10_001)]
    ActivationCode.objects.bulk_create(codes)
    return order


def test_ten_thousand_codes_are_shown_fifty_at_a_time(client, many, url):
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
def test_a_place_that_is_none_does_no_harm(client, url, first):
    assert client.get(url, {"from": first}).status_code == 200


# Sending again


def test_it_sends_all_codes_to_the_address_on_file(client, url, work, mailoutbox):
    response = send(client, url)
    work()

    assert "on its way to a•••@example.com" in text(response)
    (message,) = mailoutbox
    assert message.to == ["ada@example.com"] and ActivationCode.objects.get().code in message.body


def test_all_items_are_in_one_mail(client, pay, make_product, work, mailoutbox):
    pay(make_product(), make_product(), quantity=2)
    work()
    mailoutbox.clear()

    send(client, f"/o/{Order.objects.get().link_token}/")
    work()

    (message,) = mailoutbox
    assert all(code.code in message.body for code in ActivationCode.objects.all())


def test_two_clicks_send_one_mail(client, url, work):
    send(client, url)
    page = text(send(client, url))
    work()

    assert "was just sent to a•••@example.com or is about to be" in page
    assert resends() == 1


def pass_by(time):
    Delivery.objects.update(created_at=F("created_at") - time)


def test_three_an_hour_are_sent_and_ten_a_day(client, url, work):
    answers = []
    for _ in range(20):
        answers.append(send(client, url).status_code)
        work()
        pass_by(timedelta(minutes=2))
    assert (answers, resends()) == ([200] * 3 + [429] * 17, 3)

    for _ in range(20):
        pass_by(timedelta(minutes=20))
        send(client, url)
        work()
    assert resends() == 10


def test_who_has_to_wait_is_told_how_long(client, url, work):
    for _ in range(3):
        send(client, url)
        work()
        pass_by(timedelta(minutes=10))

    page = text(send(client, f"{url}?language=de"))

    assert "können sie in 31 Minuten noch einmal" in page or "können sie in 30 Minuten noch einmal" in page


def test_mails_that_others_asked_for_do_not_count(client, api, url, work):
    for _ in range(5):
        assert api.post("/api/v1/orders/A1/items/1/resend/").status_code == 202
        work()
        pass_by(timedelta(minutes=2))

    assert send(client, url).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_clicks_at_the_same_moment_count_one_by_one(url, order, in_threads):
    for _ in range(2):
        Delivery.objects.create(
            order=order, kind="resend", recipient="x@example.com", requested_by="the customer", status="failed"
        )
    # Each is sent by the time the next asks, so that none is the other's second click.
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


# Who gets in


def test_it_is_neither_kept_nor_indexed_nor_told_to_others(client, url):
    for response in (client.get(url), show(client, url), client.get("/o/unknown/")):
        assert "no-store" in response["Cache-Control"]
        assert response["Referrer-Policy"] == "no-referrer"
        assert "noindex" in response["X-Robots-Tag"] and 'content="noindex' in response.content.decode()
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert not response.cookies
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', response.content.decode())


def test_forms_are_taken_from_pages_without_a_referrer(url):
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


def but_for_the_time(response):
    return {name: value for name, value in response.headers.items() if name != "Expires"}


@pytest.mark.parametrize("close", [renewed, revoked, refunded, terminated, unpaid])
def test_links_that_lead_nowhere_all_get_the_same_answer(client, support, order, url, close):
    unknown = client.get("/o/unknown/")
    close(order)

    for method in (client.get, support.get, lambda url: show(client, url), lambda url: send(client, url)):
        response = method(url)
        assert (response.status_code, response.content) == (404, unknown.content)
        assert but_for_the_time(response) == but_for_the_time(unknown)
    assert ActivationCode.objects.get().seen_at is None and resends() == 0


def test_a_link_of_one_letter_more_or_less_is_unknown(client, url):
    unknown = client.get("/o/unknown/").content
    for other in (url[:-2] + "/", url[:-1] + "x/", url[:-1] + "%00/", url.lower(), url + "?language=de"):
        assert (client.get(other).content == unknown) == ("language" not in other)


def test_what_leads_nowhere_says_so_in_the_browsers_language(client, db):
    response = client.get("/o/unknown/", headers={"accept-language": "fr-CA,fr;q=0.9"})

    assert "Ce lien ne fonctionne pas" in text(response)


@pytest.mark.parametrize("act", ["show", "send"])
def test_what_is_forbidden_since_the_page_was_read_is_not_done(client, order, url, monkeypatch, act):
    def then_refunded(*args):
        refund(order, actor="Sam")
        return real(*args)

    name = {"show": "show_to_customer", "send": "resend_as_customer"}[act]
    real = getattr(customer, name)
    monkeypatch.setattr(customer, name, then_refunded)
    response = client.post(url, {"act": act}, follow=True)

    assert response.status_code == 404
    assert ActivationCode.objects.get().seen_at is None and resends() == 0


@pytest.mark.parametrize("method", ["get", "delete"])
def test_no_log_holds_a_link_also_if_it_leads_nowhere(client, order, url, caplog, method):
    caplog.set_level(logging.DEBUG, "django.request")
    revoke_link(order, actor="Sam")

    getattr(client, method)(url)

    assert "/o/…/" in caplog.text
    assert url[3:20] not in caplog.text
