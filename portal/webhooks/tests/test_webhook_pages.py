"""The pages on which a merchant says where its shop listens, and sees what became of what it was told."""

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
def page(client, make_member):
    """A client that a manager is signed in with."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def endpoint(merchant):
    return WebhookEndpoint.objects.create(
        merchant=merchant, url=PUBLIC, events=["order.paid"], secret=WebhookEndpoint.make_secret()
    )


def address(name, *arguments):
    return reverse(f"webhook-{name}" if name else "webhook", args=[argument.pk for argument in arguments])


def shown(page, endpoint):
    return page.get(address("", endpoint)).content.decode()


# Setting it up


def test_an_endpoint_is_added_and_shown(page, merchant):
    assert "No endpoints yet" in page.get(reverse("webhooks")).content.decode()

    response = page.post(
        reverse("webhook-add"),
        {"url": PUBLIC, "description": "The shop", "events": ["order.paid", "pool.low"]},
        follow=True,
    )

    endpoint = merchant.webhook_endpoints.get()
    assert (endpoint.url, endpoint.description, endpoint.events) == (PUBLIC, "The shop", ["order.paid", "pool.low"])
    assert response.redirect_chain[-1][0] == address("", endpoint)
    assert "The shop" in page.get(reverse("webhooks")).content.decode()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://93.184.216.34/", "must start with https://"),
        ("https://169.254.169.254/latest/", "isn’t on the public internet"),
        ("https://127.0.0.1/", "CALLOUT_NETWORKS"),
        ("https://ada:secret@93.184.216.34/", "user name or password"),
    ],
)
@pytest.mark.parametrize("name", ["webhook-add", "webhook-change"])
def test_an_address_that_may_not_be_called_is_refused(page, endpoint, name, url, why):
    arguments = [] if name == "webhook-add" else [endpoint.pk]

    response = page.post(reverse(name, args=arguments), {"url": url, "events": ["order.paid"]})

    assert why in response.content.decode()
    assert WebhookEndpoint.objects.get().url == PUBLIC


@pytest.mark.parametrize("events", [[], ["order.stolen"], ["webhook.test"]])
def test_it_is_told_of_events_that_there_are(page, merchant, events):
    response = page.post(reverse("webhook-add"), {"url": PUBLIC, "events": events})

    assert response.status_code == 200 and not merchant.webhook_endpoints.exists()


def test_there_are_not_endless_endpoints(page, merchant, endpoint):
    for _ in range(MAX_ENDPOINTS - 1):
        endpoint.pk = None
        endpoint.save()

    response = page.post(reverse("webhook-add"), {"url": PUBLIC, "events": ["order.paid"]})

    assert "reached the limit of" in response.content.decode()
    assert merchant.webhook_endpoints.count() == MAX_ENDPOINTS


def test_an_endpoint_is_changed(page, endpoint):
    secret = endpoint.secret

    page.post(address("change", endpoint), {"url": PUBLIC + "2", "events": ["pool.empty"]})

    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.events, endpoint.secret) == (PUBLIC + "2", ["pool.empty"], secret)


def test_an_endpoint_is_deleted_and_its_callouts_stay(page, endpoint, merchant):
    message = webhooks.send_test(endpoint)
    OutgoingRequest.objects.create(merchant=merchant, request_id=message.request_id, url=PUBLIC)
    assert "Its log and secret will be deleted" in page.get(address("delete", endpoint)).content.decode()

    page.post(address("delete", endpoint))

    assert page.get(address("", endpoint)).status_code == 404
    assert PUBLIC not in page.get("/webhooks/").content.decode()
    assert WebhookEndpoint.objects.get().live_secrets() == [""]
    assert WebhookMessage.objects.get().status == "failed"

    WebhookEndpoint.objects.update(removed_at=timezone.now() - timedelta(hours=2))
    webhooks.purge()

    assert not WebhookEndpoint.objects.exists() and not WebhookMessage.objects.exists()
    assert OutgoingRequest.objects.get().request_id == message.request_id


def test_what_happens_while_an_endpoint_is_deleted_goes_on(page, endpoint, merchant, monkeypatch, pay, product):
    """A payment that has found the endpoint meets it deleted when it tells it."""
    make = WebhookMessage.make_event_id

    def delete_first():
        page.post(address("delete", endpoint))
        webhooks.purge()
        return make()

    monkeypatch.setattr(WebhookMessage, "make_event_id", staticmethod(delete_first))
    WebhookEndpoint.objects.update(events=["order.paid"])
    pay(product)

    assert WebhookMessage.objects.get().endpoint == endpoint


# The secret


def test_the_secret_is_shown_when_asked_for(page, endpoint):
    assert endpoint.secret not in shown(page, endpoint)

    response = page.post(address("secret", endpoint))

    assert endpoint.secret in response.content.decode()
    assert "no-store" in response["Cache-Control"]


def test_a_new_secret_is_made(page, endpoint):
    before = endpoint.secret
    assert "24 hours" in page.get(address("rotate", endpoint)).content.decode()
    page.post(address("rotate", endpoint))

    endpoint.refresh_from_db()
    assert endpoint.secret != before and endpoint.previous_secret == before
    assert "The previous secret is valid until" in shown(page, endpoint)


# The log


def test_a_test_event_is_sent(page, endpoint):
    assert f"a webhook.test event to {PUBLIC}" in page.get(address("test", endpoint)).content.decode()
    page.post(address("test", endpoint))

    assert WebhookMessage.objects.get().event == "webhook.test"
    assert "every 2s" in shown(page, endpoint)


def test_it_shows_each_attempt(page, endpoint, merchant):
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

    text = shown(page, endpoint)

    assert message.event_id in text and "The endpoint answered 500." in text
    assert "506 · 1,234 ms" in text and "It is silent." in text and "and earlier attempts" in text
    assert "501 ·" not in text
    assert "<b>" not in text
    assert "every 2s" not in text


def test_a_message_is_sent_again(page, endpoint):
    message = webhooks.send_test(endpoint)
    WebhookMessage.objects.update(status="delivered", due_at=None)
    assert "with its original ID" in page.get(address("send", endpoint, message)).content.decode()
    page.post(address("send", endpoint, message))

    message.refresh_from_db()
    assert message.status == "queued" and message.due_at


def test_all_that_failed_is_sent_again(page, endpoint):
    for _ in range(3):
        webhooks.send_test(endpoint)
    WebhookMessage.objects.update(status="failed", due_at=None)
    assert "Resend all failed (3)" in shown(page, endpoint)

    response = page.post(address("send-failed", endpoint), follow=True)

    assert "3 events will be resent" in response.content.decode()
    assert WebhookMessage.objects.due().count() == 3


def test_an_endpoint_is_disabled_and_enabled(page, endpoint):
    message = webhooks.send_test(endpoint)
    page.post(address("disable", endpoint))

    message.refresh_from_db()
    assert message.status == "failed"
    for name in ("test", "send-failed"):
        assert (
            "This endpoint is disabled. Enable it first."
            in page.post(address(name, endpoint), follow=True).content.decode()
        )
    assert "Enable it first." in page.post(address("send", endpoint, message), follow=True).content.decode()

    page.post(address("enable", endpoint))

    endpoint.refresh_from_db()
    assert endpoint.state == "enabled"


def test_one_that_was_disabled_by_itself_says_why(page, endpoint):
    webhooks.stop(endpoint, "The endpoint answered 410 Gone.")

    text = shown(page, endpoint)
    assert (
        "The endpoint answered 410 Gone. Your shop gets no events. Once it accepts webhooks again, enable the endpoint"
        in text
    )
    assert "Resend" not in text


def test_one_that_fails_says_since_when(page, endpoint):
    WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(hours=5))

    assert "Every request has failed since" in shown(page, endpoint)


def test_the_log_goes_on_on_further_pages(page, endpoint):
    oldest, *_ = [webhooks.send_test(endpoint) for _ in range(30)]
    first = page.get(address("", endpoint))
    assert oldest.event_id not in first.content.decode()

    second = page.get(address("", endpoint) + f"?before={first.context['page'].older}")

    assert oldest.event_id in second.content.decode()
    assert "Newer" in second.content.decode()


def test_an_endpoint_shows_its_own_attempts_at_an_event_that_two_get(page, endpoint, merchant):
    other = merchant.webhook_endpoints.create(url=PUBLIC, events=["order.paid"], secret=endpoint.secret)
    webhooks.emit(merchant, "order.paid", {"order": "A1"})
    mine, theirs = WebhookMessage.objects.order_by("endpoint")
    assert (mine.endpoint, theirs.endpoint, mine.event_id) == (endpoint, other, theirs.event_id)
    OutgoingRequest.objects.create(merchant=merchant, request_id=mine.request_id, url=PUBLIC, error="It is silent.")

    assert "It is silent." in shown(page, endpoint)
    assert "It is silent." not in shown(page, other)


def test_it_asks_the_database_as_often_for_many_as_for_few(page, endpoint, merchant, django_assert_num_queries):
    def add(count):
        for _ in range(count):
            message = webhooks.send_test(endpoint)
            OutgoingRequest.objects.create(
                merchant=merchant, request_id=message.request_id, url=PUBLIC, status_code=500
            )

    add(2)
    shown(page, endpoint)

    with CaptureQueriesContext(connection) as queries:
        shown(page, endpoint)
    add(10)

    with django_assert_num_queries(len(queries)):
        shown(page, endpoint)


@pytest.mark.parametrize(
    "name", ["", "change", "secret", "rotate", "test", "enable", "disable", "delete", "send-failed"]
)
def test_another_merchants_endpoint_is_not_found(client, outsider, endpoint, name):
    client.force_login(outsider.members.get().user)

    assert client.get(address(name, endpoint)).status_code == 404
    assert client.post(address(name, endpoint)).status_code == 404


def test_another_endpoints_message_is_not_found(page, endpoint, outsider):
    other = WebhookEndpoint.objects.create(merchant=outsider, url=PUBLIC, events=["order.paid"], secret="whsec_")

    assert page.post(address("send", endpoint, webhooks.send_test(other))).status_code == 404
