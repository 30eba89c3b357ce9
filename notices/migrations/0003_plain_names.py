from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notices", "0002_wording"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="merchantnotice", name="one_notice_of_a_kind_per_item"),
        migrations.RenameField(model_name="merchantnotice", old_name="is_only_one", new_name="is_unique"),
        migrations.RenameField(model_name="merchantnotice", old_name="may_be_gathered", new_name="can_be_grouped"),
        migrations.AddConstraint(
            model_name="merchantnotice",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_unique", True)),
                fields=("subject_type", "subject_id", "kind"),
                name="one_notice_of_a_kind_per_item",
            ),
        ),
    ]
