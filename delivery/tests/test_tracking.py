"""Provider events, posted to our URLs in the formats that the providers document."""

import base64
import itertools
import random
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone

from api.tests.factories import make_api, pay
from delivery import resending, tracking
from delivery.models import Delivery, TrackingEvent
from delivery.tests.provider_events import (
    CERTIFICATE_URL,
    KINDS,
    MESSAGE_ID,
    PROVIDERS,
    SIGN,
    payload,
    post,
    send,
    sendgrid_key,
    sign_amazon_ses,
    sign_postmark,
)
from fulfillment import tasks
from fulfillment.attention import needing_attention
from fulfillment.history import order_history
from fulfillment.personal_data import PersonalData
from fulfillment.tests.factories import make_product, work
from notices.models import MerchantNotice
from orders.models import Order
from outbound.models import MailAccount
from webhooks.models import WebhookEndpoint, WebhookMessage

pytestmark = pytest.mark.usefixtures("secrets", "amazon")


def make_rows(merchant):
    pay(make_api(merchant), make_product(merchant, sku="SOLD"))
    work()
    Delivery.objects.update(message_id=MESSAGE_ID)


@pytest.fixture
def delivery(merchant):
    return Delivery.objects.get()


def lines(order):
    return [line.text for line in order_history(Order.objects.get(pk=order.pk))]


KIND_SEQUENCES = [list(kinds) * 2 for kinds in itertools.permutations(KINDS)]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_event_sets_the_status_of_the_delivery(delivery, provider, kind):
    assert post(provider, payload(provider, kind)).status_code == 200

    delivery.refresh_from_db()
    assert delivery.status == kind
    assert ("mailbox full" in delivery.reason) == (kind == "bounced")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_order_and_repetition_of_events_do_not_matter(delivery, provider):
    order = delivery.order
    kinds = random.Random(provider).choice(KIND_SEQUENCES)
    for kind in kinds:
        assert post(provider, payload(provider, kind)).status_code == 200

    delivery.refresh_from_db()
    assert (delivery.status, TrackingEvent.objects.count()) == ("complained", 4)
    shown = lines(order)[-4:]
    assert shown[0] == "Delivered to ada@example.com"
    assert shown[1].startswith("Bounced: ") and shown[1].endswith("mailbox full")
    assert shown[2] == "Opened"
    assert shown[3].startswith("Marked as spam")


@pytest.mark.parametrize("kinds", list(itertools.permutations(["delivered", "opened", "bounced"])))
def test_the_most_severe_event_counts_and_the_merchant_is_notified_once(delivery, kinds):
    for kind in [*kinds, *kinds]:
        post("postmark", payload("postmark", kind))

    delivery.refresh_from_db()
    assert (delivery.status, delivery.reason) == ("bounced", "smtp;552 5.2.2 mailbox full")
    assert MerchantNotice.objects.get().kind == "delivery_bounced"


@pytest.mark.parametrize("kind", ["bounced", "complained"])
def test_a_bounce_or_complaint_needs_attention_until_a_resend(delivery, kind):
    post("postmark", payload("postmark", kind))
    assert list(needing_attention(Order.objects.all())) == [delivery.order]

    resending.resend(delivery.order.items.get(), actor="Sam")
    work()

    assert not needing_attention(Order.objects.all())


@pytest.mark.parametrize("kind", ["delivered", "opened"])
def test_a_delivered_or_opened_email_needs_no_attention_and_no_resend(delivery, kind):
    item = delivery.order.items.get()
    resent, _ = resending.resend(item, actor="Sam")
    work()
    Delivery.objects.update(message_id="")
    Delivery.objects.filter(pk=resent.pk).update(message_id=MESSAGE_ID)
    post("postmark", payload("postmark", kind))

    assert resending.resend(item, actor="Sam") == (resent, False)
    assert not needing_attention(Order.objects.all())


def test_a_bounced_delivery_may_be_resent_immediately(delivery):
    item = delivery.order.items.get()
    resent, _ = resending.resend(item, actor="Sam")
    work()
    Delivery.objects.filter(pk=resent.pk).update(message_id="<another@example.com>")
    bounce = payload("postmark", "bounced") | {"MessageID": "another@example.com"}
    post("postmark", bounce)

    assert resending.resend(item, actor="Sam")[1]


