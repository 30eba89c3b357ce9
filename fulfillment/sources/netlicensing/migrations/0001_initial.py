import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import vault.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("fulfillment", "0001_initial"),
        ("merchants", "0001_initial"),
        ("orders", "0001_initial"),
        ("outbound", "0001_initial"),
    ]

    operations = [
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
            ],
            options={
                "ordering": ["name"],
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
                (
                    "license_package",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fulfillment_methods",
                        to="netlicensing.licensepackage",
                    ),
                ),
            ],
            bases=("fulfillment.fulfillmentmethod",),
        ),
        migrations.CreateModel(
            name="LicensingAccount",
            fields=[
                (
                    "upstream_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="outbound.upstream",
                    ),
                ),
                ("name", models.CharField(max_length=100)),
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
            },
            bases=("outbound.upstream",),
        ),
        migrations.AddField(
            model_name="licensepackage",
            name="account",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="packages",
                to="netlicensing.licensingaccount",
            ),
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
                        to="netlicensing.licensingaccount",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
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
                        to="netlicensing.licensepackage",
                    ),
                ),
            ],
            options={
                "ordering": ["position"],
            },
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
        migrations.AddConstraint(
            model_name="packagedtemplate",
            constraint=models.UniqueConstraint(
                fields=("package", "position"), name="one_packaged_template_per_position"
            ),
        ),
    ]
