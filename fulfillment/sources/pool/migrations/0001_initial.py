import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("fulfillment", "0001_initial"),
        ("pools", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="PoolMethod",
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
                    "pool",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fulfillment_methods",
                        to="pools.licensepool",
                    ),
                ),
            ],
            bases=("fulfillment.fulfillmentmethod",),
        ),
    ]
