"""“Lost your license?”: the links to their orders, for customers who have only their address left."""

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


def ask(client, email="ada@example.com", url=URL, **options):
    return client.post(url, {"email": email}, **options)


# The mail


def test_it_mails_the_links_to_the_address(client, order, work, mailoutbox, merchant):
    merchant.reply_to = "help@northlight.example"
    merchant.save()

    ask(client)
    work()

    (message,) = mailoutbox
    assert (message.to, message.subject) == (["ada@example.com"], "Your orders at Northlight")
    assert message.from_email.startswith("Northlight <") and message.reply_to == ["help@northlight.example"]
    assert f"Order A1, 22 November 2026\n{order.url}\n" in message.body
    assert "-KEY-" not in message.body


@pytest.mark.parametrize(("paid", "is_cut"), [(3, False), (4, True)])
def test_it_has_the_newest_orders_and_says_so_if_there_are_others(
    client, pay, product, work, mailoutbox, monkeypatch, paid, is_cut
):
    monkeypatch.setattr(link_requests, "MAX_ORDERS", 3)
    for number in range(paid):
        pay(product, order=f"N{number}")
    work()
    mailoutbox.clear()

    ask(client)
    work()

    (message,) = mailoutbox
    assert re.findall(r"Order (N.)", message.body) == [f"N{number}" for number in range(paid - 1, paid - 4, -1)]
    assert ("You have older orders" in message.body) == is_cut


def close_by_refund(order):
    refund(order, actor="Sam")


def close_by_revoking(order):
    revoke_link(order, actor="Sam")


def of_another_address(order):
    Order.objects.update(email="bob@example.com")


def of_another_merchant(order):
    Order.objects.update(merchant=type(order.merchant).objects.create(name="Outsider", slug="outsider"))


@pytest.mark.parametrize("change", [close_by_refund, close_by_revoking, of_another_address, of_another_merchant])
def test_it_mails_nothing_where_there_is_no_order_to_open(client, order, work, mailoutbox, change):
    change(order)

    ask(client)
    work()

    assert mailoutbox == []
    assert LinkRequest.objects.get().due_at is None


def test_the_link_is_the_present_one(client, order, work, mailoutbox):
    ask(client)
    renew_link(order, actor="Sam")
    work()

    assert order.url in mailoutbox[0].body


def test_an_address_is_the_same_in_any_case(client, order, work, mailoutbox):
    Order.objects.update(email="Ada@Example.com")

    ask(client, "aDA@example.COM")
    work()

    assert mailoutbox[0].to == ["Ada@Example.com"]


def test_a_letter_that_only_looks_the_same_is_another_address(client, order, work, mailoutbox):
    Order.objects.update(email="sam@example.com")
    look_alike = "\N{LATIN SMALL LETTER LONG S}am@example.com"
    assert Order.objects.with_email(look_alike).exists()  # to the database

    ask(client, look_alike)
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
def test_it_is_written_in_the_language_of_the_page(client, order, work, mailoutbox, language, words):
    ask(client, url=f"{URL}?language={language}")
    work()

    (message,) = mailoutbox
    assert all(word in f"{message.subject}\n{message.body}" for word in words)


def test_it_is_tried_again_while_the_mail_server_is_down(client, order, work, mailoutbox, monkeypatch):
    def fail(*args):
        raise MailError("The mail server is down.")

    ask(client)
    with monkeypatch.context() as context:
        context.setattr(link_requests, "send_email", fail)
        work()
    request = LinkRequest.objects.get()
    assert (request.attempts, request.reason) == (1, "The mail server is down.") and request.due_at

    LinkRequest.objects.update(due_at=F("created_at"))
    work()
    work()
    assert len(mailoutbox) == 1


def test_it_is_not_sent_again_if_it_may_have_arrived(client, order, work, mailoutbox, monkeypatch):
    def fall_silent(*args):
        raise MailError("The mail server broke off.", perhaps_taken=True)

    ask(client)
    monkeypatch.setattr(link_requests, "send_email", fall_silent)
    work()

    assert LinkRequest.objects.get().due_at is None


# The page


def test_the_page_speaks_the_browsers_language_or_the_chosen_one(client, merchant):
    assert "Licence perdue" in client.get(URL, headers={"accept-language": "fr-FR"}).content.decode()
    assert "Lizenz verloren" in client.get(f"{URL}?language=de", headers={"accept-language": "fr"}).content.decode()
    assert "Lost your license?" in client.get(URL, headers={"accept-language": "tlh"}).content.decode()


