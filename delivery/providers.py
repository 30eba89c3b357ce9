"""Webhooks in which mail providers report what happened to e-mails.

django-anymail parses the formats. It checks a provider's secret only if one is set, and otherwise accepts anybody's
posts. Here a secret is required.
"""

import logging
from base64 import b64decode

from anymail.exceptions import AnymailError, AnymailWebhookValidationFailure
from anymail.utils import get_anymail_setting
from anymail.webhooks.amazon_ses import AmazonSESBaseWebhookView, AmazonSESTrackingWebhookView
from anymail.webhooks.base import AnymailCoreWebhookView
from anymail.webhooks.mailgun import MailgunTrackingWebhookView
from anymail.webhooks.postmark import PostmarkTrackingWebhookView
from anymail.webhooks.sendgrid import SendGridBaseWebhookView, SendGridTrackingWebhookView
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from delivery import sns, tracking
from merchants.models import Merchant
from outbound.models import MailAccount

logger = logging.getLogger(__name__)


class AmazonSES(AmazonSESTrackingWebhookView):
    """SNS notifications. Amazon signs every customer's topics, so a secret or the topic's name identifies ours."""

    warn_if_no_basic_auth = False

    def __init__(self, *, topic_arn: str, webhook_secret: str) -> None:
        self.topics = topic_arn.split()
        self.auto_confirm_enabled = True
        # Skips anymail's __init__, which requires boto3.
        super(AmazonSESBaseWebhookView, self).__init__(webhook_secret=webhook_secret)

    def parse_events(self, request):
        message = self._parse_sns_message(request)
        if self.topics and message.get("TopicArn") not in self.topics:
            raise AnymailWebhookValidationFailure("The message belongs to another topic.")
        sns.verify(message)
        return super().parse_events(request)

    def auto_confirm_sns_subscription(self, sns_message):
        sns.confirm(sns_message)


class SendGrid(SendGridTrackingWebhookView):
    warn_if_no_basic_auth = False

    def __init__(self, *, tracking_webhook_verification_key: str, webhook_secret: str) -> None:
        if tracking_webhook_verification_key:
            self.webhook_verification_key = load_der_public_key(b64decode(tracking_webhook_verification_key))
        # Skips anymail's __init__, which warns that its authors can no longer test with SendGrid.
        super(SendGridBaseWebhookView, self).__init__(webhook_secret=webhook_secret)


READERS: dict[str, type[AnymailCoreWebhookView]] = {
    "amazon_ses": AmazonSES,
    "mailgun": MailgunTrackingWebhookView,
    "postmark": PostmarkTrackingWebhookView,
    "sendgrid": SendGrid,
}
# Names in anymail's settings that identify a provider; one of them has to be set. Merchants have the first one.
SECRETS = {
    "amazon_ses": ["topic_arn", "webhook_secret"],
    "mailgun": ["webhook_signing_key"],
    "postmark": ["webhook_secret"],
    "sendgrid": ["tracking_webhook_verification_key", "webhook_secret"],
}
MALFORMED = (AnymailError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@csrf_exempt
@require_http_methods(["HEAD", "POST"])
def receive_tracking(request: HttpRequest, provider: str) -> HttpResponse:
    """Receive events from the installation's mail provider."""
    if provider not in READERS:
        raise Http404
    secrets = {name: get_anymail_setting(name, default="", esp_name=provider) for name in SECRETS[provider]}
    # anymail has one webhook_secret for all providers.
    return _receive(request, provider, secrets | {"webhook_secret": get_anymail_setting("webhook_secret", default="")})


@csrf_exempt
@require_http_methods(["HEAD", "POST"])
def receive_merchant_tracking(request: HttpRequest, merchant: str, provider: str) -> HttpResponse:
    """Receive events from a merchant's mail provider, about that merchant's e-mails only."""
    if provider not in READERS:
        raise Http404
    account = MailAccount.objects.filter(merchant__slug=merchant).select_related("merchant").first()
    if account is None or account.provider != provider:
        return _refuse(provider, "the merchant has no account with this provider")
    secrets = {"webhook_secret": "", SECRETS[provider][0]: account.tracking_secret}
    return _receive(request, provider, secrets, account.merchant)


def _receive(request: HttpRequest, provider: str, secrets: dict[str, str], merchant: Merchant | None = None):
    if not any(secrets[name] for name in SECRETS[provider]):
        return _refuse(provider, "no secret is set")
    if secrets["webhook_secret"] and "Authorization" not in request.headers:
        # Amazon sends the secret only after a 401.
        return HttpResponse(status=401, headers={"WWW-Authenticate": 'Basic realm="Tracking"'})
    if request.method == "HEAD":
        return HttpResponse()  # some providers check that the URL exists
    if int(request.META.get("CONTENT_LENGTH") or 0) > settings.API_BODY_LIMIT:
        return HttpResponse(status=413)

    try:
        reader = READERS[provider](**secrets)
        reader.run_validators(request)
        events = reader.parse_events(request)
    except (AnymailWebhookValidationFailure, sns.NotFromAmazon) as error:
        return _refuse(provider, str(error))
    except MALFORMED as error:
        # Not the error's message, which may contain the posted data.
        logger.warning("Can't parse a tracking event from %s: %s", provider, type(error).__name__)
        return HttpResponse(status=400)
    for event in events:
        tracking.record(event, provider=provider, merchant=merchant)
    return HttpResponse()


def _refuse(provider: str, reason: str) -> HttpResponse:
    logger.warning("Refused a tracking event from %s: %s", provider, reason)
    return HttpResponse(status=403)
