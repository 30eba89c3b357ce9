"""Adds each delivery's merchant, which workers serve in turn, and replaces the index that they search."""

import django.db.models.deletion
import django.db.models.functions.comparison
from django.db import migrations, models

# The deferred check of the foreign key would otherwise wait for the end and refuse to change the table.
FILL = """
UPDATE delivery_delivery SET merchant_id = orders_order.merchant_id
FROM orders_order WHERE orders_order.id = delivery_delivery.order_id;
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""


class Migration(migrations.Migration):
    dependencies = [("delivery", "0003_clearer_texts")]

    operations = [
        migrations.AddField(
            "delivery",
            "merchant",
            models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="merchants.merchant",
            ),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.AlterField(
            "delivery",
            "merchant",
            models.ForeignKey(
                db_index=False,
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="merchants.merchant",
            ),
        ),
        migrations.RemoveIndex("delivery", "delivery_due"),
        migrations.AddIndex(
            "delivery",
            models.Index(
                models.F("merchant"),
                models.OrderBy(django.db.models.functions.comparison.Least("attempts", 1), descending=True),
                models.F("due_at"),
                condition=models.Q(("due_at__isnull", False)),
                name="delivery_in_turn",
            ),
        ),
    ]