def test_it_leads_there_from_the_order(client, order):
    page = client.get(f"/o/{order.link_token}/?language=es").content.decode()

    assert f'<a href="{URL}?language=es">' in page


def test_an_unknown_merchant_is_a_404(client, merchant):
    assert client.get("/lost/nobody/").status_code == 404
    assert ask(client, url="/lost/nobody/").status_code == 404


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a\0b@example.com", "a" * 250 + "@example.com"])
def test_what_is_no_address_is_said_so(client, merchant, email):
    page = ask(client, email, url=f"{URL}?language=ru").content.decode()

    assert 'class="errorlist"' in page and 'aria-invalid="true"' in page
    assert not LinkRequest.objects.exists()


def test_it_sets_no_cookie_and_needs_none(merchant):
    client = Client(enforce_csrf_checks=True)

    assert not client.get(URL).cookies and not ask(client).cookies
    assert LinkRequest.objects.exists()


# That it tells nothing


def test_the_answer_is_the_same_for_whoever_asks_about_whomever(client, order):
    answers = [ask(client, email) for email in ("ada@example.com", "nobody@example.com") * 4]

    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert len({str(answer.headers) for answer in answers}) == 1


def test_a_known_address_takes_the_same_work_as_an_unknown_one(client, order):
    """Also when it is asked for too often, which is asked for nothing: the rows of those are taken back."""
    work = []
    for email in ("ada@example.com", "nobody@example.com", *3 * ["ada@example.com"]):
        with CaptureQueriesContext(connection) as queries:
            ask(client, email)
        statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
        work.append([re.sub(r"'[^']*'| ?-?\d+", "?", statement) for statement in statements])

    assert LinkRequest.objects.filter(email="ada@example.com").count() == 3
    assert all(one == work[0] for one in work) and any("INSERT" in statement for statement in work[0])
    assert not any("orders_" in statement for statement in work[0])


# How often


def test_an_address_is_served_three_times_an_hour(client, order, work, mailoutbox, outsider):
    for number in range(8):
        merchant = "northlight" if number % 2 else "outsider"
        ask(client, "ADA@example.com" if number % 3 else "ada@example.com", url=f"/lost/{merchant}/")
    assert LinkRequest.objects.count() == 3

    LinkRequest.objects.update(created_at=F("created_at") - timedelta(minutes=61))
    ask(client)
    assert LinkRequest.objects.count() == 4


def from_network(number):
    return {"REMOTE_ADDR": f"192.0.2.{number}"}


def test_a_source_is_served_ten_times_an_hour(client, merchant):
    for number in range(15):
        ask(client, f"somebody-{number}@example.com", **from_network(1))
    assert LinkRequest.objects.count() == 10

    ask(client, "else@example.com", **from_network(2))
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
def test_a_source_is_what_one_subscriber_has(client, merchant, one, other, same):
    ask(client, "a@example.com", REMOTE_ADDR=one)
    ask(client, "b@example.com", REMOTE_ADDR=other)

    sources = {bytes(source) for source in LinkRequest.objects.values_list("source", flat=True)}
    assert (len(sources) == 1) == same
    assert not any(one.encode() in source for source in sources)


def test_behind_a_proxy_the_source_is_what_the_proxy_says(client, merchant, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for number in range(15):
        forwarded = f"203.0.113.{number}, 192.0.2.1"  # the first is what the client claims
        ask(client, f"somebody-{number}@example.com", headers={"x-forwarded-for": forwarded})
    assert LinkRequest.objects.count() == 10

    ask(client, "else@example.com", headers={"x-forwarded-for": "203.0.113.1, 192.0.2.2"})
    assert LinkRequest.objects.count() == 11


@pytest.mark.django_db(transaction=True)
def test_requests_for_one_address_at_the_same_moment_are_counted_one_by_one(merchant, in_threads):
    def request(number):
        request_mail(merchant, "ada@example.com", language="en", source=f"192.0.2.{number}")

    in_threads(request, range(40), threads=8)

    assert LinkRequest.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_requests_of_one_source_at_the_same_moment_are_counted_one_by_one(merchant, in_threads):
    def request(number):
        request_mail(merchant, f"{number}@example.com", language="en", source="192.0.2.1")

    in_threads(request, range(40), threads=8)

    assert LinkRequest.objects.count() == 10


def test_requests_are_forgotten_after_a_day(client, merchant):
    ask(client, "a@example.com")
    LinkRequest.objects.update(created_at=F("created_at") - timedelta(hours=25))
    ask(client, "b@example.com")

    sweep()

    assert LinkRequest.objects.get().email == "b@example.com"
