import json

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from merchants.models import MAX_ACTOR, Merchant
from vault.fields import EncryptedTextField
from work.models import CALLOUTS, DEFAULT


class MailAccountQuerySet(models.QuerySet["MailAccount"]):
    def for_merchant(self, merchant: Merchant | int) -> "MailAccount | None":
        """The merchant's account, or None if it uses the installation's server."""
        return self.filter(merchant=merchant).first()

    def queue_for(self, merchant: Merchant | int | None) -> str:
        """The queue for a merchant's e-mails. Those through its own mail server don't hold up others'."""
        return CALLOUTS if self.filter(merchant=merchant).exists() else DEFAULT


class MailAccount(models.Model):
    """A merchant's own mail server or mail provider account, used for e-mails to its customers."""

    class Kind(models.TextChoices):
        SMTP = "smtp", _("Mail server (SMTP)")
        POSTMARK = "postmark", _("Postmark")
        MAILGUN = "mailgun", _("Mailgun")
        MAILGUN_EU = "mailgun_eu", _("Mailgun (EU)")
        SENDGRID = "sendgrid", _("SendGrid")

    class Security(models.TextChoices):
        STARTTLS = "starttls", _("STARTTLS")
        TLS = "tls", _("TLS from the start")

    PORTS = (587, 465, 25, 2525)

    merchant = models.OneToOneField(Merchant, models.CASCADE, related_name="mail_account")
    kind = models.CharField(_("send through"), max_length=12, choices=Kind, default=Kind.SMTP)
    sender = models.EmailField(_("sender address"), help_text=_("The From address of e-mails to your customers."))
    host = models.CharField(max_length=253, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True)
    security = models.CharField(max_length=8, choices=Security, default=Security.STARTTLS)
    user_name = models.CharField(max_length=320, blank=True)
    credentials = EncryptedTextField(_("credentials as JSON"), bound_to=("merchant_id",), editable=False)
    saved_by = models.CharField(max_length=MAX_ACTOR, editable=False)
    tested_at = models.DateTimeField(db_default=Now(), editable=False)
    reason = models.CharField(max_length=500, blank=True, editable=False, help_text=_("Why it rejects our login."))
    refused_at = models.DateTimeField(null=True, editable=False, help_text=_("Since when it rejects our login."))

    objects = MailAccountQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(kind="smtp") | (~Q(host="") & Q(port__isnull=False)), name="a_mail_server_has_an_address"
            ),
        ]

    def __str__(self):
        return f"{self.host}:{self.port}" if self.kind == self.Kind.SMTP else self.get_kind_display()

    @property
    def password(self) -> str:
        """The SMTP password or, for a provider, the API key."""
        return json.loads(self.credentials)["password"]

    @property
    def tracking_secret(self) -> str:
        """Authenticates the provider's tracking webhooks, in a form that depends on the provider."""
        return json.loads(self.credentials)["tracking_secret"]

    def keep(self, *, password: str, tracking_secret: str) -> None:
        self.credentials = json.dumps({"password": password, "tracking_secret": tracking_secret})

    @property
    def provider(self) -> str:
        """The provider's name in tracking URLs and in anymail. Empty for a mail server, which has no tracking."""
        return {self.Kind.SMTP: "", self.Kind.MAILGUN_EU: "mailgun"}.get(self.Kind(self.kind), self.kind)

    def note_refusal(self, reason: str) -> bool:
        """Record that it rejects our login. Return whether that is new."""
        return bool(MailAccount.objects.filter(pk=self.pk, reason="").update(reason=reason[:500], refused_at=Now()))

    def note_success(self) -> None:
        if self.reason:
            MailAccount.objects.filter(pk=self.pk).update(reason="")
