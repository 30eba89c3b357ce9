from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0009_retention")]

    operations = [
        migrations.AddField(
            model_name="activationcode",
            name="loose_fingerprint",
            field=models.BinaryField(
                db_index=True,
                editable=False,
                help_text="Of its letters and digits: see license_texts.py.",
                null=True,
            ),
        ),
    ]
