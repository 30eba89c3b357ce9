import smtplib
from contextlib import contextmanager
from datetime import timedelta

import pytest
from anymail.exceptions import AnymailAPIError, AnymailInvalidAddress, AnymailRequestsAPIError
from django.core.mail import EmailMessage
from django.utils import timezone
from requests import ReadTimeout

from delivery.models import Delivery
from merchants.models import CheckoutPage
from notices.models import MerchantNotice
from orders.models import Order
from outbound.mail import MailError, is_about_address


@pytest.fixture
def fail_to_send(monkeypatch):
    def fail(error):
        def send(self, fail_silently=False):
            raise error

        monkeypatch.setattr(EmailMessage, "send", send)

    return fail


def delivery_in_api(api):
    number = Order.objects.get().number
    code = api.get(f"/api/v1/orders/{number}/").json()["items"][0]["activation_codes"][0]
    return code["delivery"], code["delivery_reason"]


def test_the_email_contains_the_codes_as_text_and_html(pay, make_product, work, mailoutbox):
    answer = pay(make_product(name="Photo Pro"), quantity=2)
    work()

    (message,) = mailoutbox
    assert message.to == ["ada@example.com"]
    assert message.subject == "Your license for Photo Pro"
    assert message.from_email.startswith("Northlight <")
    html, kind = message.alternatives[0]
    assert kind == "text/html"
    for code in answer["items"][0]["activation_codes"]:
        assert code["code"] in message.body and code["code"] in html
    assert answer["order_url"] in message.body and f'href="{answer["order_url"]}"' in html


def test_it_saves_the_message_id(pay, product, work, mailoutbox):
    pay(product)
    work()

    delivery = Delivery.objects.get()
    assert delivery.status == "sent" and delivery.sent_at
    assert mailoutbox[0].message()["Message-ID"] == delivery.message_id


def test_it_is_sent_once(pay, product, work, mailoutbox):
    pay(product)
    work()
    work()

    assert len(mailoutbox) == 1


def test_it_retries_while_the_mail_server_is_down(api, pay, product, work, fail_to_send, monkeypatch, mailoutbox):
    fail_to_send(ConnectionRefusedError(111, "Connection refused"))
    pay(product)
    work()
    status, reason = delivery_in_api(api)
    assert status == "queued" and "Connection refused" in reason
    message_id = Delivery.objects.get().message_id

    monkeypatch.undo()
    Delivery.objects.update(due_at="2026-01-01T00:00:00Z")
    work()

    assert delivery_in_api(api) == ("sent", "")
    assert mailoutbox[0].extra_headers["Message-ID"] == message_id


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"no such user")}),
        AnymailInvalidAddress("no such user"),
        smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"no such user\0 \xff")}),
        AnymailInvalidAddress("no such user\0 \ud800"),
    ],
)
def test_a_rejected_address_fails_the_delivery_and_notifies_the_merchant(pay, product, work, fail_to_send, error):
    fail_to_send(error)
    pay(product)
    work()

    delivery = Delivery.objects.get()
    assert delivery.status == "failed" and "no such user" in delivery.reason
    assert MerchantNotice.objects.get(kind="delivery_failed").subject == delivery


# Does the response mean a wrong address, after the recipient command and after the whole message?
@pytest.mark.parametrize(
    "code, answer, about_recipient, about_message",
    [
        (550, "no such user", True, False),
        (553, "5.1.3 not an address", True, True),
        (550, "5.1.1 no such user", True, True),
        (550, "5.1.2 no such domain", True, True),
        (551, "5.1.6 has moved", True, True),
        (556, "5.1.10 null MX", True, True),
        (550, "5.2.1 mailbox disabled", True, True),
        (552, "5.2.2 mailbox full", True, False),
        (550, "5.1.7 your sender address is wrong", False, False),
        (550, "5.1.11 new in some RFC", True, False),
        (554, "5.7.1 relaying denied", False, False),
        (550, "5.7.26 unauthenticated mail", False, False),
        (554, "5.3.4 too big for the system", False, False),
        (550, "5.4.1 no answer from host", False, False),
        (554, "", True, False),
        (450, "5.1.1 greylisted", False, False),
        (451, "4.7.1 try later", False, False),
        (421, "", False, False),
        (-1, "", False, False),
    ],
)
def test_it_recognizes_responses_about_a_wrong_address(code, answer, about_recipient, about_message):
    assert is_about_address(code, answer, of_recipient=True) == about_recipient
    assert is_about_address(code, answer) == about_message


