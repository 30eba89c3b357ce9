import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("merchants", "0001_initial"),
        ("orders", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="DeliveredCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("automatic", models.BooleanField()),
                ("code", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="orders.activationcode")),
            ],
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "due_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, null=True
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, editable=False)),
                (
                    "ended_at",
                    models.DateTimeField(editable=False, help_text="When nothing was left to try.", null=True),
                ),
                (
                    "reason",
                    models.CharField(blank=True, editable=False, help_text="Why it is not done yet.", max_length=500),
                ),
                ("kind", models.CharField(choices=[("automatic", "Automatic"), ("resend", "Resend")], max_length=10)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("sent", "Sent"),
                            ("failed", "Failed"),
                            ("canceled", "Canceled"),
                            ("delivered", "Delivered"),
                            ("opened", "Opened"),
                            ("bounced", "Bounced"),
                            ("rejected", "Rejected"),
                            ("complained", "Complained"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("recipient", models.EmailField(max_length=254)),
                (
                    "message_id",
                    models.CharField(db_index=True, editable=False, max_length=255, verbose_name="Message-ID"),
                ),
                ("sent_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("requested_by", models.CharField(blank=True, max_length=600)),
                (
                    "codes",
                    models.ManyToManyField(
                        related_name="deliveries", through="delivery.DeliveredCode", to="orders.activationcode"
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deliveries", to="orders.order"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "abstract": False,
            },
        ),
        migrations.AddField(
            model_name="deliveredcode",
            name="delivery",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="delivery.delivery"),
        ),
        migrations.CreateModel(
            name="LinkRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "due_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, null=True
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, editable=False)),
                (
                    "ended_at",
                    models.DateTimeField(editable=False, help_text="When nothing was left to try.", null=True),
                ),
                (
                    "reason",
                    models.CharField(blank=True, editable=False, help_text="Why it is not done yet.", max_length=500),
                ),
                ("email", models.EmailField(max_length=254)),
                ("language", models.CharField(help_text="Of settings.LANGUAGES.", max_length=10)),
                ("source", models.BinaryField(help_text="The fingerprint of the network that it came from.")),
                (
                    "merchant",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="link_requests",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="TrackingEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "message_id",
                    models.CharField(
                        editable=False, help_text="Without angle brackets.", max_length=255, verbose_name="Message-ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("deferred", "Deferred"),
                            ("delivered", "Delivered"),
                            ("opened", "Opened"),
                            ("clicked", "Clicked"),
                            ("bounced", "Bounced"),
                            ("rejected", "Rejected"),
                            ("complained", "Complained"),
                        ],
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, editable=False, max_length=500)),
                ("occurred_at", models.DateTimeField(editable=False)),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("fingerprint", models.BinaryField(help_text="Of what was told: told again it is one.", unique=True)),
                (
                    "delivery",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tracking_events",
                        to="delivery.delivery",
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        editable=False,
                        help_text="Whose provider told it; none: ours.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="merchants.merchant",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="delivery_due"),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status__in", ["sent", "delivered", "opened"]), _negated=True),
                fields=["status", "order"],
                name="delivery_not_well",
            ),
        ),
        migrations.AddConstraint(
            model_name="deliveredcode",
            constraint=models.UniqueConstraint(fields=("delivery", "code"), name="a_code_is_in_a_delivery_once"),
        ),
        migrations.AddConstraint(
            model_name="deliveredcode",
            constraint=models.UniqueConstraint(
                condition=models.Q(("automatic", True)),
                fields=("code",),
                name="a_code_is_delivered_automatically_once",
            ),
        ),
        migrations.AddIndex(
            model_name="linkrequest",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="linkrequest_due"
            ),
        ),
        migrations.AddIndex(
            model_name="linkrequest",
            index=models.Index(fields=["email", "created_at"], name="link_request_address"),
        ),
        migrations.AddIndex(
            model_name="linkrequest",
            index=models.Index(fields=["source", "created_at"], name="link_request_source"),
        ),
        migrations.AddIndex(
            model_name="linkrequest",
            index=models.Index(fields=["created_at"], name="link_request_age"),
        ),
        migrations.AddIndex(
            model_name="trackingevent",
            index=models.Index(
                condition=models.Q(("delivery", None)), fields=["message_id"], name="tracking_event_unmatched"
            ),
        ),
    ]
