import django.core.validators
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
            name="Licensee",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("active", models.BooleanField(default=True)),
                ("properties", models.JSONField(blank=True, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("number", vault.fields.EncryptedTextField()),
                ("fingerprint", models.BinaryField()),
                ("hint", models.CharField(blank=True, editable=False, max_length=4)),
                ("name", models.CharField(blank=True, max_length=200)),
                ("marked_for_transfer", models.BooleanField(default=False)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_%(class)ss",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="LicenseeEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("reveal", "number shown"),
                            ("renamed", "name changed"),
                            ("marked", "marked for transfer"),
                            ("unmarked", "mark removed"),
                            ("activated", "activated"),
                            ("deactivated", "deactivated"),
                            ("license_changed", "license changed"),
                            ("license_on", "license activated"),
                            ("license_off", "license deactivated"),
                        ],
                        max_length=20,
                    ),
                ),
                ("note", models.CharField(blank=True, help_text="Which license it was about.", max_length=300)),
                (
                    "happened_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("happened_by", models.CharField(max_length=600)),
                (
                    "licensee",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="events", to="licensing.licensee"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="LicenseTemplate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("active", models.BooleanField(default=True)),
                ("properties", models.JSONField(blank=True, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "number",
                    models.CharField(
                        blank=True,
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[^\\s/;=?#\\\\%\\x00-\\x1f\\x7f]+\\Z",
                                "A number has no spaces and none of the characters / \\ ; = ? # %%.",
                            )
                        ],
                    ),
                ),
                ("hidden", models.BooleanField(default=False)),
                (
                    "time_volume",
                    models.PositiveIntegerField(
                        blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                (
                    "time_volume_period",
                    models.CharField(
                        blank=True,
                        choices=[("DAY", "days"), ("WEEK", "weeks"), ("MONTH", "months"), ("YEAR", "years")],
                        help_text="Empty: days.",
                        max_length=5,
                    ),
                ),
                ("max_sessions", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "quantity",
                    models.BigIntegerField(
                        blank=True, null=True, validators=[django.core.validators.MinValueValidator(-1)]
                    ),
                ),
                ("grace_period", models.BooleanField(blank=True, null=True)),
                ("price", models.DecimalField(blank=True, decimal_places=2, max_digits=12, null=True)),
                ("currency", models.CharField(blank=True, choices=[("EUR", "Eur"), ("USD", "Usd")], max_length=3)),
                ("name", models.CharField(max_length=200)),
                (
                    "license_type",
                    models.CharField(
                        choices=[
                            ("FEATURE", "Feature"),
                            ("TIMEVOLUME", "Time volume"),
                            ("FLOATING", "Floating"),
                            ("QUANTITY", "Quantity"),
                        ],
                        max_length=10,
                    ),
                ),
                ("automatic", models.BooleanField(default=False, help_text="Each new licensee gets one.")),
                ("hide_licenses", models.BooleanField(default=False)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_%(class)ss",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="License",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("active", models.BooleanField(default=True)),
                ("properties", models.JSONField(blank=True, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "number",
                    models.CharField(
                        blank=True,
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[^\\s/;=?#\\\\%\\x00-\\x1f\\x7f]+\\Z",
                                "A number has no spaces and none of the characters / \\ ; = ? # %%.",
                            )
                        ],
                    ),
                ),
                ("hidden", models.BooleanField(default=False)),
                (
                    "time_volume",
                    models.PositiveIntegerField(
                        blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                (
                    "time_volume_period",
                    models.CharField(
                        blank=True,
                        choices=[("DAY", "days"), ("WEEK", "weeks"), ("MONTH", "months"), ("YEAR", "years")],
                        help_text="Empty: days.",
                        max_length=5,
                    ),
                ),
                ("max_sessions", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "quantity",
                    models.BigIntegerField(
                        blank=True, null=True, validators=[django.core.validators.MinValueValidator(-1)]
                    ),
                ),
                ("grace_period", models.BooleanField(blank=True, null=True)),
                ("price", models.DecimalField(blank=True, decimal_places=2, max_digits=12, null=True)),
                ("currency", models.CharField(blank=True, choices=[("EUR", "Eur"), ("USD", "Usd")], max_length=3)),
                ("name", models.CharField(max_length=200)),
                ("start_date", models.DateTimeField(blank=True, null=True)),
                (
                    "moved_at",
                    models.DateTimeField(editable=False, help_text="When it was last transferred.", null=True),
                ),
                ("used_quantity", models.BigIntegerField(default=0)),
                (
                    "parent_feature",
                    models.CharField(
                        blank=True, help_text="Of Rental: the feature that a time volume prolongs.", max_length=100
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_%(class)ss",
                        to="merchants.merchant",
                    ),
                ),
                (
                    "licensee",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="licenses", to="licensing.licensee"
                    ),
                ),
                (
                    "template",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licenses",
                        to="licensing.licensetemplate",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("active", models.BooleanField(default=True)),
                ("properties", models.JSONField(blank=True, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "number",
                    models.CharField(
                        blank=True,
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[^\\s/;=?#\\\\%\\x00-\\x1f\\x7f]+\\Z",
                                "A number has no spaces and none of the characters / \\ ; = ? # %%.",
                            )
                        ],
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                ("version", models.CharField(blank=True, max_length=100)),
                ("description", models.TextField(blank=True)),
                ("licensing_info", models.TextField(blank=True, verbose_name="licensing information")),
                (
                    "licensee_auto_create",
                    models.BooleanField(
                        default=False,
                        help_text="A licensee that is not known is made when it is validated for the first time.",
                        verbose_name="make licensees",
                    ),
                ),
                (
                    "vat_mode",
                    models.CharField(
                        blank=True, choices=[("GROSS", "gross"), ("NET", "net")], max_length=5, verbose_name="VAT mode"
                    ),
                ),
                (
                    "clear_mark_on_validation",
                    models.BooleanField(
                        default=True,
                        help_text="A marked licensee that a licensee’s key validates is its customer’s for good: the mark is cleared, and nobody can transfer its licenses away any more.",
                        verbose_name="adopt by validation",
                    ),
                ),
                ("discounts", models.JSONField(blank=True, default=list)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_%(class)ss",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "abstract": False,
            },
        ),
        migrations.AddField(
            model_name="licensee",
            name="product",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="licensees", to="licensing.product"
            ),
        ),
        migrations.CreateModel(
            name="ProductModule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("active", models.BooleanField(default=True)),
                ("properties", models.JSONField(blank=True, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "number",
                    models.CharField(
                        blank=True,
                        max_length=100,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[^\\s/;=?#\\\\%\\x00-\\x1f\\x7f]+\\Z",
                                "A number has no spaces and none of the characters / \\ ; = ? # %%.",
                            )
                        ],
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "licensing_model",
                    models.CharField(
                        choices=[
                            ("TryAndBuy", "Try & Buy"),
                            ("Subscription", "Subscription"),
                            ("Rental", "Rental"),
                            ("Floating", "Floating"),
                            ("MultiFeature", "Multi-Feature"),
                            ("PayPerUse", "Pay-per-Use"),
                            ("Quota", "Quota"),
                            ("NodeLocked", "Node-Locked"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "max_checkout_validity",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Of Floating: in seconds.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "yellow_threshold",
                    models.PositiveIntegerField(blank=True, help_text="Of Rental: in days.", null=True),
                ),
                ("red_threshold", models.PositiveIntegerField(blank=True, help_text="Of Rental: in days.", null=True)),
                (
                    "node_secret_mode",
                    models.CharField(
                        blank=True,
                        choices=[("PREDEFINED", "predefined"), ("CLIENT", "learned from clients")],
                        help_text="Of Node-Locked: where its secrets come from.",
                        max_length=10,
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_%(class)ss",
                        to="merchants.merchant",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="modules", to="licensing.product"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "abstract": False,
            },
        ),
        migrations.AddField(
            model_name="licensetemplate",
            name="module",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="templates", to="licensing.productmodule"
            ),
        ),
        migrations.CreateModel(
            name="FloatingSession",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("fingerprint", models.BinaryField()),
                ("expires_at", models.DateTimeField()),
                (
                    "licensee",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="sessions", to="licensing.licensee"
                    ),
                ),
                (
                    "module",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sessions",
                        to="licensing.productmodule",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                ("active", models.BooleanField(default=True)),
                ("properties", models.JSONField(blank=True, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("number", vault.fields.EncryptedTextField(editable=False)),
                ("fingerprint", models.BinaryField(unique=True)),
                ("hint", models.CharField(editable=False, max_length=4)),
                (
                    "token_type",
                    models.CharField(
                        choices=[("DEFAULT", "Default"), ("SHOP", "Shop"), ("APIKEY", "Apikey"), ("ACTION", "Action")],
                        default="DEFAULT",
                        max_length=10,
                    ),
                ),
                ("name", models.CharField(blank=True, help_text="What uses it.", max_length=100)),
                (
                    "api_key_role",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("ROLE_APIKEY_LICENSEE", "validate and transfer"),
                            ("ROLE_APIKEY_ANALYTICS", "read"),
                            ("ROLE_APIKEY_OPERATION", "change licensees and licenses"),
                            ("ROLE_APIKEY_MAINTENANCE", "change products, modules and templates"),
                            ("ROLE_APIKEY_ADMIN", "everything"),
                        ],
                        max_length=30,
                    ),
                ),
                ("expiration_time", models.DateTimeField(blank=True, null=True)),
                (
                    "licensee",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tokens",
                        to="licensing.licensee",
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_%(class)ss",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Transaction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("active", models.BooleanField(default=True)),
                ("properties", models.JSONField(blank=True, default=dict)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "number",
                    models.CharField(
                        blank=True,
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
                    "status",
                    models.CharField(
                        choices=[("PENDING", "pending"), ("CLOSED", "closed"), ("CANCELLED", "canceled")],
                        default="CLOSED",
                        max_length=10,
                    ),
                ),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("SHOP", "Shop"),
                            ("AUTO_LICENSE_CREATE", "Auto License Create"),
                            ("AUTO_LICENSEE_CREATE", "Auto Licensee Create"),
                            ("AUTO_LICENSEE_VALIDATE", "Auto Licensee Validate"),
                            ("AUTO_LICENSES_TRANSFER", "Auto Licenses Transfer"),
                        ],
                        default="SHOP",
                        max_length=30,
                    ),
                ),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
                ("made_by", models.CharField(blank=True, editable=False, max_length=600)),
                (
                    "licensee",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="transactions",
                        to="licensing.licensee",
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="licensing_%(class)ss",
                        to="merchants.merchant",
                    ),
                ),
                (
                    "source_licensee",
                    models.ForeignKey(
                        editable=False,
                        help_text="Of a transfer: where the licenses came from.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="transfers_away",
                        to="licensing.licensee",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="LicenseTransactionJoin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(help_text="The license’s, which may be gone.", max_length=100)),
                (
                    "license",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="joins",
                        to="licensing.license",
                    ),
                ),
                (
                    "transaction",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="joins", to="licensing.transaction"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="VendorLogin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                ("user_name", models.CharField(max_length=150, unique=True)),
                ("password_hash", models.BinaryField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("created_by", models.CharField(blank=True, editable=False, max_length=600)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="vendor_logins",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="FailedValidation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("module_number", models.CharField(blank=True, max_length=100)),
                ("module_name", models.CharField(blank=True, max_length=200)),
                ("licensing_model", models.CharField(blank=True, max_length=20)),
                ("reason", models.CharField(max_length=300)),
                ("failed_at", models.DateTimeField()),
                ("asked_by", models.CharField(max_length=600)),
                (
                    "licensee",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="failures", to="licensing.licensee"
                    ),
                ),
            ],
            options={
                "ordering": ["-failed_at", "pk"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("licensee", "module_number"), name="licensing_one_failure_for_each_module"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LicenseeAlias",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", vault.fields.EncryptedTextField()),
                ("fingerprint", models.BinaryField()),
                (
                    "licensee",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="aliases", to="licensing.licensee"
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="merchants.merchant"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("fingerprint", "merchant"), name="licensing_alias_is_unique")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="license",
            constraint=models.UniqueConstraint(
                fields=("merchant", "number"), name="licensing_license_number_is_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="license",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("currency", ""), ("price", None)),
                    ("price", 0),
                    models.Q(("price__isnull", False), models.Q(("currency", ""), _negated=True)),
                    _connector="OR",
                ),
                name="licensing_license_price_has_currency",
                violation_error_message="A price above 0 needs a currency, and a currency needs a price.",
            ),
        ),
        migrations.AddConstraint(
            model_name="product",
            constraint=models.UniqueConstraint(
                fields=("merchant", "number"), name="licensing_product_number_is_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="licensee",
            constraint=models.UniqueConstraint(
                fields=("fingerprint", "merchant"), name="licensing_licensee_number_is_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="productmodule",
            constraint=models.UniqueConstraint(
                fields=("merchant", "number"), name="licensing_productmodule_number_is_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="licensetemplate",
            constraint=models.UniqueConstraint(
                fields=("merchant", "number"), name="licensing_licensetemplate_number_is_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="licensetemplate",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("currency", ""), ("price", None)),
                    ("price", 0),
                    models.Q(("price__isnull", False), models.Q(("currency", ""), _negated=True)),
                    _connector="OR",
                ),
                name="licensing_licensetemplate_price_has_currency",
                violation_error_message="A price above 0 needs a currency, and a currency needs a price.",
            ),
        ),
        migrations.AddConstraint(
            model_name="floatingsession",
            constraint=models.UniqueConstraint(
                fields=("licensee", "module", "fingerprint"), name="licensing_session_is_checked_out_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="token",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("token_type", "APIKEY"), _negated=True),
                    models.Q(("api_key_role", ""), _negated=True),
                    _connector="OR",
                ),
                name="licensing_an_api_key_has_a_role",
            ),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["licensee", "-id"], name="licensing_transaction_of"),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.UniqueConstraint(
                fields=("merchant", "number"), name="licensing_transaction_number_is_unique"
            ),
        ),
    ]
