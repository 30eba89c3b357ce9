"""E-mails that tell a merchant what needs a person."""

from typing import Any

from django.core.mail import EmailMessage
from django.db.models.functions import Now

from fulfillment.mail import MailError, compose_plain, sent
from fulfillment.models import Fulfillment, MailAccount, MerchantNotice
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
            notice.postpone(str(error), at_least=error.pause)


def compose(notice: MerchantNotice, recipients: list[str]) -> EmailMessage:
    context: dict[str, Any] = {"notice": notice, "merchant": notice.merchant}
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
    if notice.kind == MerchantNotice.Kind.MAIL_SERVER_REFUSED:
        context["account"] = MailAccount.objects.of(notice.merchant)

    return compose_plain(f"emails/{notice.kind}.txt", recipients, context)
