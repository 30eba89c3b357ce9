"""Workers send e-mails in batches, each as carefully as if it were alone, and serve merchants in turn."""

import os
import signal
import smtplib
from collections import Counter
from datetime import timedelta
from time import monotonic

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from delivery import sending
from delivery.models import DeliveredCode, Delivery, TrackingEvent
from delivery.models.deliveries import ALL, BATCH_SIZE
from fulfillment.tests.factories import make_product as make_product_of
from merchants.models import CheckoutPage
from orders.models import ActivationCode, Order
from orders.services import correct_email, refund
from outbound import mail_servers
from outbound.mail import MailError, MailSession, make_message_id
from outbound.models import MailAccount
from runtime.tests.installation import free_port
from runtime.tests.sink import Sink
from webhooks.models import WebhookEndpoint, WebhookMessage

LONG = 1000


def deliver_all(merchant=ALL):
    return sending.deliver_due(monotonic() + LONG, merchant)


def statuses():
    return list(Delivery.objects.order_by("pk").values_list("status", flat=True))


@pytest.fixture
def orders(pay, make_product):
    """Three paid orders whose e-mails are due, each of another product."""
    for number in range(3):
        pay(make_product(), customer={"email": f"customer-{number}@example.com"})
    return list(Order.objects.order_by("pk"))


@pytest.fixture
def meanwhile(monkeypatch):
    """Call a function once, when the first e-mail of a batch has been sent and the others are claimed and read."""

    def meanwhile(function):
        send, calls = EmailMessage.send, iter([function])

        def send_and_call(self, fail_silently=False):
            send(self)
            next(calls, lambda: None)()

        monkeypatch.setattr(EmailMessage, "send", send_and_call)

    return meanwhile


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


def add_resends(order, count, **fields):
    code = order.codes().first()
    new = Delivery.objects.bulk_create(
        Delivery(
            merchant_id=order.merchant_id,
            order=order,
            kind="resend",
            recipient=order.email,
            message_id=make_message_id(),
            **fields,
        )
        for _ in range(count)
    )
    DeliveredCode.objects.bulk_create(DeliveredCode(delivery=row, code=code, automatic=False) for row in new)
    return new


# What may change while a batch is being sent


def test_a_refund_is_respected(orders, meanwhile, mailoutbox):
    meanwhile(lambda: refund(orders[1], actor="Sam"))

    deliver_all()

    assert statuses() == ["sent", "canceled", "sent"]
    assert [message.to for message in mailoutbox] == [["customer-0@example.com"], ["customer-2@example.com"]]


def test_a_corrected_address_is_used(orders, meanwhile, mailoutbox):
    meanwhile(lambda: correct_email(orders[2], "right@example.com", actor="Sam"))

    deliver_all()

    assert mailoutbox[2].to == ["right@example.com"]
    assert Delivery.objects.latest("pk").recipient == "right@example.com"


def test_a_withdrawn_code_is_not_sent(orders, meanwhile, mailoutbox):
    withdrawn = ActivationCode.objects.filter(item__order=orders[1])
    meanwhile(lambda: withdrawn.update(withdrawn_at=Now()))

    deliver_all()

    assert statuses() == ["sent", "canceled", "sent"]


def test_delivery_that_is_no_longer_allowed_stops(orders, meanwhile, mailoutbox):
    meanwhile(lambda: CheckoutPage.objects.update(delivery_allowed=False))

    deliver_all()

    assert statuses() == ["sent", "canceled", "canceled"]


def test_a_delivery_that_another_worker_took_over_is_left_to_it(orders, meanwhile, mailoutbox):
    meanwhile(lambda: Delivery.objects.filter(order=orders[1]).update(attempts=2))

    deliver_all()

    assert statuses() == ["sent", "queued", "sent"]


# One that fails does not stop the others


def test_a_code_that_cannot_be_decrypted_fails_alone(orders, mailoutbox):
    ActivationCode.objects.filter(item__order=orders[1]).update(unit=7)  # its ciphertext belongs to another unit

    deliver_all()

    assert statuses() == ["sent", "queued", "sent"]
    assert "Something went wrong on our side" in Delivery.objects.get(order=orders[1]).reason


