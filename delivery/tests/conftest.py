import base64

import pytest
from cryptography.hazmat.primitives import serialization

from delivery import sns
from delivery.tests.provider_events import TOPIC, amazon_key, make_certificate, sendgrid_key


@pytest.fixture
def secrets(settings):
    public = sendgrid_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    settings.ANYMAIL = {
        "WEBHOOK_SECRET": "provider:of tests",
        "MAILGUN_WEBHOOK_SIGNING_KEY": "key-of-mailgun",
        "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": base64.b64encode(public).decode(),
        "AMAZON_SES_TOPIC_ARN": TOPIC,
    }


@pytest.fixture
def amazon(monkeypatch):
    """Fake Amazon's servers, with one certificate. Returns the URLs that are requested."""
    requested = []

    class FakeResponse:
        content = make_certificate(amazon_key)

        def raise_for_status(self):
            pass

    def get(self, url, **options):
        requested.append(url)
        return FakeResponse()

    monkeypatch.setattr("requests.Session.get", get)
    sns._fetch_key.cache_clear()
    return requested