def test_the_reason_does_not_contain_the_address(delivery):
    event = payload("postmark", "bounced") | {"Details": "smtp;550 5.1.1 <Ada@example.com>: no such user"}
    post("postmark", event)

    assert TrackingEvent.objects.get().reason == "smtp;550 5.1.1 <the address>: no such user"


def test_it_saves_a_reason_with_invalid_characters(delivery):
    event = payload("postmark", "bounced") | {"Details": "smtp;550 \ud83d\0 no such user"}
    assert post("postmark", event).status_code == 200

    assert TrackingEvent.objects.get().reason == "smtp;550 ?� no such user"


def test_the_shop_gets_one_webhook(delivery, merchant):
    WebhookEndpoint.objects.create(
        merchant=merchant, url="https://shop.example/", events=["delivery.bounced"], secret=""
    )
    for kind in ("bounced", "complained", "bounced"):
        post("postmark", payload("postmark", kind))

    assert WebhookMessage.objects.get().event == "delivery.bounced"


def test_the_notice_gives_the_reason_and_links_to_the_order(delivery, mailoutbox):
    post("postmark", payload("postmark", "bounced"))
    work()

    notice = mailoutbox[-1]
    assert notice.to == ["owner@northlight.example"]
    assert "mailbox full" in notice.body and f"/orders/{delivery.order.number}/" in notice.body


def test_the_order_page_says_that_the_address_bounced(delivery, support):
    page = f"/orders/{delivery.order.number}/"
    assert "bounced" not in support.get(page).content.decode()

    post("postmark", payload("postmark", "bounced"))

    text = support.get(page).content.decode()
    assert "; the e-mail bounced" in text
    assert 'class="badge bad"' in text

    Order.objects.update(email="right@example.com")

    assert "Nothing has been sent to right@example.com yet." in support.get(page).content.decode()


def test_the_order_page_does_not_ask_to_correct_an_erased_address(delivery, support):
    post("postmark", payload("postmark", "bounced"))

    PersonalData(delivery.order.email).erase(actor="Stella")

    assert "Mail to this address" not in support.get(f"/orders/{delivery.order.number}/").content.decode()


def test_a_delay_is_shown_and_does_not_change_the_status(delivery):
    event = payload("mailgun", "bounced")
    event["event-data"]["severity"] = "temporary"
    post("mailgun", event)

    delivery.refresh_from_db()
    assert delivery.status == "sent"
    assert lines(delivery.order)[-1] == "Deferred by the mail server of ada@example.com: 552 5.2.2 mailbox full"
    assert not MerchantNotice.objects.exists()


def test_repeated_opens_are_one_line_of_history(delivery):
    for minute in range(5):
        post("postmark", payload("postmark", "opened") | {"ReceivedAt": f"2026-11-22T10:0{minute}:00Z"})

    assert TrackingEvent.objects.count() == 5
    assert lines(delivery.order).count("Opened") == 1


def test_the_history_shows_sent_before_delivered(delivery):
    Delivery.objects.update(sent_at=timezone.now() + timedelta(hours=1))
    post("postmark", payload("postmark", "delivered"))

    sent, delivered = lines(delivery.order)[-2:]
    assert sent.endswith("e-mailed to ada@example.com") and delivered == "Delivered to ada@example.com"


# Before the delivery is known


def test_the_sweep_matches_an_event_saved_concurrently_with_the_delivery(delivery):
    Delivery.objects.update(message_id="not yet")
    post("postmark", payload("postmark", "bounced"))
    Delivery.objects.update(message_id=f"<{MESSAGE_ID}>")

    tasks.sweep()

    assert Delivery.objects.get().status == "bounced"


def test_unmatched_events_are_kept_for_days(delivery):
    event = payload("postmark", "bounced") | {"MessageID": "somebody-elses"}
    assert post("postmark", event).status_code == 200
    tasks.sweep()
    assert TrackingEvent.objects.get().delivery is None

    TrackingEvent.objects.update(received_at=timezone.now() - tracking.UNMATCHED_RETENTION - timedelta(minutes=1))
    tasks.sweep()

    assert not TrackingEvent.objects.exists()
    delivery.refresh_from_db()
    assert delivery.status == "sent"


# Authentication


