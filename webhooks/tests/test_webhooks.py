"""Every event reaches a shop at least once, with an ID to detect duplicates, or its endpoint is disabled."""

import json
import smtplib
from datetime import timedelta
from time import sleep

import pytest
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from fulfillment.tasks import purge_logs
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order
from orders.services import refund
from outbound.models import OutgoingRequest
from outbound.signatures import sign
from outbound.tests.receiver import Receiver
from pools.tests.factories import stock
from webhooks import sending as webhooks
from webhooks.models import WebhookEndpoint, WebhookEvent, WebhookMessage
from webhooks.sending import WebhookRefused, disable, emit, enable, send_again, send_test

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def make_endpoint(merchant, receiver):
    def make(merchant=merchant, url=receiver.url, events=tuple(WebhookEvent.values), **fields):
        return WebhookEndpoint.objects.create(
            merchant=merchant, url=url, events=list(events), **({"secret": SECRET} | fields)
        )

    return make


@pytest.fixture
def endpoint(make_endpoint):
    return make_endpoint()


@pytest.fixture
def send(work):
    """Let time pass and send the messages that are due."""

    def send(after=timedelta(hours=2)):
        WebhookMessage.objects.filter(due_at__isnull=False).update(due_at=F("due_at") - after)
        for message in WebhookMessage.objects.due():
            webhooks.send(message.pk)

    return send


def verified(received, secret=SECRET):
    """Return the payload if its signature is valid."""
    return Webhook(secret).verify(received.body, received.headers)


def received_events(receiver):
    """List the received events with their data."""
    return [(event["type"], event["data"]) for event in map(verified, receiver.received)]


# Events


def test_an_order_emits_events_over_its_life(endpoint, receiver, pay, make_product, work):
    product = make_product(keys=2, sku="PHOTO-PRO")
    pay(product, order="A1", quantity=3)
    work()
    work()
    stock(product.fulfillment_methods.get().kind.place, 1)
    work()
    work()
    refund(Order.objects.get(), actor="shop")
    work()

    item = {"order": "A1", "item": "1", "product": "PHOTO-PRO", "quantity": 3}
    events = received_events(receiver)
    assert [event for event in events if not event[0].startswith("pool")] == [
        (
            "order.paid",
            {
                "order": "A1",
                "paid_at": "2026-11-22T10:00:01Z",
                "currency": "EUR",
                "items": [{"item": "1", "product": "PHOTO-PRO", "quantity": 3}],
            },
        ),
        ("product.delivered", item | {"codes": 2, "complete": False}),
        ("product.delivered", item | {"codes": 1, "complete": True}),
        ("product.returned", item),
    ]


@pytest.mark.django_db(transaction=True)
def test_low_and_empty_pools_emit_events(endpoint, receiver, pay, make_product, make_pool, work):
    pool = make_pool(2, threshold=1, name="Pro")
    product = make_product(pool=pool)
    pay(product)
    pay(product)
    work()

    payloads = {"pool": pool.pk, "name": "Pro", "threshold": 1}
    pools = [event for event in received_events(receiver) if event[0].startswith("pool")]
    assert pools == [("pool.low", payloads | {"available": 1}), ("pool.empty", payloads | {"available": 0})]


def test_a_rejected_address_emits_a_bounce(make_endpoint, receiver, pay, make_product, work, monkeypatch):
    make_endpoint(events=["delivery.bounced"])

    def reject(self, fail_silently=False):
        raise smtplib.SMTPRecipientsRefused({"ada@example.com": (550, b"no such user: ada@example.com")})

    monkeypatch.setattr(EmailMessage, "send", reject)
    pay(make_product(), make_product(), order="A1", quantity=2)
    work()
    work()

    assert received_events(receiver) == [("delivery.bounced", {"order": "A1", "items": ["1", "2"]})]


def test_a_resent_email_emits_no_delivery(endpoint, receiver, api, pay, product, work):
    order = pay(product)["order"]
    work()
    api.post(f"/api/v1/orders/{order}/items/1/resend/")
    work()
    work()

    assert [event for event, _ in received_events(receiver)].count("product.delivered") == 1


def test_webhooks_contain_neither_codes_nor_customer_data(endpoint, receiver, pay, product, work):
    pay(product)
    work()
    refund(Order.objects.get(), actor="shop")
    work()

    transmitted = str([(received.headers, received.body) for received in receiver.received]) + str(
        list(OutgoingRequest.objects.values())
    )
    code = ActivationCode.objects.get().code
    assert "product.returned" in transmitted
    for secret in (code, "ada@example.com", "Byron", SECRET.removeprefix("whsec_")):
        assert secret not in transmitted


