"""What providers tell, posted to the addresses they are given, in the formats they document."""

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


ORDERS = [list(kinds) * 2 for kinds in itertools.permutations(KINDS)]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_provider_tells_is_how_the_delivery_stands(delivery, provider, kind):
    assert post(provider, payload(provider, kind)).status_code == 200

    delivery.refresh_from_db()
    assert delivery.status == kind
    assert ("mailbox full" in delivery.reason) == (kind == "bounced")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_order_and_repetition_of_events_do_not_matter(delivery, provider):
    order = delivery.order
    kinds = random.Random(provider).choice(ORDERS)
    for kind in kinds:
        assert post(provider, payload(provider, kind)).status_code == 200

    delivery.refresh_from_db()
    assert (delivery.status, TrackingEvent.objects.count()) == ("complained", 4)
    told = lines(order)[-4:]
    assert told[0] == "Delivered to ada@example.com"
    assert told[1].startswith("Bounced: ") and told[1].endswith("mailbox full")
    assert told[2] == "Opened"
    assert told[3].startswith("Marked as spam")


@pytest.mark.parametrize("kinds", list(itertools.permutations(["delivered", "opened", "bounced"])))
def test_the_gravest_news_counts_and_the_merchant_is_told_once(delivery, kinds):
    for kind in [*kinds, *kinds]:
        post("postmark", payload("postmark", kind))

    delivery.refresh_from_db()
    assert (delivery.status, delivery.reason) == ("bounced", "smtp;552 5.2.2 mailbox full")
    assert MerchantNotice.objects.get().kind == "delivery_bounced"


@pytest.mark.parametrize("kind", ["bounced", "complained"])
def test_bad_news_needs_attention_until_another_mail_went_out(delivery, kind):
    post("postmark", payload("postmark", kind))
    assert list(needing_attention(Order.objects.all())) == [delivery.order]

    resending.resend(delivery.order.items.get(), actor="Sam")
    work()

    assert not needing_attention(Order.objects.all())


@pytest.mark.parametrize("kind", ["delivered", "opened"])
def test_good_news_needs_no_attention_and_is_no_reason_to_send_again(delivery, kind):
    item = delivery.order.items.get()
    resent, _ = resending.resend(item, actor="Sam")
    work()
    Delivery.objects.update(message_id="")
    Delivery.objects.filter(pk=resent.pk).update(message_id=MESSAGE_ID)
    post("postmark", payload("postmark", kind))

    assert resending.resend(item, actor="Sam") == (resent, False)
    assert not needing_attention(Order.objects.all())


def test_what_bounced_may_be_resent_at_once(delivery):
    item = delivery.order.items.get()
    resent, _ = resending.resend(item, actor="Sam")
    work()
    Delivery.objects.filter(pk=resent.pk).update(message_id="<another@example.com>")
    bounce = payload("postmark", "bounced") | {"MessageID": "another@example.com"}
    post("postmark", bounce)

    assert resending.resend(item, actor="Sam")[1]


def test_the_reason_does_not_hold_the_address(delivery):
    told = payload("postmark", "bounced") | {"Details": "smtp;550 5.1.1 <Ada@example.com>: no such user"}
    post("postmark", told)

    assert TrackingEvent.objects.get().reason == "smtp;550 5.1.1 <the address>: no such user"


def test_whatever_a_mail_server_answered_is_kept(delivery):
    told = payload("postmark", "bounced") | {"Details": "smtp;550 \ud83d\0 no such user"}
    assert post("postmark", told).status_code == 200

    assert TrackingEvent.objects.get().reason == "smtp;550 ?� no such user"


def test_the_shop_is_told_once(delivery, merchant):
    WebhookEndpoint.objects.create(
        merchant=merchant, url="https://shop.example/", events=["delivery.bounced"], secret=""
    )
    for kind in ("bounced", "complained", "bounced"):
        post("postmark", payload("postmark", kind))

    assert WebhookMessage.objects.get().event == "delivery.bounced"


def test_the_notice_says_why_and_where(delivery, mailoutbox):
    post("postmark", payload("postmark", "bounced"))
    work()

    notice = mailoutbox[-1]
    assert notice.to == ["owner@northlight.example"]
    assert "mailbox full" in notice.body and f"/orders/{delivery.order.number}/" in notice.body


def test_the_order_page_says_that_the_address_bounced(delivery, support):
    page = f"/orders/{delivery.order.number}/"
    assert "Mail to this address" not in support.get(page).content.decode()

    post("postmark", payload("postmark", "bounced"))

    text = support.get(page).content.decode()
    assert "Mail to this address bounced. Correct the address, then resend." in text
    assert 'class="badge bad"' in text

    Order.objects.update(email="right@example.com")

    assert "Mail to this address" not in support.get(page).content.decode()


def test_nobody_is_asked_to_correct_an_address_that_was_erased(delivery, support):
    post("postmark", payload("postmark", "bounced"))

    PersonalData(delivery.order.email).erase(actor="Stella")

    assert "Mail to this address" not in support.get(f"/orders/{delivery.order.number}/").content.decode()