@pytest.mark.parametrize("provider", ["amazon_ses", "sendgrid"])
def test_it_rejects_an_event_changed_after_signing(delivery, provider):
    data, proof = SIGN[provider](payload(provider, "bounced"))

    assert send(provider, data.replace("ada@example.com", "eve@example.com"), proof).status_code == 403
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", ["amazon_ses", "sendgrid", "mailgun"])
def test_it_rejects_an_unsigned_event(delivery, provider):
    data, _ = sign_postmark(payload(provider, "bounced"))

    assert send(provider, data, {}).status_code in (400, 403)
    assert not TrackingEvent.objects.exists()


def test_it_rejects_a_wrong_mailgun_signature(delivery, settings):
    settings.ANYMAIL = settings.ANYMAIL | {"MAILGUN_WEBHOOK_SIGNING_KEY": "another"}

    assert post("mailgun", payload("mailgun", "bounced")).status_code == 403
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("secret, status", [("", 401), ("provider:of another", 403), ("nothing", 403)])
def test_it_rejects_a_missing_or_wrong_secret(delivery, provider, secret, status):
    response = post(provider, payload(provider, "bounced"), secret=secret)

    assert response.status_code == status
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_rejects_all_events_if_no_secret_is_set(delivery, provider, settings):
    settings.ANYMAIL = {}

    assert post(provider, payload(provider, "bounced")).status_code == 403
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", ["sendgrid", "amazon_ses"])
def test_a_signature_is_enough_if_no_other_secret_is_set(delivery, provider, settings):
    settings.ANYMAIL = {name: value for name, value in settings.ANYMAIL.items() if name != "WEBHOOK_SECRET"}

    assert post(provider, payload(provider, "bounced"), secret="").status_code == 200


@pytest.mark.parametrize("data", ["", "{", "[]", "null", '"x"', '{"signature": []}', '[{"event": 1}]', "[" * 50_000])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_ignores_an_unreadable_body(delivery, provider, data):
    _, proof = SIGN[provider](payload(provider, "bounced"))
    if provider == "sendgrid":
        signature = sendgrid_key.sign(f"1795341605{data}".encode(), ec.ECDSA(hashes.SHA256()))
        proof["X-Twilio-Email-Event-Webhook-Signature"] = base64.b64encode(signature).decode()

    assert send(provider, data, proof).status_code in (200, 400, 403)
    assert not TrackingEvent.objects.exists()


def test_an_unreadable_body_is_not_logged(delivery, caplog):
    assert send("amazon_ses", "ada@example.com", {}).status_code == 400
    assert "ada@example.com" not in caplog.text


def test_it_rejects_a_body_that_is_too_large(delivery):
    assert send("postmark", "x" * 2_000_000, {}).status_code == 413


def test_there_is_no_url_for_other_providers(client):
    assert client.post("/anymail/mandrill/tracking/", "{}", content_type="application/json").status_code == 404
    assert client.post("/anymail/postmark/inbound/", "{}", content_type="application/json").status_code == 404


# Events from a merchant's own provider


@pytest.fixture
def make_account(settings):
    """Create mail accounts of merchants with their own secrets. The installation has no secret."""
    secrets_by_provider = {
        "postmark": "provider:of tests",
        "mailgun": settings.ANYMAIL["MAILGUN_WEBHOOK_SIGNING_KEY"],
        "sendgrid": settings.ANYMAIL["SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"],
    }
    settings.ANYMAIL = {}

    def make(merchant, kind, secret=None):
        account = MailAccount(merchant=merchant, kind=kind, sender="shop@example.com")
        account.keep(
            password="key", tracking_secret=secrets_by_provider[account.provider] if secret is None else secret
        )
        account.save()

    return make


@pytest.mark.parametrize("kind", ["postmark", "mailgun", "mailgun_eu", "sendgrid"])
def test_it_accepts_events_from_a_merchants_own_provider(delivery, merchant, make_account, kind):
    make_account(merchant, kind)
    provider = kind.removesuffix("_eu")

    assert post(provider, payload(provider, "bounced"), merchant=merchant.slug).status_code == 200

    delivery.refresh_from_db()
    assert delivery.status == "bounced"


