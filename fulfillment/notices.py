"""E-mails that tell a merchant what needs a person."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models.functions import Now
from django.template.loader import render_to_string

from fulfillment.mail import MailError, sent
from fulfillment.models import Delivery, Fulfillment, MerchantNotice
from pools.replenishment import forecast


def send_notice(pk: int) -> None:
    """Make one attempt at a notice that is due."""
    notice = MerchantNotice.objects.claim(pk)
    if notice is None:
        return
    recipients = notice.pool.get_recipients() if notice.pool else notice.merchant.notice_recipients()
    if not recipients:
        notice.end(reason="The merchant has nobody to be told.")
        return

    try:
        with sent(compose(notice, recipients)):
            notice.end(sent_at=Now(), reason="")
    except MailError as error:
        if error.permanent or notice.is_last_attempt:
            notice.end(reason=str(error)[:500])
        else:
            notice.postpone(str(error))


def compose(notice: MerchantNotice, recipients: list[str]) -> EmailMessage:
    context = {"notice": notice, "merchant": notice.merchant, "base_url": settings.BASE_URL}
    if notice.pool:
        context |= {
            "pool": notice.pool,
            "forecast": forecast(notice.pool, notice.available or 0),
            "waiting": Fulfillment.objects.waiting_for(notice.pool).values("item__order").distinct().count(),
        }
    if notice.item:
        context |= {"item": notice.item, "order": notice.item.order, "fulfillment": notice.item.fulfillment}
    if notice.delivery:
        context |= {"delivery": notice.delivery, "order": notice.delivery.order}

    subject, _, body = render_to_string(f"emails/{notice.kind}.txt", context).partition("\n")
    return EmailMessage(
        subject=" ".join(subject.split()),
        body=body.strip() + "\n",
        to=recipients,
        headers={"Message-ID": Delivery.make_message_id(), "Auto-Submitted": "auto-generated"},
    )
