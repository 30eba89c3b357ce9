"""Notices: e-mails to a merchant's people or support staff about something that needs attention."""

from collections.abc import Sequence

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import Merchant
from work.models import Retryable, RetryableQuerySet


class MerchantNoticeQuerySet(RetryableQuerySet):
    def about(self, subject: models.Model):
        return self.about_any(type(subject)).filter(subject_id=subject.pk)

    def about_any(self, model: type[models.Model]):
        return self.filter(subject_type=ContentType.objects.get_for_model(model))

    def gathering(self):
        """Those that may share an e-mail: they wait for others, or a first attempt failed."""
        return self.filter(can_be_grouped=True, due_at__gt=F("created_at"))


class MerchantNotice(Retryable):
    """A notice to a merchant's people, or to support staff about the merchant (notices/sending.py)."""

    TASK = "notices.tasks.send_notice"

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=20, help_text=_("Code of one of notices.sending.KINDS."))
    subject_type = models.ForeignKey(ContentType, models.CASCADE, null=True, blank=True, related_name="+")
    subject_id = models.BigIntegerField(null=True, blank=True)
    subject = GenericForeignKey("subject_type", "subject_id")
    details = models.JSONField(default=dict, blank=True)
    is_unique = models.BooleanField(default=False, help_text=_("At most one notice of this kind per subject."))
    can_be_grouped = models.BooleanField(default=False, help_text=_("It can share an e-mail with other notices."))
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)

    others: "Sequence[MerchantNotice]" = ()  # claimed together with it, to share its e-mail

    objects = MerchantNoticeQuerySet.as_manager()  # type: ignore[misc]

    class Meta(Retryable.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["subject_type", "subject_id", "kind"],
                condition=Q(is_unique=True),
                name="one_notice_of_a_kind_per_item",
            )
        ]
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["subject_type", "subject_id", "kind", "-id"], name="notice_about"),
            models.Index(
                fields=["ended_at"], condition=Q(ended_at__isnull=False, is_unique=False), name="notice_to_purge"
            ),
        ]

    def __str__(self):
        return gettext("Notice to {merchant}: {kind}").format(merchant=self.merchant, kind=self.kind)

    @property
    def languages_sent(self) -> list[str]:
        """The languages in which its recipients already got it, if a later e-mail failed."""
        return self.details.get("languages_sent", [])

    def record_sent(self, language: str) -> None:
        self._update(details=self.details | {"languages_sent": [*self.languages_sent, language]})

    def follow(self, other: "MerchantNotice") -> None:
        """Retry together with another notice, which failed too."""
        self._update(due_at=other.due_at, reason=other.reason)
