"""E-mails that tell a merchant what needs a person: made where it happens, and sent by a worker.

A kind of notice is a class, which the module that makes such notices registers.
"""

from typing import Any

from django.core.mail import EmailMessage
from django.db import models
from django.db.models.functions import Now

from merchants.models import Merchant
from notices.models import MerchantNotice
from outbound.mail import compose_plain, send_email
from work.attempts import Failure, Policy
from work.models import advisory_lock


class NoticeKind:
    """Whom a notice is sent, while it is true, and what is in it."""

    code = ""  # as it stands in rows; the mail is templates/emails/<code>.txt
    name = ""
    # True: its subject is told of once, however often it happens.
    is_only_one = False

    def recipients(self, notice: MerchantNotice) -> list[str]:
        return notice.merchant.notice_recipients()

    def why_past(self, notice: MerchantNotice) -> str:
        """Why a notice is no longer true; empty if it is."""
        return ""

    def context(self, notice: MerchantNotice) -> dict[str, Any]:
        """What its mail says besides `notice` and `merchant`."""
        return {}

    def compose(self, notices: list[MerchantNotice], recipients: list[str]) -> EmailMessage:
        """One mail for one notice; or, where some are gathered, for several with the same recipients."""
        notice = notices[0]
        context = {"notice": notice, "merchant": notice.merchant} | self.context(notice)
        return compose_plain(f"emails/{self.code}.txt", recipients, context)


KINDS: dict[str, NoticeKind] = {}


def register(*kinds: type[NoticeKind]) -> None:
    KINDS.update((kind.code, kind()) for kind in kinds)


def notify(kind: type[NoticeKind], merchant: Merchant, subject: models.Model | None = None, **fields: Any) -> None:
    """Have a merchant told of something, in the transaction in which it happens."""
    notice = MerchantNotice(merchant=merchant, kind=kind.code, subject=subject, is_only_one=kind.is_only_one, **fields)
    if kind.is_only_one:
        # Whoever tells at the same moment finds the other's.
        told = {name: getattr(notice, name) for name in ("kind", "subject_type", "subject_id", "is_only_one")}
        notice, is_new = MerchantNotice.objects.get_or_create(**told, defaults={"merchant": merchant, **fields})
        if not is_new:
            return
    else:
        notice.save()
    notice.nudge()


class NoticePolicy(Policy[MerchantNotice]):
    """Sends a notice, and what else is to be told of pools in the same mail: its `others`."""

    model = MerchantNotice

    def claim(self, pk):
        true = []
        for notice in _claim(pk):
            if reason := _why_past(notice):
                notice.end(reason=reason)
            else:
                true.append(notice)
        if not true:
            return None
        true[0].others = true[1:]
        return true[0]

    def attempt(self, notice):
        notices = [notice, *notice.others]
        if recipients := _recipients(notice):
            with send_email(KINDS[notice.kind].compose(notices, recipients)):
                for one in notices:
                    one.end(sent_at=Now(), reason="")
        else:
            raise Failure("The merchant has nobody to be told.", permanent=True)

    def put_off(self, notice, failure):
        super().put_off(notice, failure)
        for other in notice.others:
            other.follow(notice)

    def give_up(self, notice, failure):
        for one in (notice, *notice.others):
            super().give_up(one, failure)


send_notice = NoticePolicy().run


def _why_past(notice: MerchantNotice) -> str:
    if notice.subject_id and notice.subject is None:
        return "What it was about is gone."
    return KINDS[notice.kind].why_past(notice)


def _recipients(notice: MerchantNotice) -> list[str]:
    return KINDS[notice.kind].recipients(notice)


def _claim(pk: int) -> list[MerchantNotice]:
    """Take a notice that is due; if it is gathering, those about others for the same recipients as well."""
    merchant = MerchantNotice.objects.gathering().filter(pk=pk).values_list("merchant", flat=True).first()
    if merchant is None:
        return [notice for notice in [MerchantNotice.objects.claim(pk)] if notice]

    # One gathers for a merchant at a time, or two would share the notices out. The sweep sees to what comes too late.
    with advisory_lock("gather_notices", merchant) as locked:
        notice = MerchantNotice.objects.claim(pk) if locked else None
        if notice is None:
            return []
        if notice.subject_id and notice.subject is None:
            return [notice]
        recipients = _recipients(notice)
        others = MerchantNotice.objects.gathering().filter(merchant=merchant).exclude(subject_id=notice.subject_id)
        others = others.prefetch_related("subject").order_by("pk")
        alike = [other.pk for other in others if other.subject and _recipients(other) == recipients]
        # They wait for nothing else. Those that were tried are left alone until they are due: somebody may be at it.
        MerchantNotice.objects.filter(pk__in=alike, attempts=0).update(due_at=Now())
        return [notice, *filter(None, (MerchantNotice.objects.claim(other) for other in alike))]