def test_a_delay_is_told_and_changes_nothing(delivery):
    told = payload("mailgun", "bounced")
    told["event-data"]["severity"] = "temporary"
    post("mailgun", told)

    delivery.refresh_from_db()
    assert delivery.status == "sent"
    assert lines(delivery.order)[-1] == "Deferred by the mail server of ada@example.com: 552 5.2.2 mailbox full"
    assert not MerchantNotice.objects.exists()


def test_opening_it_often_is_one_line(delivery):
    for minute in range(5):
        post("postmark", payload("postmark", "opened") | {"ReceivedAt": f"2026-11-22T10:0{minute}:00Z"})

    assert TrackingEvent.objects.count() == 5
    assert lines(delivery.order).count("Opened") == 1


def test_nothing_happens_to_a_mail_before_it_is_sent(delivery):
    Delivery.objects.update(sent_at=timezone.now() + timedelta(hours=1))
    post("postmark", payload("postmark", "delivered"))

    sent, delivered = lines(delivery.order)[-2:]
    assert sent.endswith("e-mailed to ada@example.com") and delivered == "Delivered to ada@example.com"


# Before the delivery is known


def test_the_sweep_finds_what_was_written_at_the_same_moment(delivery):
    Delivery.objects.update(message_id="not yet")
    post("postmark", payload("postmark", "bounced"))
    Delivery.objects.update(message_id=f"<{MESSAGE_ID}>")

    tasks.sweep()

    assert Delivery.objects.get().status == "bounced"


def test_events_of_mails_that_are_not_ours_are_kept_for_days(delivery):
    told = payload("postmark", "bounced") | {"MessageID": "somebody-elses"}
    assert post("postmark", told).status_code == 200
    tasks.sweep()
    assert TrackingEvent.objects.get().delivery is None

    TrackingEvent.objects.update(received_at=timezone.now() - tracking.UNMATCHED_RETENTION - timedelta(minutes=1))
    tasks.sweep()

    assert not TrackingEvent.objects.exists()
    delivery.refresh_from_db()
    assert delivery.status == "sent"


# Who is believed


@pytest.mark.parametrize("provider", ["amazon_ses", "sendgrid"])
def test_what_was_changed_after_it_was_signed_is_refused(delivery, provider):
    data, proof = SIGN[provider](payload(provider, "bounced"))

    assert send(provider, data.replace("ada@example.com", "eve@example.com"), proof).status_code == 403
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", ["amazon_ses", "sendgrid", "mailgun"])
def test_what_is_not_signed_is_refused(delivery, provider):
    data, _ = sign_postmark(payload(provider, "bounced"))

    assert send(provider, data, {}).status_code in (400, 403)
    assert not TrackingEvent.objects.exists()


def test_a_wrong_signature_of_mailgun_is_refused(delivery, settings):
    settings.ANYMAIL = settings.ANYMAIL | {"MAILGUN_WEBHOOK_SIGNING_KEY": "another"}

    assert post("mailgun", payload("mailgun", "bounced")).status_code == 403
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("secret, status", [("", 401), ("provider:of another", 403), ("nothing", 403)])
def test_a_missing_or_wrong_secret_is_refused(delivery, provider, secret, status):
    response = post(provider, payload(provider, "bounced"), secret=secret)

    assert response.status_code == status
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nobody_is_believed_where_nothing_is_set(delivery, provider, settings):
    settings.ANYMAIL = {}

    assert post(provider, payload(provider, "bounced")).status_code == 403
    assert not TrackingEvent.objects.exists()


@pytest.mark.parametrize("provider", ["sendgrid", "amazon_ses"])
def test_a_signature_is_enough_where_no_other_secret_is_set(delivery, provider, settings):
    settings.ANYMAIL = {name: value for name, value in settings.ANYMAIL.items() if name != "WEBHOOK_SECRET"}

    assert post(provider, payload(provider, "bounced"), secret="").status_code == 200


@pytest.mark.parametrize("data", ["", "{", "[]", "null", '"x"', '{"signature": []}', '[{"event": 1}]', "[" * 50_000])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_cannot_be_read_does_nothing(delivery, provider, data):
    _, proof = SIGN[provider](payload(provider, "bounced"))
    if provider == "sendgrid":
        signature = sendgrid_key.sign(f"1795341605{data}".encode(), ec.ECDSA(hashes.SHA256()))
        proof["X-Twilio-Email-Event-Webhook-Signature"] = base64.b64encode(signature).decode()

    assert send(provider, data, proof).status_code in (200, 400, 403)
    assert not TrackingEvent.objects.exists()


def test_what_cannot_be_read_is_not_in_the_log(delivery, caplog):
    assert send("amazon_ses", "ada@example.com", {}).status_code == 400
    assert "ada@example.com" not in caplog.text


def test_what_is_too_long_is_not_read(delivery):
    assert send("postmark", "x" * 2_000_000, {}).status_code == 413


