from django.db import migrations
from django.db.models.functions import Lower


def lower(apps, schema_editor):
    apps.get_model("merchants", "User").objects.update(email=Lower("email"))


class Migration(migrations.Migration):
    dependencies = [
        ("merchants", "0003_invitation"),
    ]

    operations = [
        migrations.RunPython(lower, migrations.RunPython.noop),
    ]
