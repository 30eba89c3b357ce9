from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from fulfillment.models import Delivery


def compose(template: str, recipient: str, context: dict[str, Any]) -> EmailMessage:
    """Make a mail of a template whose first line is the subject."""
    subject, _, body = render_to_string(template, context | {"base_url": settings.BASE_URL}).partition("\n")
    return EmailMessage(
        subject=" ".join(subject.split()),
        body=body.strip() + "\n",
        to=[recipient],
        headers={"Message-ID": Delivery.make_message_id(), "Auto-Submitted": "auto-generated"},
    )
