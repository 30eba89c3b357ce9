from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("merchants", "0008_move_email_texts"),
    ]

    operations = [
        migrations.RemoveField(model_name="product", name="email_body"),
        migrations.RemoveField(model_name="product", name="email_subject"),
    ]
