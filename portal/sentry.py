"""Reports unexpected errors to Sentry. Loaded only if SENTRY_DSN is set.

An event is built from names and places alone: no messages, variables, headers, bodies or addresses, since any of them
may hold a license key or customer data. So none of Sentry's own integrations is used.
"""

import logging
import traceback
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from sentry_sdk import Client
from sentry_sdk.types import Event
from sentry_sdk.utils import BadDsn

from version import version
from work.incidents import MAX_FRAMES
from work.request_ids import current_request_id


class SentryHandler(logging.Handler):
    """Reports each error that is logged with its exception, once."""

    def __init__(self, client: Client) -> None:
        super().__init__(logging.ERROR)
        self.client = client

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or getattr(error, "is_at_sentry", False):
            return
        error.is_at_sentry = True  # type: ignore[attr-defined]
        self.client.capture_event(build_event(error, record.name))


def build_event(error: BaseException, logger: str) -> Event:
    tags = {"reference": getattr(error, "incident_reference", ""), "request_id": current_request_id()}
    frames = [
        {"filename": frame.filename, "function": frame.name, "lineno": frame.lineno}
        for frame in traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    ]
    kind = type(error)
    exception = {
        "type": kind.__qualname__,
        "module": kind.__module__,
        "value": tags["reference"],
        "stacktrace": {"frames": frames},
    }
    return {
        "level": "error",
        "logger": logger,
        "tags": {name: value for name, value in tags.items() if value},
        "exception": {"values": [exception]},
    }


def start(dsn: str, **options: Any) -> Client:
    """Report errors from now on. `options` replace options of Sentry's client, such as the transport."""
    quiet: dict[str, Any] = {
        "default_integrations": False,
        "auto_enabling_integrations": False,
        "auto_session_tracking": False,
        "include_local_variables": False,
        "include_source_context": False,
        "max_request_body_size": "never",
        "max_breadcrumbs": 0,
        "send_client_reports": False,
    }
    try:
        client = Client(dsn=dsn, release=f"keywell@{version()}", **quiet | options)
    except BadDsn as error:
        raise ImproperlyConfigured("SENTRY_DSN is not the DSN of a Sentry project.") from error
    logging.getLogger().addHandler(SentryHandler(client))
    return client
