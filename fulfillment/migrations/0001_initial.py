import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import vault.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("merchants", "0001_initial"),
        ("merchants", "__first__"),
        ("orders", "0001_initial"),
        ("outbound", "0001_initial"),
        ("pools", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="SetupRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("applied", "Applied"),
                            ("answered", "Answered"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        default="open",
                        max_length=10,
                    ),
                ),
                ("products", models.JSONField(help_text="A list of {sku, name}.")),
                (
                    "pool_name",
                    models.CharField(max_length=200, validators=[django.core.validators.MinLengthValidator(1)]),
                ),
                (
                    "quantity_rule",
                    models.CharField(
                        choices=[("unit", "one per unit"), ("item", "one per item, whatever the quantity")],
                        default="unit",
                        max_length=4,
                    ),
                ),
                ("threshold", models.PositiveIntegerField(default=10)),
                (
                    "recipients",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.EmailField(max_length=254), blank=True, default=list, size=None
                    ),
                ),
                ("comment", models.TextField(blank=True, max_length=4000)),
                ("file_name", models.CharField(blank=True, max_length=255)),
                (
                    "preview",
                    models.JSONField(
                        default=dict, help_text="What the file holds (setup.preview_file), without any key."
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "asked_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="setup_requests",
                        to="merchants.merchant",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        help_text="Once applied.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="pools.licensepool",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SetupEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("asked", "Asked"),
                            ("applied", "Applied"),
                            ("answered", "Answered"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=10,
                    ),
                ),
                ("text", models.TextField(blank=True, max_length=4000)),
                (
                    "happened_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("happened_by", models.CharField(max_length=600)),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="fulfillment.setuprequest",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="SetupRequestPart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("content", vault.fields.EncryptedBinaryField()),
                (
                    "request",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="fulfillment.setuprequest",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Fulfillment",
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
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("waiting", "Waiting"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("done_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "failing_since",
                    models.DateTimeField(editable=False, help_text="Since then its sources failed.", null=True),
                ),
                (
                    "sent_by_vendor",
                    models.BooleanField(
                        db_default=False,
                        default=False,
                        editable=False,
                        help_text="Done without codes: the vendor sends them itself.",
                    ),
                ),
                (
                    "item",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="fulfillment", to="orders.orderitem"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="fulfillment_due"
                    ),
                    models.Index(
                        condition=models.Q(("status", "waiting")), fields=["item"], name="fulfillment_waiting"
                    ),
                    models.Index(
                        condition=models.Q(("status", "done"), _negated=True),
                        fields=["status", "item"],
                        name="fulfillment_unfinished",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FulfillmentMethod",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField(default=1)),
                (
                    "source",
                    models.CharField(
                        editable=False, help_text="The kind: its code in fulfillment/sources.", max_length=20
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="fulfillment_methods",
                        to="merchants.product",
                    ),
                ),
            ],
            options={
                "ordering": ["product", "position"],
                "constraints": [
                    models.UniqueConstraint(fields=("product", "position"), name="one_method_per_position")
                ],
            },
        ),
        migrations.CreateModel(
            name="HeldCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("source", models.CharField(help_text="The kind: its code in fulfillment/sources.", max_length=20)),
                ("unit", models.PositiveIntegerField()),
                ("code", vault.fields.EncryptedTextField()),
                ("held_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "item",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="held_codes", to="orders.orderitem"
                    ),
                ),
                (
                    "upstream",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="held_codes", to="outbound.upstream"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("item", "unit"), name="one_held_code_per_unit")],
            },
        ),
        migrations.AddIndex(
            model_name="setuprequest",
            index=models.Index(fields=["merchant", "-created_at"], name="setup_request_of_merchant"),
        ),
        migrations.AddIndex(
            model_name="setuprequest",
            index=models.Index(
                condition=models.Q(("status", "open")), fields=["created_at"], name="setup_request_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="setuprequestpart",
            constraint=models.UniqueConstraint(fields=("request", "number"), name="one_setup_part_of_a_number"),
        ),
    ]
