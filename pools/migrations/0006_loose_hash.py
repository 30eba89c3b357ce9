import django.contrib.postgres.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("pools", "0005_staged_keys"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="licensekey", name="key_loose"),
        migrations.AddIndex(
            model_name="licensekey",
            index=django.contrib.postgres.indexes.HashIndex(fields=["loose_fingerprint"], name="key_loose"),
        ),
    ]
