from django.db import migrations

from orders.license_texts import fill


def fill_keys(apps, schema_editor):
    fill(apps.get_model("pools", "LicenseKey"))


class Migration(migrations.Migration):
    # A batch is a transaction: a long table is not locked, and what is done stays done.
    atomic = False

    dependencies = [("pools", "0007_loose_fingerprints"), ("vault", "0001_initial")]

    operations = [migrations.RunPython(fill_keys, migrations.RunPython.noop)]