@pytest.mark.parametrize("kind", ["postmark", "mailgun", "sendgrid"])
def test_a_merchants_provider_cannot_report_on_other_merchants_emails(delivery, outsider, make_account, kind):
    make_account(outsider, kind)

    assert post(kind, payload(kind, "bounced"), merchant=outsider.slug).status_code == 200
    tracking.match(delivery)
    tasks.sweep()

    delivery.refresh_from_db()
    assert delivery.status == "sent"
    assert TrackingEvent.objects.get().delivery is None


def test_the_same_event_from_another_merchants_provider_does_not_displace_it(
    delivery, merchant, outsider, make_account
):
    make_account(outsider, "postmark")
    make_account(merchant, "postmark")
    for slug in (outsider.slug, merchant.slug):
        post("postmark", payload("postmark", "bounced"), merchant=slug)

    delivery.refresh_from_db()
    assert delivery.status == "bounced"


@pytest.mark.parametrize("provider", ["postmark", "mailgun", "sendgrid"])
@pytest.mark.parametrize("account", [None, "without secret", "another provider"])
def test_it_rejects_events_if_the_merchants_account_has_no_matching_secret(
    delivery, merchant, make_account, settings, provider, account
):
    if account == "without secret":
        make_account(merchant, provider, secret="")
    if account == "another provider":
        make_account(merchant, "postmark" if provider != "postmark" else "mailgun")

    assert post(provider, payload(provider, "bounced"), merchant=merchant.slug).status_code == 403
    assert not TrackingEvent.objects.exists()


def test_the_installations_secret_is_not_valid_for_a_merchants_url(delivery, merchant, make_account, settings):
    make_account(merchant, "postmark", secret="northlight:secret")
    settings.ANYMAIL = {"WEBHOOK_SECRET": "provider:of tests"}

    assert post("postmark", payload("postmark", "bounced"), merchant=merchant.slug).status_code == 403


# Amazon's signature


@pytest.mark.parametrize("version", ["1", "2"])
def test_it_accepts_both_versions_of_amazons_signature(delivery, version):
    posted = sign_amazon_ses(payload("amazon_ses", "bounced"), version)

    assert send("amazon_ses", *posted).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"TopicArn": "arn:aws:sns:eu-west-1:666:eve"},
        {"SigningCertURL": "https://eve.example/SimpleNotificationService-0.pem"},
        {"SigningCertURL": "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.eve.example/SimpleNotificationService-0.pem"},
        {"SigningCertURL": "https://sns.s3-eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"},
        {"SigningCertURL": "https://eve@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/?Action=x&y=SimpleNotificationService-0.pem"},
        {"SigningCertURL": ["https://sns.eu-west-1.amazonaws.com"]},
        {"SignatureVersion": "3"},
    ],
    ids=str,
)
def test_it_rejects_another_topic_certificate_url_or_signature_version(delivery, amazon, fields):
    posted = sign_amazon_ses(payload("amazon_ses", "bounced"), **fields)

    assert send("amazon_ses", *posted).status_code == 403
    assert amazon == [] and not TrackingEvent.objects.exists()


def test_the_certificate_is_fetched_once(delivery, amazon):
    for kind in KINDS:
        post("amazon_ses", payload("amazon_ses", kind))

    assert amazon == [CERTIFICATE_URL]


SUBSCRIBE = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=keywell&Token=2336412f37fb"


def request_confirmation(url):
    fields = {"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe.", "Token": "2336412f37fb"}
    return sign_amazon_ses(payload("amazon_ses", "bounced"), SubscribeURL=url, **fields)


def test_it_confirms_a_subscription_that_amazon_requests(db, amazon):
    assert send("amazon_ses", *request_confirmation(SUBSCRIBE)).status_code == 200
    assert amazon == [CERTIFICATE_URL, SUBSCRIBE]


@pytest.mark.parametrize("url", ["https://eve.example/", SUBSCRIBE.replace("https", "http")])
def test_it_does_not_confirm_a_subscription_at_another_url(db, amazon, url):
    assert send("amazon_ses", *request_confirmation(url)).status_code == 400
    assert amazon == [CERTIFICATE_URL]


def test_it_does_not_confirm_a_subscription_with_a_wrong_signature(db, amazon):
    data, proof = request_confirmation(SUBSCRIBE)

    assert send("amazon_ses", data.replace("2336412f37fb", "ffffffffffff"), proof).status_code == 403
    assert amazon == [CERTIFICATE_URL]
