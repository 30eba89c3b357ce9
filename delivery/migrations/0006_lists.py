import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Index all e-mails that were more than sent, so that the list's filter doesn't read all of them if few have it.

    E-mails that need attention are indexed in the order of their list.
    """

    dependencies = [("delivery", "0005_fewer_indexes")]

    operations = [
        migrations.AddIndex(
            model_name="delivery", index=models.Index(fields=["order", "id"], name="delivery_in_order")
        ),
        migrations.AlterField(
            model_name="delivery",
            name="order",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deliveries",
                to="orders.order",
            ),
        ),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status__in", ["queued", "sent"]), _negated=True),
                fields=["merchant", "status", "order", "id"],
                name="delivery_by_status",
            ),
        ),
        migrations.RemoveIndex(model_name="delivery", name="delivery_not_well"),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status__in", ["sent", "delivered", "opened"]), _negated=True),
                fields=["order"],
                name="delivery_not_well",
            ),
        ),
    ]
