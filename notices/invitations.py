from django.conf import settings
from django.urls import reverse
from django.utils import timezone, translation

from merchants.models import Invitation
from outbound.mail import compose_plain, send_email


def invitation_url(token: str) -> str:
    return settings.BASE_URL + reverse("open-invitation", args=[token])


def send_invitation(invitation: Invitation, token: str) -> None:
    """E-mail the link to the invited person, in the merchant's language. Raises MailError."""
    context = {"invitation": invitation, "url": invitation_url(token)}
    with translation.override(invitation.merchant.language):
        message = compose_plain("emails/invitation.txt", [invitation.email], context)
    with send_email(message):
        invitation.sent_at = timezone.now()
        invitation.save(update_fields=["sent_at"])
