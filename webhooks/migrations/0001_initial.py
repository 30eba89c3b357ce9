import django.contrib.postgres.fields
import django.core.serializers.json
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import vault.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("merchants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("secret", vault.fields.EncryptedTextField(editable=False)),
                ("previous_secret", vault.fields.EncryptedTextField(editable=False, null=True)),
                ("rotated_at", models.DateTimeField(editable=False, null=True)),
                ("url", models.CharField(max_length=1000, verbose_name="URL")),
                ("description", models.CharField(blank=True, max_length=200)),
                (
                    "events",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("order.paid", "an order was paid"),
                                ("product.delivered", "an e-mail with a product’s activation codes was sent"),
                                ("product.returned", "an order was refunded in full"),
                                ("order.reinstated", "the full refund of an order was undone"),
                                ("delivery.bounced", "an e-mail did not reach the customer"),
                                ("pool.low", "a pool is running low"),
                                ("pool.empty", "a pool is empty"),
                            ],
                            max_length=30,
                        ),
                        size=None,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "failing_since",
                    models.DateTimeField(editable=False, help_text="Since then nothing was taken.", null=True),
                ),
                ("disabled_at", models.DateTimeField(editable=False, null=True)),
                (
                    "disabled_reason",
                    models.CharField(blank=True, editable=False, help_text="Empty: a person did.", max_length=500),
                ),
                (
                    "removed_at",
                    models.DateTimeField(editable=False, help_text="It is deleted some time later.", null=True),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="webhook_endpoints",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="WebhookMessage",
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
                ("event", models.CharField(max_length=30)),
                ("event_id", models.CharField(editable=False, max_length=40)),
                ("data", models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                (
                    "status",
                    models.CharField(
                        choices=[("queued", "Queued"), ("delivered", "Delivered"), ("failed", "Failed")],
                        default="queued",
                        max_length=10,
                    ),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="webhooks.webhookendpoint",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="webhookmessage_due"
                    ),
                    models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_message_log"),
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)),
                        fields=["endpoint", "due_at"],
                        name="webhook_message_next",
                    ),
                    models.Index(fields=["created_at"], name="webhook_message_by_time"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("endpoint", "event_id"), name="an_endpoint_gets_an_event_once")
                ],
            },
        ),
    ]
