from django.db import migrations

from orders.license_texts import fill


def fill_codes(apps, schema_editor):
    fill(apps.get_model("orders", "ActivationCode"))


class Migration(migrations.Migration):
    # A batch is a transaction: a long table is not locked, and what is done stays done.
    atomic = False

    dependencies = [("orders", "0010_loose_fingerprints"), ("vault", "0001_initial")]

    operations = [migrations.RunPython(fill_codes, migrations.RunPython.noop)]
