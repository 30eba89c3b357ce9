from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("fulfillment", "0001_initial")]

    operations = [
        migrations.RemoveConstraint("FulfillmentMethod", "one_method_per_position"),
        migrations.AddConstraint(
            "FulfillmentMethod",
            models.UniqueConstraint(
                fields=["product", "position"], name="one_method_per_position", deferrable=models.Deferrable.DEFERRED
            ),
        ),
    ]
