from django.db import migrations


class Migration(migrations.Migration):
    """Let the planner tell rare names from frequent ones: from its usual sample of 100 it takes all for frequent,
    and walks over tens of thousands of orders where the index would lead to a few."""

    dependencies = [("orders", "0001_initial")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE orders_order ALTER COLUMN customer_text SET STATISTICS 1000",
            "ALTER TABLE orders_order ALTER COLUMN customer_text SET STATISTICS -1",
        ),
    ]
