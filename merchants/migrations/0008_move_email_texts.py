from django.db import migrations
from django.db.models import Q


def move(apps, schema_editor):
    Product = apps.get_model("merchants", "Product")
    EmailTemplate = apps.get_model("merchants", "EmailTemplate")
    EmailTemplate.objects.bulk_create(
        EmailTemplate(
            merchant_id=product.merchant_id,
            product=product,
            language="en",
            subject=product.email_subject,
            body=product.email_body,
        )
        for product in Product.objects.exclude(Q(email_subject="") & Q(email_body=""))
    )


def move_back(apps, schema_editor):
    templates = apps.get_model("merchants", "EmailTemplate").objects.filter(language="en", product__isnull=False)
    for template in templates.order_by("pk").select_related("product"):
        template.product.email_subject = template.subject
        template.product.email_body = template.body
        template.product.save(update_fields=["email_subject", "email_body"])


class Migration(migrations.Migration):
    dependencies = [
        ("merchants", "0007_email_texts"),
    ]

    operations = [
        migrations.RunPython(move, move_back),
    ]
