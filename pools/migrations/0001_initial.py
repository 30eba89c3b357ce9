import django.contrib.postgres.fields
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
            name="KeyBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key_count", models.PositiveIntegerField(editable=False)),
                (
                    "repeated",
                    models.PositiveIntegerField(
                        default=0, editable=False, help_text="Left out: the file repeats them."
                    ),
                ),
                (
                    "already_in_pool",
                    models.PositiveIntegerField(default=0, editable=False, help_text="Left out: the pool has them."),
                ),
                (
                    "already_in_other_pools",
                    models.PositiveIntegerField(
                        default=0, editable=False, help_text="Left out: another pool of the merchant has them."
                    ),
                ),
                (
                    "unusable",
                    models.PositiveIntegerField(default=0, editable=False, help_text="Left out: they cannot be keys."),
                ),
                ("file_name", models.CharField(blank=True, max_length=255)),
                ("note", models.CharField(blank=True, max_length=500)),
                ("imported_by", models.CharField(max_length=600)),
                (
                    "imported_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("undone_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("undone_by", models.CharField(blank=True, editable=False, max_length=600)),
            ],
            options={
                "verbose_name_plural": "key batches",
            },
        ),
        migrations.CreateModel(
            name="LicensePool",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                (
                    "threshold",
                    models.PositiveIntegerField(
                        default=10,
                        help_text="When so many keys are left, the recipients are told.",
                        verbose_name="replenishment threshold",
                    ),
                ),
                (
                    "recipients",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.EmailField(max_length=254),
                        blank=True,
                        default=list,
                        help_text="E-mail addresses, separated by commas. Empty: the merchant's owners and managers.",
                        size=None,
                    ),
                ),
                (
                    "reserve",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="So many keys are kept back: only a person may issue them, from an order’s page.",
                    ),
                ),
                (
                    "notified",
                    models.CharField(
                        blank=True,
                        choices=[("", "nothing"), ("low", "running low"), ("empty", "empty")],
                        default="",
                        editable=False,
                        max_length=5,
                    ),
                ),
                ("head_hint", models.BigIntegerField(default=0, editable=False)),
                ("next_position", models.BigIntegerField(default=0, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="pools", to="merchants.merchant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LicenseKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.BigIntegerField()),
                ("code", vault.fields.EncryptedTextField(editable=False)),
                ("fingerprint", models.BinaryField()),
                ("loose_fingerprint", models.BinaryField(null=True)),
                ("hint", models.CharField(blank=True, editable=False, max_length=4)),
                ("unit", models.PositiveIntegerField(blank=True, null=True)),
                ("issued_at", models.DateTimeField(blank=True, null=True)),
                ("withdrawn_at", models.DateTimeField(blank=True, null=True)),
                (
                    "withdrawn_because",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "by hand"),
                            ("replaced", "replaced by another"),
                            ("refunded", "its order was refunded"),
                        ],
                        db_default="",
                        default="",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("reserved", models.BooleanField(db_default=False, default=False, editable=False)),
                (
                    "batch",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="keys",
                        to="pools.keybatch",
                    ),
                ),
                (
                    "item",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="license_keys",
                        to="orders.orderitem",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="keys",
                        to="pools.licensepool",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="KeyMovement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "key_id",
                    models.BigIntegerField(help_text="None: all keys of the batch that were there.", null=True),
                ),
                ("unit", models.PositiveIntegerField(null=True)),
                (
                    "origin",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "outside"),
                            ("available", "Available"),
                            ("reserved", "Reserved"),
                            ("issued", "Issued"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=9,
                    ),
                ),
                (
                    "destination",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "outside"),
                            ("available", "Available"),
                            ("reserved", "Reserved"),
                            ("issued", "Issued"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        max_length=9,
                    ),
                ),
                ("count", models.PositiveIntegerField()),
                ("moved_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("moved_by", models.CharField(blank=True, help_text="Empty: nobody, it was sold.", max_length=600)),
                (
                    "batch",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="movements",
                        to="pools.keybatch",
                    ),
                ),
                (
                    "item",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="key_movements",
                        to="orders.orderitem",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="movements",
                        to="pools.licensepool",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="keybatch",
            name="pool",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="batches", to="pools.licensepool"
            ),
        ),
        migrations.CreateModel(
            name="UploadLink",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "pool",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="upload_links",
                        to="pools.licensepool",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="KeyImport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("reading", "Reading"),
                            ("ready", "Ready"),
                            ("refused", "Refused"),
                            ("importing", "Importing"),
                            ("imported", "Imported"),
                            ("failed", "Failed"),
                            ("discarded", "Discarded"),
                        ],
                        default="reading",
                        max_length=10,
                    ),
                ),
                ("file_name", models.CharField(blank=True, max_length=255)),
                ("note", models.CharField(blank=True, max_length=500)),
                ("size", models.PositiveIntegerField(help_text="Of the content, in bytes.")),
                ("uploaded_by", models.CharField(max_length=600)),
                (
                    "uploaded_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "options",
                    models.JSONField(
                        default=dict, help_text="How it is read (pools/reading.py); what is missing is detected."
                    ),
                ),
                (
                    "preview",
                    models.JSONField(
                        default=dict, help_text="What would come of it (imports.Preview), without any key."
                    ),
                ),
                ("error", models.CharField(blank=True, max_length=500)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("confirmed_at", models.DateTimeField(null=True)),
                ("confirmed_by", models.CharField(blank=True, max_length=600)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "batch",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="key_import",
                        to="pools.keybatch",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="imports", to="pools.licensepool"
                    ),
                ),
                (
                    "link",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="imports",
                        to="pools.uploadlink",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="KeyImportPart",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("content", vault.fields.EncryptedBinaryField()),
                (
                    "key_import",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="parts", to="pools.keyimport"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("key_import", "number"), name="one_part_of_a_number")],
            },
        ),
        migrations.AddConstraint(
            model_name="licensepool",
            constraint=models.UniqueConstraint(fields=("merchant", "name"), name="pool_name_is_unique"),
        ),
        migrations.AddIndex(
            model_name="licensekey",
            index=models.Index(
                condition=models.Q(("item", None), ("reserved", False), ("withdrawn_at", None)),
                fields=["pool", "position"],
                name="key_available",
            ),
        ),
        migrations.AddIndex(
            model_name="licensekey",
            index=models.Index(fields=["loose_fingerprint"], name="key_loose"),
        ),
        migrations.AddIndex(
            model_name="licensekey",
            index=models.Index(
                condition=models.Q(("item__isnull", False)), fields=["pool", "issued_at"], name="key_issued"
            ),
        ),
        migrations.AddIndex(
            model_name="licensekey",
            index=models.Index(
                condition=models.Q(("item", None), ("reserved", True), ("withdrawn_at", None)),
                fields=["pool", "position"],
                name="key_reserved",
            ),
        ),
        migrations.AddIndex(
            model_name="licensekey",
            index=models.Index(
                condition=models.Q(("withdrawn_at__isnull", False)),
                fields=["pool", "withdrawn_at"],
                name="key_withdrawn",
            ),
        ),
        migrations.AddConstraint(
            model_name="licensekey",
            constraint=models.UniqueConstraint(fields=("fingerprint", "pool"), name="a_key_is_in_its_pool_once"),
        ),
        migrations.AddConstraint(
            model_name="licensekey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("item__isnull", False), ("withdrawn_at", None)),
                fields=("item", "unit"),
                name="one_key_per_unit",
            ),
        ),
        migrations.AddConstraint(
            model_name="licensekey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("issued_at", None), ("item", None), ("unit", None)),
                    models.Q(("issued_at__isnull", False), ("item__isnull", False), ("unit__gte", 1)),
                    _connector="OR",
                ),
                name="an_issued_key_has_a_unit_and_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="licensekey",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("reserved", False), models.Q(("item", None), ("withdrawn_at", None)), _connector="OR"
                ),
                name="the_reserve_is_in_stock",
            ),
        ),
        migrations.AddIndex(
            model_name="keymovement",
            index=models.Index(fields=["pool", "-moved_at", "-id"], name="movement_by_time"),
        ),
        migrations.AddIndex(
            model_name="keymovement",
            index=models.Index(
                condition=models.Q(("key_id__isnull", False)), fields=["key_id"], name="movement_of_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="keymovement",
            constraint=models.CheckConstraint(
                condition=models.Q(("origin", models.F("destination")), _negated=True),
                name="a_movement_leads_somewhere_else",
            ),
        ),
        migrations.AddIndex(
            model_name="keyimport",
            index=models.Index(
                condition=models.Q(("status__in", ["reading", "ready", "refused", "importing"])),
                fields=["uploaded_at"],
                name="import_open",
            ),
        ),
    ]