@pytest.mark.parametrize("code, answer", [(550, b"5.1.1 no such user"), (553, b"5.1.3 not an address")])
def test_an_address_rejected_with_the_message_fails_the_delivery(pay, product, work, fail_to_send, code, answer):
    fail_to_send(smtplib.SMTPDataError(code, answer))
    pay(product)
    work()

    assert Delivery.objects.get().status == "failed"


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPRecipientsRefused({"ada@example.com": (554, b"5.7.1 relaying denied")}),
        smtplib.SMTPDataError(554, b"5.7.1 looks like spam"),
        smtplib.SMTPSenderRefused(550, b"5.7.1 not you", "licenses@example.com"),
        smtplib.SMTPAuthenticationError(535, b"5.7.8 wrong password"),
        smtplib.SMTPRecipientsRefused({"ada@example.com": (450, b"greylisted")}),
        smtplib.SMTPDataError(451, b"try later"),
        smtplib.SMTPServerDisconnected("gone"),
        TimeoutError("timed out"),
        AnymailAPIError("503"),
    ],
)
def test_it_retries_after_any_other_failure(pay, product, work, fail_to_send, error):
    fail_to_send(error)
    pay(product)
    work()

    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts) == ("queued", 1)
    assert delivery.due_at is not None


class ProviderTimeout(AnymailRequestsAPIError, ReadTimeout):
    """A timeout as raised by anymail."""


def test_it_waits_before_resending_an_email_that_the_provider_may_have_accepted(pay, product, work, fail_to_send):
    fail_to_send(ProviderTimeout("timed out"))
    pay(product)
    work()

    delivery = Delivery.objects.get()
    assert delivery.status == "queued" and "timed out" in delivery.reason
    assert not Delivery.objects.filter(due_at__lt=timezone.now() + timedelta(minutes=9)).exists()


def test_it_waits_before_resending_a_notice_that_may_have_been_accepted(merchant, work, monkeypatch):
    @contextmanager
    def time_out(message):
        raise MailError("silence", may_have_arrived=True)
        yield

    monkeypatch.setattr("notices.sending.send_email", time_out)
    monkeypatch.setattr("notices.sending._obsolete_reason", lambda notice: "")
    MerchantNotice.objects.create(merchant=merchant, kind="mail_server")
    work()

    assert MerchantNotice.objects.filter(due_at__gt=timezone.now() + timedelta(minutes=8)).exists()


def test_an_email_that_cannot_be_composed_gives_a_reason_and_finally_fails(pay, product, work, monkeypatch):
    monkeypatch.setattr("delivery.facts.render_email", lambda content, texts: 1 / 0)
    pay(product)
    work()
    assert "Something went wrong on our side" in Delivery.objects.get().reason

    Delivery.objects.update(due_at="2026-01-01T00:00:00Z", attempts=Delivery.MAX_ATTEMPTS - 1)
    work()

    assert Delivery.objects.get().status == "failed"
    assert MerchantNotice.objects.filter(kind="delivery_failed").exists()


def test_the_delivery_is_saved_before_the_connection_is_closed(pay, product, work, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "django.core.mail.backends.locmem.EmailBackend.close",
        lambda self: seen.append(Delivery.objects.get().status),
        raising=False,
    )
    pay(product)
    work()

    assert seen == ["sent"]


def test_it_fails_after_the_last_attempt(pay, product, work, fail_to_send):
    fail_to_send(TimeoutError("timed out"))
    pay(product)
    Delivery.objects.update(attempts=Delivery.MAX_ATTEMPTS - 1)
    work()

    assert Delivery.objects.get().status == "failed"


def test_it_is_sent_to_the_corrected_address(pay, product, work, mailoutbox):
    pay(product)
    Order.objects.update(email="ada@byron.example")
    work()

    assert mailoutbox[0].to == ["ada@byron.example"] == [Delivery.objects.get().recipient]


def test_an_order_refunded_before_the_delivery_gets_no_email(pay, product, work, mailoutbox):
    pay(product)
    Order.objects.update(status="deleted")
    work()

    assert mailoutbox == []
    assert (Delivery.objects.get().status, Delivery.objects.get().reason) == ("canceled", "The order is deleted.")


def test_an_order_from_a_checkout_page_without_delivery_gets_no_email(pay, product, work, mailoutbox):
    CheckoutPage.objects.update(delivery_allowed=False)

    answer = pay(product)
    work()

    assert answer["items"][0]["activation_codes"][0]["delivery"] == "none"
    assert mailoutbox == []


def test_an_error_after_sending_does_not_resend_the_email(pay, product, work, monkeypatch, mailoutbox):
    monkeypatch.setattr("delivery.tracking.match_all", lambda deliveries: 1 / 0)
    pay(product)

    work()
    Delivery.objects.exclude(due_at=None).update(due_at=timezone.now())
    work()

    assert len(mailoutbox) == 1
    assert Delivery.objects.get().status == "sent"
