"""The pages on which a merchant sets up webhook endpoints and sees their messages."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from merchants.models import Member
from outbound.models import OutgoingRequest
from portal.webhooks.forms import MAX_ENDPOINTS
from webhooks import sending as webhooks
from webhooks.models import WebhookEndpoint, WebhookMessage

PUBLIC = "https://93.184.216.34/hook"


@pytest.fixture
def manager(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def endpoint(merchant):
    return WebhookEndpoint.objects.create(
        merchant=merchant, url=PUBLIC, events=["order.paid"], secret=WebhookEndpoint.make_secret()
    )


def address(name, *arguments):
    return reverse(f"webhook-{name}" if name else "webhook", args=[argument.pk for argument in arguments])


def endpoint_page(manager, endpoint):
    return manager.get(address("", endpoint)).content.decode()


# Setup


def test_an_endpoint_is_added_and_shown(manager, merchant):
    assert "No endpoints yet" in manager.get(reverse("webhooks")).content.decode()

    response = manager.post(
        reverse("webhook-add"),
        {"url": PUBLIC, "description": "The shop", "events": ["order.paid", "pool.low"]},
        follow=True,
    )

    endpoint = merchant.webhook_endpoints.get()
    assert (endpoint.url, endpoint.description, endpoint.events) == (PUBLIC, "The shop", ["order.paid", "pool.low"])
    assert response.redirect_chain[-1][0] == address("", endpoint)
    assert "The shop" in manager.get(reverse("webhooks")).content.decode()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://93.184.216.34/", "must start with https://"),
        ("https://169.254.169.254/latest/", "isn’t on the public internet"),
        ("https://127.0.0.1/", "CALLOUT_NETWORKS"),
        ("https://ada:secret@93.184.216.34/", "user name or password"),
    ],
)
@pytest.mark.parametrize("name", ["webhook-add", "webhook-change"])
def test_it_rejects_an_invalid_url(manager, endpoint, name, url, error):
    arguments = [] if name == "webhook-add" else [endpoint.pk]

    response = manager.post(reverse(name, args=arguments), {"url": url, "events": ["order.paid"]})

    assert error in response.content.decode()
    assert WebhookEndpoint.objects.get().url == PUBLIC


@pytest.mark.parametrize("events", [[], ["order.stolen"], ["webhook.test"]])
def test_it_rejects_unknown_events(manager, merchant, events):
    response = manager.post(reverse("webhook-add"), {"url": PUBLIC, "events": events})

    assert response.status_code == 200 and not merchant.webhook_endpoints.exists()


def test_the_number_of_endpoints_is_limited(manager, merchant, endpoint):
    for _ in range(MAX_ENDPOINTS - 1):
        endpoint.pk = None
        endpoint.save()

    response = manager.post(reverse("webhook-add"), {"url": PUBLIC, "events": ["order.paid"]})

    assert "reached the limit of" in response.content.decode()
    assert merchant.webhook_endpoints.count() == MAX_ENDPOINTS


def test_an_endpoint_is_changed(manager, endpoint):
    secret = endpoint.secret

    manager.post(address("change", endpoint), {"url": PUBLIC + "2", "events": ["pool.empty"]})

    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.events, endpoint.secret) == (PUBLIC + "2", ["pool.empty"], secret)


def test_deleting_an_endpoint_keeps_its_outgoing_requests(manager, endpoint, merchant):
    message = webhooks.send_test(endpoint)
    OutgoingRequest.objects.create(merchant=merchant, request_id=message.request_id, url=PUBLIC)
    assert "Its log and secret will be deleted" in manager.get(address("delete", endpoint)).content.decode()

    manager.post(address("delete", endpoint))

    assert manager.get(address("", endpoint)).status_code == 404
    assert PUBLIC not in manager.get("/webhooks/").content.decode()
    assert WebhookEndpoint.objects.get().live_secrets() == [""]
    assert WebhookMessage.objects.get().status == "failed"

    WebhookEndpoint.objects.update(removed_at=timezone.now() - timedelta(hours=2))
    webhooks.purge()

    assert not WebhookEndpoint.objects.exists() and not WebhookMessage.objects.exists()
    assert OutgoingRequest.objects.get().request_id == message.request_id


def test_deleting_an_endpoint_does_not_break_a_concurrent_payment(
    manager, endpoint, merchant, monkeypatch, pay, product
):
    """A payment finds the endpoint, which is deleted before the message is saved."""
    make = WebhookMessage.make_event_id

    def delete_first():
        manager.post(address("delete", endpoint))
        webhooks.purge()
        return make()

    monkeypatch.setattr(WebhookMessage, "make_event_id", staticmethod(delete_first))
    WebhookEndpoint.objects.update(events=["order.paid"])
    pay(product)

    assert WebhookMessage.objects.get().endpoint == endpoint


# The secret


def test_the_secret_is_shown_on_request(manager, endpoint):
    assert endpoint.secret not in endpoint_page(manager, endpoint)

    response = manager.post(address("secret", endpoint))

    assert endpoint.secret in response.content.decode()
    assert "no-store" in response["Cache-Control"]


def test_the_secret_can_be_rotated(manager, endpoint):
    before = endpoint.secret
    assert "24 hours" in manager.get(address("rotate", endpoint)).content.decode()
    manager.post(address("rotate", endpoint))

    endpoint.refresh_from_db()
    assert endpoint.secret != before and endpoint.previous_secret == before
    assert "The previous secret is valid until" in endpoint_page(manager, endpoint)


# The log


def test_it_sends_a_test_event(manager, endpoint):
    assert f"a webhook.test event to {PUBLIC}" in manager.get(address("test", endpoint)).content.decode()
    manager.post(address("test", endpoint))

    assert WebhookMessage.objects.get().event == "webhook.test"
    assert "every 2s" in endpoint_page(manager, endpoint)


def test_it_shows_each_attempt(manager, endpoint, merchant):
    message = webhooks.send_test(endpoint)
    WebhookMessage.objects.update(attempts=7, reason="The endpoint answered 500.")
    for attempt in range(7):
        OutgoingRequest.objects.create(
            merchant=merchant,
            request_id=message.request_id,
            method="POST",
            url=PUBLIC,
            status_code=500 + attempt,
            milliseconds=1234,
            answer=f"<b>{attempt}</b>",
        )
    OutgoingRequest.objects.create(merchant=merchant, request_id=message.request_id, url=PUBLIC, error="It is silent.")

    text = endpoint_page(manager, endpoint)

    assert message.event_id in text and "The endpoint answered 500." in text
    assert "506 · 1,234 ms" in text and "It is silent." in text and "and earlier attempts" in text
    assert "501 ·" not in text
    assert "<b>" not in text
    assert "every 2s" not in text


def test_a_message_can_be_resent(manager, endpoint):
    message = webhooks.send_test(endpoint)
    WebhookMessage.objects.update(status="delivered", due_at=None)
    assert "with its original ID" in manager.get(address("send", endpoint, message)).content.decode()
    manager.post(address("send", endpoint, message))

    message.refresh_from_db()
    assert message.status == "queued" and message.due_at


def test_all_failed_messages_can_be_resent(manager, endpoint):
    for _ in range(3):
        webhooks.send_test(endpoint)
    WebhookMessage.objects.update(status="failed", due_at=None)
    assert "Resend all failed (3)" in endpoint_page(manager, endpoint)

    response = manager.post(address("send-failed", endpoint), follow=True)

    assert "3 events will be resent" in response.content.decode()
    assert WebhookMessage.objects.due().count() == 3


def test_an_endpoint_can_be_disabled_and_enabled(manager, endpoint):
    message = webhooks.send_test(endpoint)
    manager.post(address("disable", endpoint))

    message.refresh_from_db()
    assert message.status == "failed"
    for name in ("test", "send-failed"):
        assert (
            "This endpoint is disabled. Enable it first."
            in manager.post(address(name, endpoint), follow=True).content.decode()
        )
    assert "Enable it first." in manager.post(address("send", endpoint, message), follow=True).content.decode()

    manager.post(address("enable", endpoint))

    endpoint.refresh_from_db()
    assert endpoint.state == "enabled"


def test_an_automatically_disabled_endpoint_shows_the_reason(manager, endpoint):
    webhooks.stop(endpoint, "The endpoint answered 410 Gone.")

    text = endpoint_page(manager, endpoint)
    assert (
        "The endpoint answered 410 Gone. Your shop gets no events. Once it accepts webhooks again, enable the endpoint"
        in text
    )
    assert "Resend" not in text


def test_a_failing_endpoint_shows_since_when(manager, endpoint):
    WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(hours=5))

    assert "Every request has failed since" in endpoint_page(manager, endpoint)


def test_the_log_has_several_pages(manager, endpoint):
    oldest, *_ = [webhooks.send_test(endpoint) for _ in range(30)]
    first = manager.get(address("", endpoint))
    assert oldest.event_id not in first.content.decode()

    second = manager.get(address("", endpoint) + f"?before={first.context['page'].older}")

    assert oldest.event_id in second.content.decode()
    assert "Newer" in second.content.decode()


def test_an_endpoint_only_shows_its_own_attempts_at_a_shared_event(manager, endpoint, merchant):
    other = merchant.webhook_endpoints.create(url=PUBLIC, events=["order.paid"], secret=endpoint.secret)
    webhooks.emit(merchant, "order.paid", {"order": "A1"})
    mine, theirs = WebhookMessage.objects.order_by("endpoint")
    assert (mine.endpoint, theirs.endpoint, mine.event_id) == (endpoint, other, theirs.event_id)
    OutgoingRequest.objects.create(merchant=merchant, request_id=mine.request_id, url=PUBLIC, error="It is silent.")

    assert "It is silent." in endpoint_page(manager, endpoint)
    assert "It is silent." not in endpoint_page(manager, other)


def test_the_number_of_queries_does_not_depend_on_the_number_of_messages(
    manager, endpoint, merchant, django_assert_num_queries
):
    def add(count):
        for _ in range(count):
            message = webhooks.send_test(endpoint)
            OutgoingRequest.objects.create(
                merchant=merchant, request_id=message.request_id, url=PUBLIC, status_code=500
            )

    add(2)
    endpoint_page(manager, endpoint)

    with CaptureQueriesContext(connection) as queries:
        endpoint_page(manager, endpoint)
    add(10)

    with django_assert_num_queries(len(queries)):
        endpoint_page(manager, endpoint)


@pytest.mark.parametrize(
    "name", ["", "change", "secret", "rotate", "test", "enable", "disable", "delete", "send-failed"]
)
def test_another_merchants_endpoint_is_not_found(client, outsider, endpoint, name):
    client.force_login(outsider.members.get().user)

    assert client.get(address(name, endpoint)).status_code == 404
    assert client.post(address(name, endpoint)).status_code == 404


def test_another_endpoints_message_is_not_found(manager, endpoint, outsider):
    other = WebhookEndpoint.objects.create(merchant=outsider, url=PUBLIC, events=["order.paid"], secret="whsec_")

    assert manager.post(address("send", endpoint, webhooks.send_test(other))).status_code == 404
