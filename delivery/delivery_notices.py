"""Notices to merchants about e-mails that don't reach their customers."""

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from notices.sending import NoticeKind, register
from outbound.models import MailAccount


class DeliveryNotice(NoticeKind):
    def context(self, notice):
        return {"delivery": notice.subject, "order": notice.subject.order}


class DeliveryFailed(DeliveryNotice):
    code, name = "delivery_failed", _("delivery failed")


class DeliveryBounced(DeliveryNotice):
    code, name = "delivery_bounced", _("delivery bounced")


class MailServerRefused(NoticeKind):
    code, name = "mail_server", _("mail server rejects the login")

    def obsolete_reason(self, notice):
        account = MailAccount.objects.for_merchant(notice.merchant_id)
        return (
            ""
            if account and account.reason
            else gettext("The mail server accepted the login again before the notice was sent.")
        )

    def context(self, notice):
        return {"account": MailAccount.objects.for_merchant(notice.merchant)}


register(DeliveryFailed, DeliveryBounced, MailServerRefused)