def test_an_email_that_cannot_be_composed_fails_alone(orders, mailoutbox, monkeypatch):
    compose = sending.Facts.compose
    broken = Delivery.objects.get(order=orders[0])
    monkeypatch.setattr(
        sending.Facts, "compose", lambda self, delivery: compose(self, delivery) if delivery != broken else 1 / 0
    )

    deliver_all()

    assert statuses() == ["queued", "sent", "sent"]


def test_a_refused_recipient_fails_alone(orders, sink, monkeypatch):
    async def refuse_one(server, session, envelope, address, options):
        if address == "customer-1@example.com":
            return "550 5.1.1 unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    monkeypatch.setattr(sink, "handle_RCPT", refuse_one, raising=False)

    deliver_all()

    assert statuses() == ["sent", "failed", "sent"]


def test_if_a_batch_cannot_be_read_each_email_is_read_alone(orders, mailoutbox, monkeypatch):
    read = sending.read_facts

    def read_one(deliveries):
        [delivery] = deliveries
        return read([delivery]) if delivery.order != orders[1] else 1 / 0

    monkeypatch.setattr(sending, "read_facts", read_one)

    deliver_all()

    assert statuses() == ["sent", "queued", "sent"]


# Time


def test_the_rest_of_a_batch_is_released_when_the_time_is_over(orders, mailoutbox):
    assert sending.deliver_due(monotonic() - 1)

    released = Delivery.objects.filter(status="queued")
    assert len(mailoutbox) == 1
    assert {row.attempts for row in released} == {0} and released.due().count() == 2


def test_a_batch_takes_a_fixed_number_of_statements(
    pay, make_product, merchant, mailoutbox, django_assert_max_num_queries
):
    product = make_product(keys=20)
    for _ in range(10):
        pay(product)
    with django_assert_max_num_queries(14 + 10):
        deliver_all()
    WebhookEndpoint.objects.create(
        merchant=merchant, url="https://x.example", events=["product.delivered"], secret="x"
    )
    for _ in range(10):
        pay(product)

    # A savepoint and the event of each.
    with django_assert_max_num_queries(14 + 10 * 4):
        deliver_all()

    assert len(mailoutbox) == 20
    assert WebhookMessage.objects.count() == 10


def test_an_event_that_arrived_first_is_applied(orders, mailoutbox):
    for delivery in Delivery.objects.all():
        TrackingEvent.objects.create(
            message_id=delivery.message_id.strip("<>"),
            kind="delivered",
            occurred_at=delivery.created_at,
            fingerprint=delivery.message_id.encode(),
        )

    deliver_all()

    assert statuses() == ["delivered"] * 3


# Turns


def test_a_long_queue_of_one_merchant_does_not_delay_another(orders, outsider, make_api, make_payment):
    add_resends(orders[0], 5000)
    assert make_api(outsider).post(
        "/api/v1/payments/", make_payment(make_product_of(outsider)), format="json"
    ).status_code == 201  # fmt: skip

    batch = Delivery.objects.claim_batch()

    assert Counter(delivery.merchant_id for delivery in batch) == {
        orders[0].merchant_id: BATCH_SIZE // 2,
        outsider.pk: 1,
    }


def test_many_merchants_are_served_in_turn(orders, make_merchant, make_api, make_payment, mailoutbox):
    add_resends(orders[0], 100)
    for number in range(BATCH_SIZE + 5):
        merchant = make_merchant(f"Merchant-{number}")
        payment = make_payment(make_product_of(merchant, keys=1))
        make_api(merchant).post("/api/v1/payments/", payment, format="json")

    batches = [Delivery.objects.claim_batch()]
    batches.append(Delivery.objects.claim_batch(after=max(delivery.merchant_id for delivery in batches[0])))

    assert len(batches[0]) == BATCH_SIZE
    assert len({delivery.merchant_id for batch in batches for delivery in batch}) == BATCH_SIZE + 6
    deliver_all()
    assert len(mailoutbox) == 103 - sum(delivery.merchant_id == orders[0].merchant_id for delivery in batches[0])


