import django.contrib.postgres.indexes
from django.db import migrations, models
from django.db.models.functions import Concat

import orders.models

# As in 0014_search_without_accents. A dump is restored without a search path: hence the names of the schemas.
FOLD = """
DO $do$ BEGIN
    EXECUTE (
        SELECT format(
            $sql$CREATE OR REPLACE FUNCTION %2$I.orders_fold(value text) RETURNS text
            LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
            $fold$SELECT pg_catalog.translate(
                pg_catalog.lower(%1$I.unaccent('%1$I.unaccent'::pg_catalog.regdictionary, pg_catalog.translate(
                    pg_catalog.normalize(pg_catalog.translate(value, U&'\\00B4\\1FFD', ''''''), 'NFKC'),
                    U&'\\00AD\\200B\\200C\\200D\\200E\\200F\\2060\\FEFF', ''))),
                U&'''`\\2018\\2019\\201B\\02BB\\02BC\\02B9\\2032', '')$fold$$sql$,
            nspname, current_schema
        ) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'unaccent'
    );
    EXECUTE format(
        $sql$CREATE FUNCTION %1$I.orders_fold_umlauts(value text) RETURNS text
        LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
        $fold$SELECT pg_catalog.regexp_replace(%1$I.orders_fold(value), '(a)[ae]|([ou])e', '\\1\\2', 'g')$fold$$sql$,
        current_schema
    );
    EXECUTE format(
        $sql$CREATE FUNCTION %1$I.orders_customer_text(value text) RETURNS text
        LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
        $fold$SELECT pg_catalog.concat_ws(
            ' ', %1$I.orders_fold(value), NULLIF(%1$I.orders_fold_umlauts(value), %1$I.orders_fold(value))
        )$fold$$sql$,
        current_schema
    );
END $do$
"""


class Migration(migrations.Migration):
    dependencies = [("orders", "0016_held_codes")]

    operations = [
        migrations.RemoveIndex(model_name="order", name="order_customer"),
        migrations.RemoveField(model_name="order", name="customer_text"),
        migrations.RemoveIndex(model_name="order", name="order_short_number"),
        migrations.RemoveField(model_name="order", name="short_number"),
        migrations.RunSQL(FOLD, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="order",
            name="customer_text",
            field=models.GeneratedField(
                db_persist=True,
                expression=orders.models.CustomerText(
                    Concat(
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
        migrations.AddField(
            model_name="order",
            name="short_number",
            field=models.GeneratedField(
                db_persist=True,
                expression=orders.models.ShortNumber("number"),
                output_field=models.CharField(max_length=64, null=True),
            ),
        ),
        migrations.AddIndex(
            model_name="order", index=models.Index(fields=["short_number"], name="order_short_number")
        ),
    ]