def test_only_endpoints_that_chose_an_event_get_it(make_endpoint, receiver, pay, product, outsider, work):
    subscribed = make_endpoint(events=["order.paid"])
    make_endpoint(events=["pool.low"])
    make_endpoint(disabled_at=timezone.now())
    make_endpoint(merchant=outsider)
    pay(product)
    work()

    assert list(WebhookMessage.objects.values_list("endpoint", "event")) == [(subscribed.pk, "order.paid")]
    assert len(receiver.received) == 1


def test_two_endpoints_get_the_same_event(make_endpoint, receiver, pay, product, work):
    make_endpoint(events=["order.paid"])
    make_endpoint(events=["order.paid"])
    pay(product)
    work()

    assert len(receiver.received) == 2
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


def test_an_event_is_rolled_back_with_its_transaction(endpoint, merchant):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        emit(merchant, "order.paid", {"order": "A1"})
        raise ZeroDivisionError

    assert not WebhookMessage.objects.exists()


def test_emitting_without_endpoints_takes_one_query(merchant, django_assert_num_queries):
    with django_assert_num_queries(1):
        emit(merchant, "order.paid", {"order": "A1"}, {"order": "A2"})


# Requests and signatures


def test_a_standard_webhooks_library_can_verify_the_signature(endpoint, receiver, work):
    send_test(endpoint)
    work()

    (received,) = receiver.received
    message = WebhookMessage.objects.get()
    assert verified(received)["type"] == "webhook.test"
    assert received.headers["webhook-id"] == message.event_id and message.event_id.startswith("evt_")
    assert received.headers["content-type"] == "application/json"
    assert (message.status, message.reason, message.due_at) == ("delivered", "", None)
    with pytest.raises(WebhookVerificationError):
        verified(received, WebhookEndpoint.make_secret())
    received.body += b" "
    with pytest.raises(WebhookVerificationError):
        verified(received)


