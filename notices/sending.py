"""Notices are created where something happens and sent by a worker.

Each kind of notice is a class, registered by the module that creates its notices.
"""

import json
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import models
from django.db.models.functions import Now
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext

from merchants.languages import by_language
from merchants.models import Merchant
from notices.models import MerchantNotice
from outbound.mail import compose_plain, mark_subject, send_email
from work import sql
from work.attempts import Failure, Policy
from work.locks import advisory_lock
from work.retention import delete_in_batches


class NoticeKind:
    """A kind of notice: its recipients, its content, and when it is obsolete."""

    code = ""  # stored in rows; the template is templates/emails/<code>.txt
    name: str | Promise = ""
    # True: at most one notice per subject, however often it happens.
    is_unique = False

    def recipients(self, notice: MerchantNotice) -> list[str]:
        return notice.merchant.notice_recipients()

    def obsolete_reason(self, notice: MerchantNotice) -> str:
        """Why a notice no longer applies. Empty if it still does."""
        return ""

    def context(self, notice: MerchantNotice) -> dict[str, Any]:
        """Template context, in addition to `notice` and `merchant`."""
        return {}

    def compose(self, notices: list[MerchantNotice], recipients: list[str]) -> EmailMessage:
        """Compose the e-mail for a notice or, for kinds that gather, for several with the same recipients."""
        notice = notices[0]
        context = {"notice": notice, "merchant": notice.merchant} | self.context(notice)
        return compose_plain(f"emails/{self.code}.txt", recipients, context)


KINDS: dict[str, NoticeKind] = {}


def register(*kinds: type[NoticeKind]) -> None:
    KINDS.update((kind.code, kind()) for kind in kinds)


# Two callers at the same moment create one notice.
NOTIFY_ONCE = """
    INSERT INTO notices_merchantnotice (merchant_id, kind, subject_type_id, subject_id, details, is_unique,
        can_be_grouped, sent_at, attempts, ended_at, reason)
    VALUES (%(merchant)s, %(kind)s, %(subject_type)s, %(subject)s, %(details)s::jsonb, true, false, NULL, 0, NULL, '')
    ON CONFLICT DO NOTHING
    RETURNING id
"""


def notify(kind: type[NoticeKind], merchant: Merchant, subject: models.Model | None = None, **fields: Any) -> None:
    """Create a notice and queue it, in the transaction of what it is about."""
    notice = MerchantNotice(merchant=merchant, kind=kind.code, subject=subject, is_unique=kind.is_unique, **fields)
    if kind.is_unique:
        rows = sql.run(
            NOTIFY_ONCE,
            merchant=merchant.pk,
            kind=notice.kind,
            subject_type=notice.subject_type_id,
            subject=notice.subject_id,
            details=json.dumps(notice.details),
        )
        if not rows:
            return
        notice.pk = rows[0].id
    else:
        notice.save()
    notice.nudge()


class NoticePolicy(Policy[MerchantNotice]):
    """Sends a notice together with its `others`, in one e-mail per language of its recipients."""

    model = MerchantNotice

    def claim(self, pk):
        current = []
        for notice in _claim(pk):
            if reason := _obsolete_reason(notice):
                notice.end(reason=reason)
            else:
                current.append(notice)
        if not current:
            return None
        current[0].others = current[1:]
        return current[0]

    def attempt(self, notice):
        notices = [notice, *notice.others]
        groups = by_language(_recipients(notice), notice.merchant)
        if not groups:
            raise Failure(gettext("There is nobody to notify."), permanent=True)
        for language, recipients in groups.items():
            # A retry sends only the e-mails that weren't sent the last time.
            if unsent := [each for each in notices if language not in each.languages_sent]:
                with translation.override(language):
                    message = _compose(unsent, recipients)
                with send_email(message):
                    for each in unsent:
                        each.record_sent(language)
        for sent in notices:
            sent.end(sent_at=Now(), reason="")

    def put_off(self, notice, failure):
        super().put_off(notice, failure)
        for other in notice.others:
            other.follow(notice)

    def give_up(self, notice, failure):
        for failed in (notice, *notice.others):
            super().give_up(failed, failure)


send_notice = NoticePolicy().run


def _obsolete_reason(notice: MerchantNotice) -> str:
    if notice.subject_id and notice.subject is None:
        return gettext("Its subject was deleted.")
    return KINDS[notice.kind].obsolete_reason(notice)


def _compose(notices: list[MerchantNotice], recipients: list[str]) -> EmailMessage:
    message = KINDS[notices[0].kind].compose(notices, recipients)
    if notices[0].merchant.is_test:
        message.subject = mark_subject(message.subject)
        message.body = gettext("This is a test. No customer is affected.") + "\n\n" + message.body
    return message


def _recipients(notice: MerchantNotice) -> list[str]:
    return KINDS[notice.kind].recipients(notice)


def _claim(pk: int) -> list[MerchantNotice]:
    """Claim a due notice. If it may share an e-mail, also claim others for the same recipients."""
    merchant = MerchantNotice.objects.gathering().filter(pk=pk).values_list("merchant", flat=True).first()
    if merchant is None:
        return [notice for notice in [MerchantNotice.objects.claim(pk)] if notice]

    # One worker per merchant, or two would split the notices. The sweep finds those that come too late.
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
        # New ones stop waiting. Those with attempts stay as they are: another worker may hold them.
        MerchantNotice.objects.filter(pk__in=alike, attempts=0).update(due_at=Now())
        return [notice, *filter(None, (MerchantNotice.objects.claim(other) for other in alike))]


def purge() -> None:
    """Delete old notices. Unique ones stay, or they would be sent again."""
    old = Now() - timedelta(days=settings.NOTICE_RETENTION)
    delete_in_batches(MerchantNotice.objects.filter(is_unique=False, ended_at__lt=old).order_by("ended_at"))
