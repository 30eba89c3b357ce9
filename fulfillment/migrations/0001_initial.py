import django.contrib.postgres.fields
import django.core.serializers.json
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import vault.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("merchants", "0001_initial"),
        ("merchants", "__first__"),
        ("orders", "0001_initial"),
        ("pools", "0001_initial"),
    ]

    operations = [
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
            },
        ),
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
                        related_name="deliveries", through="fulfillment.DeliveredCode", to="orders.activationcode"
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
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="fulfillment.delivery"),
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
                        help_text="Done without codes: the vendor’s web service sends them itself.",
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
            },
        ),
        migrations.CreateModel(
            name="LicensePackageMethod",
            fields=[
                (
                    "fulfillmentmethod_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="fulfillment.fulfillmentmethod",
                    ),
                ),
            ],
            bases=("fulfillment.fulfillmentmethod",),
        ),
        migrations.CreateModel(
            name="PoolMethod",
            fields=[
                (
                    "fulfillmentmethod_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="fulfillment.fulfillmentmethod",
                    ),
                ),
            ],
            bases=("fulfillment.fulfillmentmethod",),
        ),
        migrations.CreateModel(
            name="WebServiceMethod",
            fields=[
                (
                    "fulfillmentmethod_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="fulfillment.fulfillmentmethod",
                    ),
                ),
            ],
            bases=("fulfillment.fulfillmentmethod",),
        ),
        migrations.CreateModel(
            name="LicensingAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
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
                ("address", models.CharField(blank=True, help_text="Empty: Keywell’s own service.", max_length=1000)),
                ("api_key", vault.fields.EncryptedTextField(verbose_name="API key")),
                (
                    "timeout",
                    models.PositiveSmallIntegerField(
                        default=10,
                        help_text="Seconds until a whole answer has to be there, at most 20.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(20),
                        ],
                        verbose_name="time limit",
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_accounts",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="LicensePackage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                (
                    "product_number",
                    models.CharField(
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[^\\s/;=?#\\\\%\\x00-\\x1f\\x7f]+\\Z",
                                "A number has no spaces and none of the characters / \\ ; = ? # %%.",
                            )
                        ],
                    ),
                ),
                (
                    "start_date",
                    models.CharField(
                        choices=[
                            ("none", "as NetLicensing has it without a date"),
                            ("payment", "when the order was paid"),
                            ("now", "when they are added"),
                        ],
                        default="none",
                        max_length=10,
                        verbose_name="start of the licenses",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="license_packages",
                        to="merchants.merchant",
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="packages",
                        to="fulfillment.licensingaccount",
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="IssuedLicense",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("unit", models.PositiveIntegerField()),
                ("product_number", models.CharField(max_length=100)),
                ("template_number", models.CharField(max_length=100)),
                ("start_date", models.CharField(blank=True, max_length=30)),
                (
                    "number",
                    models.CharField(help_text="The license’s; it stays when the license is moved.", max_length=100),
                ),
                ("is_planned", models.BooleanField(default=True)),
                (
                    "noted_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("deactivated_at", models.DateTimeField(editable=False, null=True)),
                (
                    "item",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="issued_licenses",
                        to="orders.orderitem",
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="issued_licenses",
                        to="fulfillment.licensingaccount",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
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
        ),
        migrations.CreateModel(
            name="MerchantNotice",
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
                ("kind", models.CharField(help_text="The code of one of fulfillment.notices.KINDS.", max_length=20)),
                ("subject_id", models.BigIntegerField(blank=True, null=True)),
                ("details", models.JSONField(blank=True, default=dict)),
                ("is_only_one", models.BooleanField(default=False, help_text="Its subject is told of once.")),
                ("may_be_gathered", models.BooleanField(default=False, help_text="It can share a mail with others.")),
                ("sent_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="notices", to="merchants.merchant"
                    ),
                ),
                (
                    "subject_type",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="contenttypes.contenttype",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="PackagedTemplate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "number",
                    models.CharField(
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[^\\s/;=?#\\\\%\\x00-\\x1f\\x7f]+\\Z",
                                "A number has no spaces and none of the characters / \\ ; = ? # %%.",
                            )
                        ],
                    ),
                ),
                (
                    "quantity",
                    models.PositiveSmallIntegerField(
                        default=1,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                    ),
                ),
                (
                    "package",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="templates",
                        to="fulfillment.licensepackage",
                    ),
                ),
            ],
            options={
                "ordering": ["position"],
            },
        ),
        migrations.CreateModel(
            name="ReceivedCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("fingerprint", models.BinaryField()),
                ("unit", models.PositiveIntegerField()),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "item",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="orders.orderitem"
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="merchants.merchant"
                    ),
                ),
            ],
        ),
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
                        to="fulfillment.delivery",
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
                        to="fulfillment.webhookendpoint",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="WebService",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
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
                ("secret", vault.fields.EncryptedTextField(editable=False)),
                ("previous_secret", vault.fields.EncryptedTextField(editable=False, null=True)),
                ("rotated_at", models.DateTimeField(editable=False, null=True)),
                ("url", models.CharField(max_length=1000, verbose_name="URL")),
                (
                    "format",
                    models.CharField(
                        choices=[
                            ("form", "POST, as a form"),
                            ("json", "POST, as JSON"),
                            ("get", "GET, in the address"),
                        ],
                        default="form",
                        max_length=10,
                        verbose_name="request",
                    ),
                ),
                (
                    "request_per",
                    models.CharField(
                        choices=[
                            ("unit", "one request for each code"),
                            ("item", "one request for all codes of an order item"),
                        ],
                        default="unit",
                        max_length=10,
                        verbose_name="how many requests",
                    ),
                ),
                (
                    "timeout",
                    models.PositiveSmallIntegerField(
                        default=15,
                        help_text="Seconds until the whole answer has to be there, at most 30.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(30),
                        ],
                        verbose_name="time limit",
                    ),
                ),
                (
                    "login",
                    models.CharField(
                        choices=[
                            ("none", "none but our signature"),
                            ("basic", "user name and password (HTTP Basic)"),
                            ("bearer", "token (Bearer)"),
                        ],
                        default="none",
                        max_length=10,
                    ),
                ),
                ("username", models.CharField(blank=True, max_length=200, verbose_name="user name")),
                (
                    "password",
                    vault.fields.EncryptedTextField(blank=True, default="", verbose_name="password or token"),
                ),
                (
                    "answer",
                    models.CharField(
                        choices=[
                            ("body", "the whole answer"),
                            ("json", "at a path in JSON"),
                            ("xml", "at a path in XML"),
                        ],
                        default="body",
                        max_length=10,
                        verbose_name="where the code is",
                    ),
                ),
                (
                    "path",
                    models.CharField(
                        blank=True,
                        help_text="JSON: $.license.key or $.keys[*]. XML: license/key or item/@code.",
                        max_length=200,
                    ),
                ),
                (
                    "holds_list",
                    models.BooleanField(
                        default=False,
                        help_text="In a whole answer: one code a line.",
                        verbose_name="several codes in an answer",
                    ),
                ),
                (
                    "temporary_pattern",
                    models.CharField(
                        blank=True,
                        help_text="A regular expression. An answer that it is found in is no code: the service is asked again later.",
                        max_length=200,
                        verbose_name="temporary errors",
                    ),
                ),
                (
                    "same_code_allowed",
                    models.BooleanField(
                        default=False,
                        help_text="For volume licenses and links. Otherwise a code that another unit or order has is refused.",
                        verbose_name="the same code may come twice",
                    ),
                ),
                (
                    "holds_unlike",
                    models.BooleanField(
                        default=True,
                        help_text="A code that resembles none of the earlier ones may be an error message: a person decides.",
                        verbose_name="hold codes that look different",
                    ),
                ),
                (
                    "known_shapes",
                    models.JSONField(default=list, editable=False, help_text="What accepted codes look like."),
                ),
                (
                    "sends_itself",
                    models.BooleanField(
                        default=False,
                        help_text="An answer of 200 completes the item, without a code and without an e-mail from us.",
                        verbose_name="the service sends the code itself",
                    ),
                ),
                (
                    "for_all_products",
                    models.BooleanField(
                        default=False,
                        help_text="It is asked for every product that has no source of its own.",
                        verbose_name="for all products",
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="web_services",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="RequestParameter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "parameter",
                    models.CharField(
                        blank=True, help_text="Its name in the catalogue; none of a constant.", max_length=30
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="What it is called in the request.",
                        max_length=64,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9_.\\-\\[\\]]+\\Z",
                                "A name has letters, digits, dots, dashes, underscores and brackets.",
                            )
                        ],
                    ),
                ),
                ("constant", vault.fields.EncryptedTextField(blank=True, default="")),
                (
                    "is_secret",
                    models.BooleanField(
                        default=False, help_text="A constant that no log shows.", verbose_name="secret"
                    ),
                ),
                (
                    "service",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parameters",
                        to="fulfillment.webservice",
                    ),
                ),
            ],
            options={
                "ordering": ["position", "pk"],
            },
        ),
        migrations.CreateModel(
            name="HeldCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
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
                    "service",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="held_codes",
                        to="fulfillment.webservice",
                    ),
                ),
            ],
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
                    "account",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="callouts",
                        to="fulfillment.licensingaccount",
                    ),
                ),
                (
                    "message",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="callouts",
                        to="fulfillment.webhookmessage",
                    ),
                ),
                (
                    "service",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="callouts",
                        to="fulfillment.webservice",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Deactivation",
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
                ("is_undoing", models.BooleanField(db_default=False, default=False, editable=False)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("deactivated", "Done"),
                            ("activated", "Undone"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=15,
                    ),
                ),
                (
                    "item",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="deactivation", to="orders.orderitem"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="deactivation_due"
                    )
                ],
            },
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
            model_name="fulfillment",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="fulfillment_due"
            ),
        ),
        migrations.AddIndex(
            model_name="fulfillment",
            index=models.Index(condition=models.Q(("status", "waiting")), fields=["item"], name="fulfillment_waiting"),
        ),
        migrations.AddIndex(
            model_name="fulfillment",
            index=models.Index(
                condition=models.Q(("status", "done"), _negated=True),
                fields=["status", "item"],
                name="fulfillment_unfinished",
            ),
        ),
        migrations.AddField(
            model_name="licensepackagemethod",
            name="license_package",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="fulfillment_methods",
                to="fulfillment.licensepackage",
            ),
        ),
        migrations.AddField(
            model_name="poolmethod",
            name="pool",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="fulfillment_methods", to="pools.licensepool"
            ),
        ),
        migrations.AddField(
            model_name="webservicemethod",
            name="web_service",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="fulfillment_methods",
                to="fulfillment.webservice",
            ),
        ),
        migrations.AddConstraint(
            model_name="fulfillmentmethod",
            constraint=models.UniqueConstraint(fields=("product", "position"), name="one_method_per_position"),
        ),
        migrations.AddConstraint(
            model_name="licensingaccount",
            constraint=models.UniqueConstraint(fields=("merchant", "name"), name="licensing_account_name_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="licensepackage",
            constraint=models.UniqueConstraint(fields=("merchant", "name"), name="license_package_name_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="issuedlicense",
            constraint=models.UniqueConstraint(fields=("account", "number"), name="a_license_is_issued_once"),
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
        migrations.AddConstraint(
            model_name="mailaccount",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "smtp"), _negated=True),
                    models.Q(models.Q(("host", ""), _negated=True), ("port__isnull", False)),
                    _connector="OR",
                ),
                name="a_mail_server_has_an_address",
            ),
        ),
        migrations.AddIndex(
            model_name="merchantnotice",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="merchantnotice_due"
            ),
        ),
        migrations.AddIndex(
            model_name="merchantnotice",
            index=models.Index(fields=["subject_type", "subject_id", "kind", "-id"], name="notice_about"),
        ),
        migrations.AddConstraint(
            model_name="merchantnotice",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_only_one", True)),
                fields=("subject_type", "subject_id", "kind"),
                name="one_notice_of_a_kind_per_item",
            ),
        ),
        migrations.AddConstraint(
            model_name="packagedtemplate",
            constraint=models.UniqueConstraint(
                fields=("package", "position"), name="one_packaged_template_per_position"
            ),
        ),
        migrations.AddConstraint(
            model_name="receivedcode",
            constraint=models.UniqueConstraint(fields=("merchant", "fingerprint"), name="a_received_code_is_for_one"),
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
        migrations.AddIndex(
            model_name="trackingevent",
            index=models.Index(
                condition=models.Q(("delivery", None)), fields=["message_id"], name="tracking_event_unmatched"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookmessage",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="webhookmessage_due"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookmessage",
            index=models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_message_log"),
        ),
        migrations.AddIndex(
            model_name="webhookmessage",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)),
                fields=["endpoint", "due_at"],
                name="webhook_message_next",
            ),
        ),
        migrations.AddIndex(
            model_name="webhookmessage",
            index=models.Index(fields=["created_at"], name="webhook_message_by_time"),
        ),
        migrations.AddConstraint(
            model_name="webhookmessage",
            constraint=models.UniqueConstraint(fields=("endpoint", "event_id"), name="an_endpoint_gets_an_event_once"),
        ),
        migrations.AddConstraint(
            model_name="webservice",
            constraint=models.UniqueConstraint(fields=("merchant", "name"), name="web_service_name_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="webservice",
            constraint=models.UniqueConstraint(
                condition=models.Q(("for_all_products", True)),
                fields=("merchant",),
                name="one_web_service_for_all_products",
                violation_error_message="Another web service is asked for all products.",
            ),
        ),
        migrations.AddConstraint(
            model_name="requestparameter",
            constraint=models.UniqueConstraint(fields=("service", "name"), name="parameter_name_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="requestparameter",
            constraint=models.UniqueConstraint(
                condition=models.Q(("parameter", ""), _negated=True),
                fields=("service", "parameter"),
                name="a_parameter_is_sent_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="heldcode",
            constraint=models.UniqueConstraint(fields=("item", "unit"), name="one_held_code_per_unit"),
        ),
        migrations.AddIndex(
            model_name="callout",
            index=models.Index(fields=["called_at"], name="callout_by_time"),
        ),
        migrations.AddIndex(
            model_name="callout",
            index=models.Index(fields=["service", "-called_at", "-id"], name="callout_of_service"),
        ),
        migrations.AddIndex(
            model_name="callout",
            index=models.Index(fields=["account", "-called_at", "-id"], name="callout_of_account"),
        ),
        migrations.AddIndex(
            model_name="callout",
            index=models.Index(
                condition=models.Q(("outcome__in", ["temporary", "fatal"])),
                fields=["service", "-called_at", "-id"],
                name="callout_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="callout",
            index=models.Index(
                condition=models.Q(("is_test", True)), fields=["service", "-called_at", "-id"], name="callout_test"
            ),
        ),
    ]
