"""Verifies Amazon SNS messages and confirms subscriptions.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import base64
import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate

# Not just any host under amazonaws.com: Amazon's customers have hosts there, too.
HOST = re.compile(r"sns\.[a-z]{2}(-[a-z]+)+-\d+\.amazonaws\.com(\.cn)?")
CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]+\.pem")

SIGNED = {
    "Notification": ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
    "SubscriptionConfirmation": ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    "UnsubscribeConfirmation": ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
}
ALGORITHMS: dict[Any, hashes.HashAlgorithm] = {
    "1": hashes.SHA1(),  # noqa: S303 (Amazon's default)
    "2": hashes.SHA256(),
}


class NotFromAmazon(Exception):
    pass


def verify(message: dict[str, Any]) -> None:
    """Raise NotFromAmazon unless Amazon signed this message."""
    try:
        names = [name for name in SIGNED[message["Type"]] if name in message]
        text = "".join(f"{name}\n{message[name]}\n" for name in names)
        algorithm = ALGORITHMS[message["SignatureVersion"]]
        signature = base64.b64decode(message["Signature"], validate=True)
        key = _fetch_key(message["SigningCertURL"])
        key.verify(signature, text.encode(), padding.PKCS1v15(), algorithm)
    except (KeyError, TypeError, ValueError, InvalidSignature, requests.RequestException) as error:
        raise NotFromAmazon("The message isn’t signed by Amazon.") from error


def confirm(message: dict[str, Any]) -> None:
    """Accept the subscription that a verified message asks for."""
    _get(message["SubscribeURL"])


# Safe to cache: Amazon publishes a new certificate under a new URL.
@lru_cache(maxsize=32)
def _fetch_key(url: str) -> rsa.RSAPublicKey:
    if not CERTIFICATE.fullmatch(urlsplit(url).path):
        raise ValueError("This isn't the URL of an SNS certificate.")
    key = load_pem_x509_certificate(_get(url)).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("The certificate has no RSA key.")
    return key


def _get(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme != "https" or not HOST.fullmatch(parts.netloc):
        raise ValueError("This isn't an SNS URL.")
    with requests.Session() as session:
        session.trust_env = False
        response = session.get(url, timeout=5, allow_redirects=False)
    response.raise_for_status()
    return response.content
