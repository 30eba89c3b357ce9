from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pools", "0006_imports_go_with_their_pool")]

    operations = [
        migrations.AddField(
            model_name="licensekey",
            name="loose_fingerprint",
            field=models.BinaryField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="licensekey",
            index=models.Index(fields=["loose_fingerprint"], name="key_loose"),
        ),
    ]