def test_there_is_no_address_for_other_providers(client):
    assert client.post("/anymail/mandrill/tracking/", "{}", content_type="application/json").status_code == 404
    assert client.post("/anymail/postmark/inbound/", "{}", content_type="application/json").status_code == 404


# What a merchant's own provider tells


@pytest.fixture
def make_account(settings):
    """An account of a merchant, which has secrets of its own; the installation has none."""
    of_provider = {
        "postmark": "provider:of tests",
        "mailgun": settings.ANYMAIL["MAILGUN_WEBHOOK_SIGNING_KEY"],
        "sendgrid": settings.ANYMAIL["SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"],
    }
    settings.ANYMAIL = {}

    def make(merchant, kind, secret=None):
        account = MailAccount(merchant=merchant, kind=kind, sender="shop@example.com")
        account.keep(password="key", tracking_secret=of_provider[account.provider] if secret is None else secret)
        account.save()

    return make


@pytest.mark.parametrize("kind", ["postmark", "mailgun", "mailgun_eu", "sendgrid"])
def test_a_merchants_own_provider_is_believed(delivery, merchant, make_account, kind):
    make_account(merchant, kind)
    provider = kind.removesuffix("_eu")

    assert post(provider, payload(provider, "bounced"), merchant=merchant.slug).status_code == 200

    delivery.refresh_from_db()
    assert delivery.status == "bounced"


@pytest.mark.parametrize("kind", ["postmark", "mailgun", "sendgrid"])
def test_it_is_believed_about_that_merchants_mails_only(delivery, outsider, make_account, kind):
    make_account(outsider, kind)

    assert post(kind, payload(kind, "bounced"), merchant=outsider.slug).status_code == 200
    tracking.match(delivery)
    tasks.sweep()

    delivery.refresh_from_db()
    assert delivery.status == "sent"
    assert TrackingEvent.objects.get().delivery is None


def test_it_cannot_take_the_place_of_what_another_tells(delivery, merchant, outsider, make_account):
    make_account(outsider, "postmark")
    make_account(merchant, "postmark")
    for slug in (outsider.slug, merchant.slug):
        post("postmark", payload("postmark", "bounced"), merchant=slug)

    delivery.refresh_from_db()
    assert delivery.status == "bounced"


@pytest.mark.parametrize("provider", ["postmark", "mailgun", "sendgrid"])
@pytest.mark.parametrize("account", [None, "without secret", "elsewhere"])
def test_nobody_is_believed_whose_account_has_no_such_secret(
    delivery, merchant, make_account, settings, provider, account
):
    if account == "without secret":
        make_account(merchant, provider, secret="")
    if account == "elsewhere":
        make_account(merchant, "postmark" if provider != "postmark" else "mailgun")

    assert post(provider, payload(provider, "bounced"), merchant=merchant.slug).status_code == 403
    assert not TrackingEvent.objects.exists()


def test_the_installations_secret_is_none_of_a_merchants(delivery, merchant, make_account, settings):
    make_account(merchant, "postmark", secret="northlight:secret")
    settings.ANYMAIL = {"WEBHOOK_SECRET": "provider:of tests"}

    assert post("postmark", payload("postmark", "bounced"), merchant=merchant.slug).status_code == 403


# Amazon's signature


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_versions_of_amazons_signature_are_known(delivery, version):
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
def test_amazons_signature_is_checked_with_amazons_certificate(delivery, amazon, fields):
    posted = sign_amazon_ses(payload("amazon_ses", "bounced"), **fields)

    assert send("amazon_ses", *posted).status_code == 403
    assert amazon == [] and not TrackingEvent.objects.exists()


def test_the_certificate_is_fetched_once(delivery, amazon):
    for kind in KINDS:
        post("amazon_ses", payload("amazon_ses", kind))

    assert amazon == [CERTIFICATE_URL]


SUBSCRIBE = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=keywell&Token=2336412f37fb"


def ask_for_confirmation(url):
    fields = {"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe.", "Token": "2336412f37fb"}
    return sign_amazon_ses(payload("amazon_ses", "bounced"), SubscribeURL=url, **fields)


def test_a_subscription_is_confirmed_if_amazon_asks_for_it(db, amazon):
    assert send("amazon_ses", *ask_for_confirmation(SUBSCRIBE)).status_code == 200
    assert amazon == [CERTIFICATE_URL, SUBSCRIBE]


@pytest.mark.parametrize("url", ["https://eve.example/", SUBSCRIBE.replace("https", "http")])
def test_it_is_not_confirmed_elsewhere(db, amazon, url):
    assert send("amazon_ses", *ask_for_confirmation(url)).status_code == 400
    assert amazon == [CERTIFICATE_URL]


def test_it_is_not_confirmed_for_somebody_else(db, amazon):
    data, proof = ask_for_confirmation(SUBSCRIBE)

    assert send("amazon_ses", data.replace("2336412f37fb", "ffffffffffff"), proof).status_code == 403
    assert amazon == [CERTIFICATE_URL]
