"""Events as providers post them, in the formats they document, and how they sign them."""

import base64
import hashlib
import hmac
import json
import random
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from django.test import Client
from django.utils import timezone

from delivery import sns

PAYLOADS = Path(__file__).parent / "payloads"
MESSAGE_ID = "b7bc2f4a-e38e-4336-af7d-e6c392c2f817"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:keywell"
KINDS = ["delivered", "opened", "bounced", "complained"]
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"

amazon_key = rsa.generate_private_key(65537, 2048)
sendgrid_key = ec.generate_private_key(ec.SECP256R1())


def make_certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    start = timezone.now()
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def payload(provider, kind):
    return json.loads((PAYLOADS / f"{provider}-{kind}.json").read_text())


def post(provider, event, **how):
    return send(provider, *SIGN[provider](event), **how)


def send(provider, data, proof, *, secret="provider:of tests", merchant=""):
    basic = {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}
    address = f"/anymail/{merchant}/{provider}/tracking/" if merchant else f"/anymail/{provider}/tracking/"
    return Client().post(address, data, content_type="application/json", headers=basic | proof)


def sign_postmark(event):
    return json.dumps(event), {}


def sign_mailgun(event):
    token = hashlib.sha256(random.randbytes(8)).hexdigest()[:50]
    signature = hmac.new(b"key-of-mailgun", f"1795341605{token}".encode(), hashlib.sha256).hexdigest()
    proof = {"timestamp": "1795341605", "token": token, "signature": signature}
    return json.dumps({"signature": proof} | event), {}


def sign_sendgrid(event):
    data = json.dumps(event)
    signature = sendgrid_key.sign(b"1795341605" + data.encode(), ec.ECDSA(hashes.SHA256()))
    return data, {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": "1795341605",
    }


def sign_amazon_ses(event, version="2", **fields):
    message = {
        "Type": "Notification",
        "MessageId": hashlib.sha256(json.dumps(event).encode()).hexdigest()[:32],
        "TopicArn": TOPIC,
        "Message": json.dumps(event),
        "Timestamp": next(
            iter(part["timestamp"] for name, part in event.items() if name not in ("eventType", "mail"))
        ),
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    } | fields
    text = "".join(f"{name}\n{message[name]}\n" for name in sns.SIGNED[message["Type"]] if name in message)
    algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
    message["Signature"] = base64.b64encode(amazon_key.sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()
    return format_amazon_post(message)


def format_amazon_post(message):
    return json.dumps(message), {
        "x-amz-sns-message-type": message["Type"],
        "x-amz-sns-message-id": message["MessageId"],
    }


# Each function returns the body that a provider posts for an event, and the headers that authenticate it.
SIGN = {
    "postmark": sign_postmark,
    "amazon_ses": sign_amazon_ses,
    "mailgun": sign_mailgun,
    "sendgrid": sign_sendgrid,
}
PROVIDERS = list(SIGN)
