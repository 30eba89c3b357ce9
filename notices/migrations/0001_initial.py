import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("merchants", "0001_initial"),
    ]

    operations = [
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
                ("kind", models.CharField(help_text="The code of one of notices.sending.KINDS.", max_length=20)),
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
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="merchantnotice_due"
                    ),
                    models.Index(fields=["subject_type", "subject_id", "kind", "-id"], name="notice_about"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_only_one", True)),
                        fields=("subject_type", "subject_id", "kind"),
                        name="one_notice_of_a_kind_per_item",
                    )
                ],
            },
        ),
    ]
