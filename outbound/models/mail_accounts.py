"""Merchants' own mail servers."""

import json

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from merchants.models import MAX_ACTOR, Merchant
from vault.fields import EncryptedTextField
from work.models import CALLOUTS, DEFAULT


class MailAccountQuerySet(models.QuerySet["MailAccount"]):
    def for_merchant(self, merchant: Merchant | int) -> "MailAccount | None":
        """The merchant's own, or None: its mails go through the installation's server."""
        return self.filter(merchant=merchant).first()

    def queue_of(self, merchant: Merchant | int | None) -> str:
        """Whose turn its mails are: nobody else's wait for a merchant's own mail server."""
        return CALLOUTS if self.filter(merchant=merchant).exists() else DEFAULT


class MailAccount(models.Model):
    """A merchant's own mail server, or account at a mail provider, through which mails to its customers go."""

    class Kind(models.TextChoices):
        SMTP = "smtp", "A mail server, by SMTP"
        POSTMARK = "postmark", "Postmark"
        MAILGUN = "mailgun", "Mailgun"
        MAILGUN_EU = "mailgun_eu", "Mailgun, region EU"
        SENDGRID = "sendgrid", "SendGrid"

    class Security(models.TextChoices):
        STARTTLS = "starttls", "STARTTLS"
        TLS = "tls", "TLS from the start"

    PORTS = (587, 465, 25, 2525)

    merchant = models.OneToOneField(Merchant, models.CASCADE, related_name="mail_account")
    kind = models.CharField("mails go through", max_length=12, choices=Kind, default=Kind.SMTP)
    sender = models.EmailField("sender address", help_text="Where mails to your customers come from.")
    host = models.CharField(max_length=253, blank=True)
    port = models.PositiveIntegerField(null=True, blank=True)
    security = models.CharField(max_length=8, choices=Security, default=Security.STARTTLS)
    user_name = models.CharField(max_length=320, blank=True)
    credentials = EncryptedTextField("what it signs in with, as JSON", bound_to=("merchant_id",), editable=False)
    saved_by = models.CharField(max_length=MAX_ACTOR, editable=False)
    tested_at = models.DateTimeField(db_default=Now(), editable=False)
    reason = models.CharField(max_length=500, blank=True, editable=False, help_text="Why it lets us in no longer.")

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
        """Of the user; at a provider the API key."""
        return json.loads(self.credentials)["password"]

    @property
    def tracking_secret(self) -> str:
        """What proves that the provider tells what became of a mail: in which form, the provider says."""
        return json.loads(self.credentials)["tracking_secret"]

    def keep(self, *, password: str, tracking_secret: str) -> None:
        self.credentials = json.dumps({"password": password, "tracking_secret": tracking_secret})

    @property
    def provider(self) -> str:
        """As it is called where it tells what became of mails; a mail server tells nothing."""
        return {self.Kind.SMTP: "", self.Kind.MAILGUN_EU: "mailgun"}.get(self.Kind(self.kind), self.kind)

    def note_refusal(self, reason: str) -> bool:
        """Note that it lets us in no longer. Returns whether that is news."""
        return bool(MailAccount.objects.filter(pk=self.pk, reason="").update(reason=reason[:500]))

    def note_success(self) -> None:
        if self.reason:
            MailAccount.objects.filter(pk=self.pk).update(reason="")
