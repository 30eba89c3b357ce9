import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import vault.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("merchants", "0001_initial"),
        ("orders", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Upstream",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "failures",
                    models.PositiveIntegerField(
                        default=0, editable=False, help_text="Temporary ones, one after another."
                    ),
                ),
                (
                    "failing_since",
                    models.DateTimeField(editable=False, help_text="Since then it gave no code.", null=True),
                ),
                (
                    "paused_at",
                    models.DateTimeField(editable=False, help_text="Since then it is only probed.", null=True),
                ),
                (
                    "probe_at",
                    models.DateTimeField(editable=False, help_text="When the next request may go there.", null=True),
                ),
                (
                    "told_at",
                    models.DateTimeField(
                        editable=False, help_text="When the merchant was told of failed items.", null=True
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="MailAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("smtp", "A mail server, by SMTP"),
                            ("postmark", "Postmark"),
                            ("mailgun", "Mailgun"),
                            ("mailgun_eu", "Mailgun, region EU"),
                            ("sendgrid", "SendGrid"),
                        ],
                        default="smtp",
                        max_length=12,
                        verbose_name="mails go through",
                    ),
                ),
                (
                    "sender",
                    models.EmailField(
                        help_text="Where mails to your customers come from.",
                        max_length=254,
                        verbose_name="sender address",
                    ),
                ),
                ("host", models.CharField(blank=True, max_length=253)),
                ("port", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "security",
                    models.CharField(
                        choices=[("starttls", "STARTTLS"), ("tls", "TLS from the start")],
                        default="starttls",
                        max_length=8,
                    ),
                ),
                ("user_name", models.CharField(blank=True, max_length=320)),
                (
                    "credentials",
                    vault.fields.EncryptedTextField(editable=False, verbose_name="what it signs in with, as JSON"),
                ),
                ("saved_by", models.CharField(editable=False, max_length=600)),
                (
                    "tested_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "reason",
                    models.CharField(
                        blank=True, editable=False, help_text="Why it lets us in no longer.", max_length=500
                    ),
                ),
                (
                    "merchant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="mail_account",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind", "smtp"), _negated=True),
                            models.Q(models.Q(("host", ""), _negated=True), ("port__isnull", False)),
                            _connector="OR",
                        ),
                        name="a_mail_server_has_an_address",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Callout",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("unit", models.PositiveIntegerField(help_text="Of a request for one unit.", null=True)),
                ("is_test", models.BooleanField(default=False)),
                ("request_id", models.CharField(blank=True, help_text="The same at every attempt.", max_length=40)),
                (
                    "called_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("method", models.CharField(max_length=10)),
                ("url", models.CharField(help_text="Without its query, and what is secret in it.", max_length=2000)),
                ("attempt", models.PositiveIntegerField(default=1)),
                ("sent", models.TextField(blank=True)),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("answer", models.TextField(blank=True, help_text="The beginning of it.")),
                ("milliseconds", models.PositiveIntegerField(null=True)),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[("ok", "Ok"), ("temporary", "Temporary"), ("fatal", "Fatal")],
                        max_length=10,
                    ),
                ),
                (
                    "error",
                    models.CharField(
                        blank=True, help_text="Why there is no answer, or no code in it.", max_length=500
                    ),
                ),
                (
                    "item",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="callouts",
                        to="orders.orderitem",
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="callouts", to="merchants.merchant"
                    ),
                ),
                (
                    "upstream",
                    models.ForeignKey(
                        help_text="None: a webhook’s endpoint.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="callouts",
                        to="outbound.upstream",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["called_at"], name="callout_by_time"),
                    models.Index(fields=["upstream", "-called_at", "-id"], name="callout_of_upstream"),
                    models.Index(
                        condition=models.Q(("outcome__in", ["temporary", "fatal"])),
                        fields=["upstream", "-called_at", "-id"],
                        name="callout_failed",
                    ),
                    models.Index(
                        condition=models.Q(("is_test", True)),
                        fields=["upstream", "-called_at", "-id"],
                        name="callout_test",
                    ),
                    models.Index(
                        condition=models.Q(("upstream", None)),
                        fields=["request_id", "-id"],
                        name="callout_without_upstream",
                    ),
                ],
            },
        ),
    ]
