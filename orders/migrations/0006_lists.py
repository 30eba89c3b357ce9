from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0005_fewer_indexes")]

    operations = [
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                condition=models.Q(("status", "paid"), _negated=True),
                fields=["status", "-id"],
                name="order_not_paid_of_all",
            ),
        ),
    ]