def test_retries_come_first_then_the_longest_overdue(orders):
    first, second, third = Delivery.objects.order_by("pk")
    second._update(due_at=Now() - timedelta(minutes=5))
    Delivery.objects.filter(pk=third.pk).update(attempts=1, due_at=Now())

    assert Delivery.objects.claim_batch() == [third, second, first]


def test_merchants_with_a_server_of_their_own_are_served_separately(orders, merchant, outsider):
    MailAccount.objects.create(merchant=merchant, kind="postmark", sender="a@example.com", credentials="{}")

    assert Delivery.objects.claim_batch() == Delivery.objects.claim_batch(outsider.pk) == []
    assert len(Delivery.objects.claim_batch(merchant.pk)) == 3


def test_an_unreachable_server_of_a_merchant_is_tried_once(orders, merchant, monkeypatch):
    MailAccount.objects.create(merchant=merchant, kind="postmark", sender="a@example.com", credentials="{}")
    tried = []

    def fail(self, message):
        tried.append(message)
        raise MailError("away", unreachable=True)

    monkeypatch.setattr(MailSession, "send", fail)

    deliver_all(merchant.pk)

    assert len(tried) == 1
    assert sorted(Delivery.objects.values_list("attempts", flat=True)) == [0, 0, 1]
    assert not Delivery.objects.due().exists()


# Connections


@pytest.mark.parametrize("answer", ["421 4.7.0 too many messages", None])
def test_a_connection_that_the_server_closes_between_two_emails_is_replaced(orders, sink, monkeypatch, answer):
    mails: Counter = Counter()

    async def limit(server, session, envelope, address, options):
        if mails[session] == 2:
            server.transport.abort() if answer is None else server.transport.close()
            return answer or "250 OK"
        mails[session] += 1
        envelope.mail_from = address
        return "250 OK"

    monkeypatch.setattr(sink, "handle_MAIL", limit, raising=False)

    deliver_all()

    assert statuses() == ["sent"] * 3
    assert set(sink.received().values()) == {1}
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}


def test_an_email_that_may_have_arrived_is_not_repeated_at_once(orders, sink):
    async def break_off(server, session, envelope):
        await Sink.handle_DATA(sink, server, session, envelope)
        sink.breaks_off = True
        return "250 OK"

    sink.handle_DATA = break_off

    deliver_all()

    assert statuses() == ["sent", "queued", "queued"]
    assert set(sink.received().values()) == {1} and len(sink.messages) == 3
    assert not Delivery.objects.filter(status="queued", due_at__lt=Now() + timedelta(minutes=9)).exists()


def test_a_timeout_of_a_kept_connection_is_not_repeated_at_once():
    error = smtplib.SMTPServerDisconnected("timed out")
    error.__context__ = TimeoutError()

    assert not mail_servers._is_goodbye(error)


# Crashes and races


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_dies_between_acceptance_and_mark_repeats_one_email(orders, sink):
    add_resends(orders[0], 9)
    connection.close()
    child = os.fork()
    if child == 0:
        marks = iter(range(100))
        update = sending.Batch._update_sent

        def die(self, *args):
            if next(marks) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return update(self, *args)

        sending.Batch._update_sent = die  # type: ignore[method-assign]
        deliver_all()
        os._exit(0)

    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(sink.messages) == 5
    deliver_all()
    assert len(sink.messages) == 5  # the lease
    Delivery.objects.filter(status="queued").update(due_at=F("due_at") - timedelta(seconds=61))
    deliver_all()

    assert statuses() == ["sent"] * 12
    assert sorted(sink.received().values()) == [1] * 11 + [2]


@pytest.mark.django_db(transaction=True)
def test_workers_with_the_same_backlog_send_each_email_once(orders, mailoutbox, in_threads):
    add_resends(orders[0], 97)

    in_threads(lambda _: deliver_all(), range(4), threads=4)
    deliver_all()

    assert set(statuses()) == {"sent"}
    assert Counter(message.extra_headers["Message-ID"] for message in mailoutbox).most_common(1)[0][1] == 1
    assert len(mailoutbox) == 100
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}
