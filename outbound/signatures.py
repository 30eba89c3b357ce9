"""Sign requests following the Standard Webhooks specification, https://www.standardwebhooks.com/."""

import hmac
from base64 import b64decode, b64encode


def sign(secrets: list[str], message_id: str, timestamp: int, *signed: bytes) -> dict[str, str]:
    """Return the three headers, with a signature for each secret and each content, which is usually the body.

    `timestamp` is in seconds since 1970.
    """
    keys = [b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    signatures = [
        b64encode(hmac.digest(key, base_string(message_id, timestamp, content), "sha256")).decode()
        for content in signed
        for key in keys
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def base_string(message_id: str, timestamp: int, content: bytes) -> bytes:
    """The bytes that are signed."""
    return f"{message_id}.{timestamp}.".encode() + content
