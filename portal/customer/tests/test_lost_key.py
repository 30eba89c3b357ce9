"""“Lost your license?”: customers enter their e-mail address and get links to their orders."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from delivery import link_requests
from delivery.link_requests import request_mail
from delivery.models import LinkRequest
from fulfillment.tasks import sweep
from orders.models import Order
from orders.services import refund, renew_link, revoke_link
from outbound.mail import MailError

URL = "/lost/northlight/"


@pytest.fixture
def order(pay, product, work, mailoutbox):
    pay(product, order="A1")
    work()
    mailoutbox.clear()
    return Order.objects.get()


def request_links(client, email="ada@example.com", url=URL, **options):
    return client.post(url, {"email": email}, **options)


# The e-mail


def test_it_emails_the_links_to_the_address(client, order, work, mailoutbox, merchant):
    merchant.reply_to = "help@northlight.example"
    merchant.save()

    request_links(client)
    work()

    (message,) = mailoutbox
    assert (message.to, message.subject) == (["ada@example.com"], "Your orders at Northlight")
    assert message.from_email.startswith("Northlight <") and message.reply_to == ["help@northlight.example"]
    assert f"Order A1, 22 November 2026\n{order.url}\n" in message.body
    assert "-KEY-" not in message.body


@pytest.mark.parametrize(("paid", "is_cut"), [(3, False), (4, True)])
def test_it_contains_the_newest_orders_and_mentions_older_ones(
    client, pay, product, work, mailoutbox, monkeypatch, paid, is_cut
):
    monkeypatch.setattr(link_requests, "MAX_ORDERS", 3)
    for number in range(paid):
        pay(product, order=f"N{number}")
    work()
    mailoutbox.clear()

    request_links(client)
    work()

    (message,) = mailoutbox
    assert re.findall(r"Order (N.)", message.body) == [f"N{number}" for number in range(paid - 1, paid - 4, -1)]
    assert ("You have older orders" in message.body) == is_cut


def close_by_refund(order):
    refund(order, actor="Sam")


def close_by_revoking(order):
    revoke_link(order, actor="Sam")


def move_to_another_address(order):
    Order.objects.update(email="bob@example.com")


def move_to_another_merchant(order):
    Order.objects.update(merchant=type(order.merchant).objects.create(name="Outsider", slug="outsider"))


@pytest.mark.parametrize(
    "change", [close_by_refund, close_by_revoking, move_to_another_address, move_to_another_merchant]
)
def test_it_sends_nothing_without_an_order_to_open(client, order, work, mailoutbox, change):
    change(order)

    request_links(client)
    work()

    assert mailoutbox == []
    assert LinkRequest.objects.get().due_at is None


def test_it_contains_the_current_link(client, order, work, mailoutbox):
    request_links(client)
    renew_link(order, actor="Sam")
    work()

    assert order.url in mailoutbox[0].body


def test_it_ignores_the_case_of_the_address(client, order, work, mailoutbox):
    Order.objects.update(email="Ada@Example.com")

    request_links(client, "aDA@example.COM")
    work()

    assert mailoutbox[0].to == ["Ada@Example.com"]


def test_a_look_alike_address_gets_nothing(client, order, work, mailoutbox):
    Order.objects.update(email="sam@example.com")
    look_alike = "\N{LATIN SMALL LETTER LONG S}am@example.com"
    assert Order.objects.with_email(look_alike).exists()  # the database considers them equal

    request_links(client, look_alike)
    work()

    assert mailoutbox == []


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("de", ["Ihre Bestellungen bei Northlight", "Bestellung A1, 22. November 2026"]),
        ("fr", ["Vos commandes chez Northlight", "Commande A1, 22 novembre 2026"]),
        ("es", ["Sus pedidos en Northlight", "Pedido A1, 22 de noviembre de 2026"]),
        ("ru", ["Ваши заказы: Northlight", "Заказ A1, 22 ноября 2026"]),
    ],
)
def test_the_email_uses_the_language_of_the_page(client, order, work, mailoutbox, language, words):
    request_links(client, url=f"{URL}?language={language}")
    work()

    (message,) = mailoutbox
    assert all(word in f"{message.subject}\n{message.body}" for word in words)


def test_it_retries_while_the_mail_server_is_down(client, order, work, mailoutbox, monkeypatch):
    def fail(*args):
        raise MailError("The mail server is down.")

    request_links(client)
    with monkeypatch.context() as context:
        context.setattr(link_requests, "send_email", fail)
        work()
    request = LinkRequest.objects.get()
    assert (request.attempts, request.reason) == (1, "The mail server is down.") and request.due_at

    LinkRequest.objects.update(due_at=F("created_at"))
    work()
    work()
    assert len(mailoutbox) == 1


def test_it_does_not_retry_an_email_that_may_have_arrived(client, order, work, mailoutbox, monkeypatch):
    def time_out(*args):
        raise MailError("The mail server broke off.", may_have_arrived=True)

    request_links(client)
    monkeypatch.setattr(link_requests, "send_email", time_out)
    work()

    assert LinkRequest.objects.get().due_at is None


# The page


def test_the_page_uses_the_chosen_language_or_the_browsers(client, merchant):
    assert "Licence perdue" in client.get(URL, headers={"accept-language": "fr-FR"}).content.decode()
    assert "Lizenz verloren" in client.get(f"{URL}?language=de", headers={"accept-language": "fr"}).content.decode()
    assert "Lost your license?" in client.get(URL, headers={"accept-language": "tlh"}).content.decode()


def test_the_order_page_links_to_it(client, order):
    page = client.get(f"/o/{order.link_token}/?language=es").content.decode()

    assert f'<a href="{URL}?language=es">' in page


def test_an_unknown_merchant_is_a_404(client, merchant):
    assert client.get("/lost/nobody/").status_code == 404
    assert request_links(client, url="/lost/nobody/").status_code == 404


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a\0b@example.com", "a" * 250 + "@example.com"])
def test_it_rejects_an_invalid_address(client, merchant, email):
    page = request_links(client, email, url=f"{URL}?language=ru").content.decode()

    assert 'class="errorlist"' in page and 'aria-invalid="true"' in page
    assert not LinkRequest.objects.exists()


def test_it_neither_sets_nor_needs_cookies(merchant):
    client = Client(enforce_csrf_checks=True)

    assert not client.get(URL).cookies and not request_links(client).cookies
    assert LinkRequest.objects.exists()


# It reveals nothing


def test_known_and_unknown_addresses_get_the_same_response(client, order):
    answers = [request_links(client, email) for email in ("ada@example.com", "nobody@example.com") * 4]

    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    for answer in answers:
        del answer.headers["X-Request-ID"]
    assert len({str(answer.headers) for answer in answers}) == 1


def test_known_and_unknown_addresses_run_the_same_queries(client, order):
    """Requests above the limit, too, run the same queries; their rows are rolled back."""
    work = []
    for email in ("ada@example.com", "nobody@example.com", *3 * ["ada@example.com"]):
        with CaptureQueriesContext(connection) as queries:
            request_links(client, email)
        statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
        work.append([re.sub(r"'[^']*'| ?-?\d+", "?", statement) for statement in statements])

    assert LinkRequest.objects.filter(email="ada@example.com").count() == 3
    assert all(one == work[0] for one in work) and any("INSERT" in statement for statement in work[0])
    assert not any("orders_" in statement for statement in work[0])


# Limits


def test_it_accepts_three_requests_an_hour_for_an_address(client, order, work, mailoutbox, outsider):
    for number in range(8):
        merchant = "northlight" if number % 2 else "outsider"
        request_links(client, "ADA@example.com" if number % 3 else "ada@example.com", url=f"/lost/{merchant}/")
    assert LinkRequest.objects.count() == 3

    LinkRequest.objects.update(created_at=F("created_at") - timedelta(minutes=61))
    request_links(client)
    assert LinkRequest.objects.count() == 4


def from_network(number):
    return {"REMOTE_ADDR": f"192.0.2.{number}"}


def test_it_accepts_ten_requests_an_hour_from_a_source(client, merchant):
    for number in range(15):
        request_links(client, f"somebody-{number}@example.com", **from_network(1))
    assert LinkRequest.objects.count() == 10

    request_links(client, "else@example.com", **from_network(2))
    assert LinkRequest.objects.count() == 11


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", True),
        ("2001:db8:1:1::1", "2001:db8:1:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_a_source_is_the_network_of_one_subscriber(client, merchant, one, other, same):
    request_links(client, "a@example.com", REMOTE_ADDR=one)
    request_links(client, "b@example.com", REMOTE_ADDR=other)

    sources = {bytes(source) for source in LinkRequest.objects.values_list("source", flat=True)}
    assert (len(sources) == 1) == same
    assert not any(one.encode() in source for source in sources)


def test_behind_a_proxy_the_source_is_the_address_from_the_proxy(client, merchant, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for number in range(15):
        forwarded = f"203.0.113.{number}, 192.0.2.1"  # the client claims the first address
        request_links(client, f"somebody-{number}@example.com", headers={"x-forwarded-for": forwarded})
    assert LinkRequest.objects.count() == 10

    request_links(client, "else@example.com", headers={"x-forwarded-for": "203.0.113.1, 192.0.2.2"})
    assert LinkRequest.objects.count() == 11


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_for_one_address_are_counted_separately(merchant, in_threads):
    def request(number):
        request_mail(merchant, "ada@example.com", language="en", source=f"192.0.2.{number}")

    in_threads(request, range(40), threads=8)

    assert LinkRequest.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_from_one_source_are_counted_separately(merchant, in_threads):
    def request(number):
        request_mail(merchant, f"{number}@example.com", language="en", source="192.0.2.1")

    in_threads(request, range(40), threads=8)

    assert LinkRequest.objects.count() == 10


def test_requests_are_deleted_after_a_day(client, merchant):
    request_links(client, "a@example.com")
    LinkRequest.objects.update(created_at=F("created_at") - timedelta(hours=25))
    request_links(client, "b@example.com")

    sweep()

    assert LinkRequest.objects.get().email == "b@example.com"