def test_the_signature_matches_the_specification(endpoint):
    # The example of the specification's reference implementations.
    body = b'{"test": 2432232314}'

    headers = sign(endpoint.live_secrets(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_both_secrets_are_valid_for_a_day_after_a_rotation(endpoint, receiver, send):
    endpoint.rotate()
    assert endpoint.secret != SECRET
    send_test(endpoint)
    send()
    endpoint.rotated_at = timezone.now() - timedelta(hours=25)
    endpoint.save()
    send_test(endpoint)
    send()

    first, second = receiver.received
    assert verified(first) and verified(first, endpoint.secret)
    assert verified(second, endpoint.secret)
    with pytest.raises(WebhookVerificationError):
        verified(second)


# Retries


def test_a_rejected_message_is_resent_unchanged(endpoint, receiver, send):
    answers = [(500,), (404,), (302, {"Location": receiver.url}), (204,)]
    receiver.respond = lambda received: answers.pop(0)
    message = send_test(endpoint)
    for _ in range(6):
        send()

    message.refresh_from_db()
    assert message.status == "delivered"
    assert len(receiver.received) == 4
    assert len({(received.headers["webhook-id"], received.body) for received in receiver.received}) == 1
    attempts = OutgoingRequest.objects.filter(request_id=message.request_id)
    assert list(attempts.order_by("pk").values_list("attempt", "status_code")) == [
        (1, 500),
        (2, 404),
        (3, 302),
        (4, 204),
    ]
    endpoint.refresh_from_db()
    assert endpoint.state == "enabled"


def test_it_waits_as_long_as_retry_after_says(endpoint, receiver, work):
    receiver.respond = lambda received: (503, {"Retry-After": "1800"})
    message = send_test(endpoint)
    work()

    message.refresh_from_db()
    assert message.reason == "The endpoint answered 503."
    assert message.due_at is not None and message.due_at > timezone.now() + timedelta(minutes=29)


def test_an_unreachable_endpoint_gets_no_requests_for_a_while(make_endpoint, receiver, send):
    dead, alive = make_endpoint(url="http://127.0.0.1:9999/"), make_endpoint()
    for endpoint in (dead, dead, dead, alive, alive):
        send_test(endpoint)
    send(after=timedelta(0))

    assert [outgoing_request.url for outgoing_request in OutgoingRequest.objects.exclude(error="")] == [dead.url]
    assert len(receiver.received) == 2
    dead.refresh_from_db()
    assert dead.state == "failing"
    assert dead.messages.filter(due_at__gt=timezone.now() + timedelta(seconds=50)).count() == 2


@pytest.mark.django_db(transaction=True)
def test_only_one_worker_at_a_time_sends_to_an_endpoint(endpoint, receiver, in_threads):
    running, concurrency = [], []

    def respond(received):
        running.append(1)
        concurrency.append(len(running))
        sleep(0.02)  # long enough for another request to arrive
        running.pop()
        return (200,)

    receiver.respond = respond
    messages = [send_test(endpoint).pk for _ in range(20)]

    in_threads(webhooks.send, messages, threads=4)
    webhooks.send(messages[0])

    assert len(receiver.received) == 20 and max(concurrency) == 1


def test_one_nudge_serves_a_long_queue(endpoint, receiver):
    first, *_ = [send_test(endpoint) for _ in range(5)]

    webhooks.send(first.pk)

    assert len(receiver.received) == 5


def test_a_worker_leaves_an_endpoint_after_a_time_limit(endpoint, receiver, monkeypatch):
    first, *_ = [send_test(endpoint) for _ in range(5)]
    monkeypatch.setattr(webhooks, "ENDPOINT_TIMEOUT", -1)

    webhooks.send(first.pk)

    assert receiver.received == []
    assert WebhookMessage.objects.due().count() == 5


# Disabling


def test_an_endpoint_that_answers_410_is_disabled_immediately(endpoint, receiver, send, work, mailoutbox):
    receiver.respond = lambda received: (410,)
    send_test(endpoint)
    waiting = send_test(endpoint)
    send()
    work()

    endpoint.refresh_from_db()
    waiting.refresh_from_db()
    assert (endpoint.state, endpoint.disabled_reason) == ("stopped", "The endpoint answered 410 Gone.")
    assert (waiting.status, waiting.due_at, waiting.reason) == ("failed", None, "The endpoint is disabled.")
    assert len(receiver.received) == 1
    assert mailoutbox[0].to == ["owner@northlight.example"]
    assert endpoint.url in mailoutbox[0].body and "410 Gone" in mailoutbox[0].body


def test_an_endpoint_that_fails_for_three_days_is_disabled(endpoint, receiver, send, work, mailoutbox):
    receiver.respond = lambda received: (500,)
    message = send_test(endpoint)
    send()
    send()
    endpoint.refresh_from_db()
    assert endpoint.state == "failing"

    WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(days=3, minutes=1))
    send()
    work()
    work()

    endpoint.refresh_from_db()
    message.refresh_from_db()
    assert endpoint.state == "stopped" and message.status == "failed"
    assert endpoint.disabled_reason == "Every request failed for three days. Last error: The endpoint answered 500."
    assert len(mailoutbox) == 1 and mailoutbox[0].subject == f"The webhook endpoint {endpoint} is disabled"
    assert MerchantNotice.objects.get().sent_at


def test_an_endpoint_that_succeeds_occasionally_stays_enabled(endpoint, receiver, send):
    answers = [(500,), (200,), (500,)]
    receiver.respond = lambda received: answers.pop(0)
    send_test(endpoint)
    send()
    WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(days=4))
    send()
    send_test(endpoint)
    send()

    endpoint.refresh_from_db()
    assert endpoint.state == "failing"
    assert timezone.now() - endpoint.failing_since < timedelta(hours=1)


def test_a_message_fails_after_its_last_attempt(endpoint, receiver, send):
    receiver.respond = lambda received: (500,)
    message = send_test(endpoint)
    WebhookMessage.objects.update(attempts=WebhookMessage.MAX_ATTEMPTS - 1)
    send()

    message.refresh_from_db()
    assert (message.status, message.due_at, message.reason) == ("failed", None, "The endpoint answered 500.")


def test_failed_messages_can_be_resent_once_the_endpoint_is_enabled(endpoint, receiver, send):
    before = send_test(endpoint)
    send()
    failed = [send_test(endpoint) for _ in range(2)]
    disable(endpoint)
    with pytest.raises(WebhookRefused, match="Enable it first"):
        send_again(endpoint)

    enable(endpoint)
    assert send_again(endpoint) == 2
    send()

    assert [received.headers["webhook-id"] for received in receiver.received] == [
        message.event_id for message in (before, *failed)
    ]
    assert set(WebhookMessage.objects.values_list("status", flat=True)) == {"delivered"}


def test_a_delivered_message_is_resent_with_the_same_id(endpoint, receiver, send):
    message = send_test(endpoint)
    send_test(endpoint)
    send()
    WebhookMessage.objects.update(attempts=WebhookMessage.MAX_ATTEMPTS)

    assert send_again(endpoint, message=message) == 1
    send()

    assert [received.headers["webhook-id"] for received in receiver.received].count(message.event_id) == 2
    message.refresh_from_db()
    assert (message.status, message.attempts) == ("delivered", 1)


