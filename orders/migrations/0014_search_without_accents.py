import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.contrib.postgres.operations import UnaccentExtension
from django.db import migrations, models

import orders.models

# A generated column takes immutable functions only, which unaccent() is not, because its dictionary could be changed. A
# dump is restored without a search path: hence the names of the schemas.
FOLD = """
DO $do$ BEGIN
    EXECUTE (
        SELECT format(
            $sql$CREATE FUNCTION orders_fold(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
            $fold$SELECT pg_catalog.lower(%1$I.unaccent('%1$I.unaccent'::pg_catalog.regdictionary, pg_catalog.translate(
                pg_catalog.normalize(value, 'NFKC'), U&'\\00AD\\200B\\200C\\200D\\200E\\200F\\2060\\FEFF', '')))$fold$$sql$,
            nspname
        ) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'unaccent'
    );
END $do$
"""


class Migration(migrations.Migration):
    dependencies = [("orders", "0013_undone_refunds")]

    operations = [
        UnaccentExtension(),
        migrations.RunSQL(FOLD, "DROP FUNCTION orders_fold(text)"),
        migrations.RemoveIndex(model_name="order", name="order_customer"),
        migrations.RemoveField(model_name="order", name="customer_text"),
        migrations.AddField(
            model_name="order",
            name="customer_text",
            field=models.GeneratedField(
                db_persist=True,
                expression=orders.models.Fold(
                    django.db.models.functions.text.Concat(
                        "email",
                        models.Value(" "),
                        "first_name",
                        models.Value(" "),
                        "last_name",
                        models.Value(" "),
                        "company",
                    )
                ),
                output_field=models.TextField(),
            ),
        ),
        # As in 0003_customer_statistics.
        migrations.RunSQL(
            "ALTER TABLE orders_order ALTER COLUMN customer_text SET STATISTICS 1000",
            "ALTER TABLE orders_order ALTER COLUMN customer_text SET STATISTICS -1",
        ),
        migrations.AddIndex(
            model_name="order",
            index=django.contrib.postgres.indexes.GinIndex(
                models.F("merchant_id"),
                django.contrib.postgres.indexes.OpClass("customer_text", name="gin_trgm_ops"),
                name="order_customer",
            ),
        ),
    ]
