"""What Sentry learns about an unexpected error: names and places, and no values."""

import json
import logging

import pytest
from sentry_sdk.transport import Transport

from portal import sentry
from work import incidents
from work.request_ids import working_for

CODE = "SECRET-CODE-7Q2M"


class FakeTransport(Transport):
    def __init__(self, options=None):
        super().__init__(options)
        self.events = []

    def capture_envelope(self, envelope):
        self.events += [item.payload.json for item in envelope.items]

    def record_lost_event(self, *_, **__):
        pass


@pytest.fixture
def events():
    root = logging.getLogger()
    before = list(root.handlers)
    client = sentry.start("https://key@sentry.example/1", transport=FakeTransport)
    yield client.transport.events  # type: ignore[union-attr]
    root.handlers = before


def fail(code):
    local = {"license": code, "customer": "ada@example.com"}
    raise ValueError(f"bad license {local} at https://keys.example.com/o/secret-link/")


def report():
    try:
        fail(CODE)
    except ValueError as error:
        return incidents.report(error, "Delivery 17")


def test_it_gets_the_type_the_place_the_reference_and_the_request(events, db):
    with working_for("shop-42"):
        reference = report()

    [event] = events
    assert event["tags"] == {"reference": reference, "request_id": "shop-42"}
    [error] = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", reference)
    assert error["stacktrace"]["frames"][-1]["function"] == "fail"
    assert event["release"].startswith("keywell@")


def test_it_gets_no_values(events, db):
    report()

    text = json.dumps(events)
    for secret in (CODE, "ada@example.com", "secret-link", "bad license", "Delivery 17"):
        assert secret not in text
    assert events[0].keys().isdisjoint({"request", "user", "breadcrumbs", "extra", "modules", "message", "logentry"})
    frames = events[0]["exception"]["values"][0]["stacktrace"]["frames"]
    assert all(frame.keys().isdisjoint({"vars", "context_line", "pre_context", "post_context"}) for frame in frames)


def test_an_error_that_is_logged_twice_is_reported_once(events, client, db, monkeypatch):
    client.raise_request_exception = False
    monkeypatch.setattr("runtime.health._run", lambda *_: 1 / 0)
    page = client.get(f"/healthz?code={CODE}", headers={"Authorization": f"Bearer {CODE}"})

    assert page.status_code == 500
    [event] = events
    assert event["tags"]["reference"] in page.content.decode()
    assert CODE not in json.dumps(events)


def test_warnings_and_errors_without_an_exception_are_not_reported(events):
    logging.getLogger("orders").warning("A customer: %s", "ada@example.com")
    logging.getLogger("orders").error("A customer: %s", "ada@example.com")

    assert events == []


def test_without_a_dsn_it_is_not_loaded(settings):
    assert settings.SENTRY_DSN == ""
    assert not any(type(handler).__name__ == "SentryHandler" for handler in logging.getLogger().handlers)


def test_a_malformed_dsn_is_named():
    with pytest.raises(sentry.ImproperlyConfigured, match="SENTRY_DSN"):
        sentry.start("sentry.example")