def test_a_disabled_endpoint_gets_nothing(endpoint, receiver, merchant, work):
    message = send_test(endpoint)
    WebhookEndpoint.objects.update(disabled_at=timezone.now())
    work()
    endpoint.refresh_from_db()

    message.refresh_from_db()
    assert message.status == "failed" and receiver.received == []
    with pytest.raises(WebhookRefused):
        send_test(endpoint)


# End to end


@pytest.fixture
def shops(make_endpoint, receiver):
    """Receivers and their endpoints, by type of failure."""
    receivers = {"nothing": receiver} | {failure: Receiver() for failure in ("late", "for a while", "for good")}
    yield {failure: (receiver, make_endpoint(url=receiver.url)) for failure, receiver in receivers.items()}
    for receiver in receivers.values():
        receiver.stop()


def test_every_event_arrives_or_the_endpoint_is_disabled(shops, pay, make_product, send, work, monkeypatch):
    """Shops that answer late, fail for a while, and fail for good."""
    monkeypatch.setattr(webhooks, "REQUEST_TIMEOUT", 0.3)
    delays, failures = iter([1, 1, 0.1]), iter([503] * 7 + [429, 500])

    def respond_late(received):
        sleep(next(delays, 0))
        return (200,)

    shops["late"][0].respond = respond_late
    shops["for a while"][0].respond = lambda received: (next(failures, 200),)
    shops["for good"][0].respond = lambda received: (500,)
    product = make_product(keys=3)
    for _ in range(3):
        pay(product)
        work()
    refund(Order.objects.earliest("pk"), actor="shop")
    for _ in range(12):
        send()
    WebhookEndpoint.objects.exclude(failing_since=None).update(failing_since=timezone.now() - timedelta(days=4))
    send()

    emitted = set(WebhookMessage.objects.values_list("event_id", flat=True))
    assert len(emitted) == 7
    for failure, (receiver, endpoint) in shops.items():
        endpoint.refresh_from_db()
        received_ids = [received.headers["webhook-id"] for received in receiver.received if verified(received)]
        if failure == "for good":
            assert endpoint.state == "stopped" and "for three days" in endpoint.disabled_reason
            assert set(endpoint.messages.values_list("status", flat=True)) == {"failed"}
        else:
            assert endpoint.state == "enabled" and set(received_ids) == emitted
        assert (len(received_ids) > len(set(received_ids))) == (failure != "nothing")


def test_finished_messages_are_purged_after_a_month(endpoint, receiver, send):
    messages = {name: send_test(endpoint) for name in ("old", "new", "under way")}
    WebhookMessage.objects.exclude(pk=messages["under way"].pk).update(due_at=None)
    send()
    month = timezone.now() - timedelta(days=31)
    WebhookMessage.objects.exclude(pk=messages["new"].pk).update(created_at=month)
    WebhookMessage.objects.filter(pk=messages["under way"].pk).update(due_at=timezone.now())
    fresh = OutgoingRequest.objects.get()
    OutgoingRequest.objects.create(merchant=endpoint.merchant, method="POST", url="x", called_at=month)

    purge_logs()

    assert set(WebhookMessage.objects.values_list("pk", flat=True)) == {
        messages["new"].pk,
        messages["under way"].pk,
    }
    assert OutgoingRequest.objects.get() == fresh


def test_the_payload_follows_the_specification(endpoint, receiver, work):
    send_test(endpoint)
    work()

    payload = json.loads(receiver.received[0].body)
    assert list(payload) == ["type", "timestamp", "data"]


def test_events_of_test_orders_reach_test_endpoints_only(
    merchant, sandbox, make_endpoint, pay, pay_as_test, product, work, send, receiver
):
    live, for_tests = make_endpoint(), make_endpoint(merchant=sandbox)

    pay_as_test(product)
    work()

    assert not live.messages.exists()
    assert set(for_tests.messages.values_list("event", flat=True)) == {"order.paid", "product.delivered"}
    received = {verified(each)["type"]: each for each in receiver.received}
    assert all(verified(each)["test"] is True for each in received.values())
    assert all(each.headers["keywell-test"] == "true" for each in received.values())
    assert set(OutgoingRequest.objects.values_list("is_test", "merchant")) == {(True, sandbox.pk)}

    receiver.received.clear()
    pay(product)
    work()

    assert for_tests.messages.count() == 2
    assert not any("test" in verified(each) or "keywell-test" in each.headers for each in receiver.received)
