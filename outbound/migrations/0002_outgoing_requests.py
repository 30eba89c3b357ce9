import django.db.models.deletion
from django.db import migrations, models

INDEXES = ["by_time", "of_upstream", "failed", "test", "without_upstream"]


class Migration(migrations.Migration):
    dependencies = [("outbound", "0001_initial")]

    operations = [
        migrations.RenameField("upstream", "told_at", "notified_at"),
        migrations.RenameModel("Callout", "OutgoingRequest"),
        migrations.AlterField(
            "outgoingrequest",
            "merchant",
            models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="outgoing_requests", to="merchants.merchant"
            ),
        ),
        migrations.AlterField(
            "outgoingrequest",
            "item",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="outgoing_requests",
                to="orders.orderitem",
            ),
        ),
        migrations.AlterField(
            "outgoingrequest",
            "upstream",
            models.ForeignKey(
                help_text="None: a webhook’s endpoint.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="outgoing_requests",
                to="outbound.upstream",
            ),
        ),
        *(
            migrations.RenameIndex("outgoingrequest", old_name=f"callout_{name}", new_name=f"outgoing_{name}")
            for name in INDEXES
        ),
    ]
