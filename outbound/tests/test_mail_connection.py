"""The connection to the installation's own mail server, against a real one on loopback."""

import email
import email.policy
from datetime import timedelta

import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db.models.functions import Now

from delivery.models import Delivery
from fulfillment.history import order_history
from orders.models import Order
from outbound import mail_servers
from outbound.mail import MailError, send_email
from runtime.tests.installation import free_port
from runtime.tests.sink import Sink


@pytest.fixture
def sink(settings):
    sink = Sink(free_port())
    sink.start()
    settings.EMAIL_BACKEND = "outbound.mail_servers.InstallationServer"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    yield sink
    sink.stop()


def send(body="Your key", to="ada@example.com"):
    with send_email(
        EmailMessage("Licenses", body, "shop@example.com", [to], headers={"Message-ID": "<1@example.com>"})
    ):
        pass


def test_emails_share_a_connection(sink):
    for _ in range(5):
        send()

    assert (len(sink.messages), sink.sessions) == (5, 1)


def test_a_connection_is_not_kept_forever(sink, monkeypatch):
    monkeypatch.setattr(mail_servers, "MAX_EMAILS_PER_CONNECTION", 2)
    for _ in range(5):
        send()
    assert sink.sessions == 3

    monkeypatch.setattr(mail_servers, "MAX_IDLE_SECONDS", -1)
    send()
    send()

    assert sink.sessions == 5
    assert len(sink.messages) == 7


def test_a_connection_that_the_server_has_closed_is_replaced(sink):
    send()
    sink.stop()
    sink.start()

    send()

    assert (len(sink.messages), sink.sessions) == (2, 2)


def test_a_rejected_email_does_not_affect_the_next(sink, monkeypatch):
    async def reject_nobody(server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    monkeypatch.setattr(sink, "handle_RCPT", reject_nobody, raising=False)
    send()
    with pytest.raises(MailError):
        send(to="nobody@example.com")
    sink.messages.clear()
    send()

    assert len(sink.messages) == 1


@pytest.mark.parametrize("eight_bit", [True, False])
def test_a_server_gets_8_bit_content_only_if_it_supports_it(sink, eight_bit):
    sink.eight_bit = eight_bit
    body = "Schöne Grüße, Zoë\n.\nГотово\n"

    send(body)

    [content] = sink.contents
    assert content.isascii() == (not eight_bit)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message.get_content().replace("\r\n", "\n") == body


@pytest.fixture
def delivery(pay, product):
    pay(product)
    return Delivery.objects.get()


@pytest.mark.parametrize("trouble", [{"breaks_off": True}, {"delay": 5}])
def test_an_email_that_may_have_arrived_is_resent_ten_minutes_later(sink, delivery, work, settings, trouble):
    settings.EMAIL_TIMEOUT = 1
    sink.__dict__.update(trouble)
    work()

    waiting = Delivery.objects.get()
    assert len(sink.messages) == 1
    assert waiting.status == Delivery.Status.QUEUED
    assert "may have arrived" in waiting.reason
    assert not Delivery.objects.filter(due_at__lt=Now() + timedelta(minutes=9)).exists()
    lines = [line.text for line in order_history(Order.objects.get())]
    assert any("may have arrived" in line for line in lines)

    sink.breaks_off, sink.delay = False, 0
    settings.EMAIL_TIMEOUT = 30
    Delivery.objects.update(due_at=Now())
    work()

    assert Delivery.objects.get().status == Delivery.Status.SENT
    assert set(sink.received().values()) == {2}  # with the same Message-ID
    assert any("may have arrived" in line.text for line in order_history(Order.objects.get()))


def test_an_incomplete_email_is_retried_soon(sink, delivery, work, monkeypatch):
    async def hang_up(server, session, envelope, address, options):
        server.transport.abort()
        return "250 OK"

    monkeypatch.setattr(sink, "handle_RCPT", hang_up, raising=False)
    sink.stop()
    sink.start()
    work()

    waiting = Delivery.objects.get()
    assert "may have arrived" not in waiting.reason
    assert waiting.reason
    assert Delivery.objects.filter(due_at__lt=Now() + timedelta(minutes=1)).exists()


def test_an_email_has_the_same_bytes_as_djangos():
    message = EmailMultiAlternatives(
        "Ihre Lizenz für Größe",
        "Grüße\n" * 3,
        "Nördlicht GmbH & Co. Kommanditgesellschaft für sehr lange Namen in Absendern <shop@example.com>",
        ["ada@example.com"],
        reply_to=["Zoë <zoe@example.com>"],
        headers={"Message-ID": "<1@example.com>", "Auto-Submitted": "auto-generated", "Content-Language": "de"},
    )
    message.attach_alternative("<p>Grüße</p>", "text/html")
    composed = message.message()

    for _ in range(2):  # the second time, its headers are known
        assert mail_servers._flatten(composed) == composed.as_bytes(linesep="\r\n")  # type: ignore[call-arg]
