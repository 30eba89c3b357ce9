from django.contrib.postgres.operations import BtreeGinExtension, TrigramExtension, UnaccentExtension
from django.db import migrations

# A generated column takes immutable functions only, which unaccent() is not, because its dictionary could be changed. A
# dump is restored without a search path: hence the names of the schemas.
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

UNFOLD = "DROP FUNCTION orders_customer_text(text), orders_fold_umlauts(text), orders_fold(text)"


class Migration(migrations.Migration):
    """What the search is built on (orders/search.py)."""

    dependencies = []

    operations = [
        BtreeGinExtension(),
        TrigramExtension(),
        UnaccentExtension(),
        migrations.RunSQL(FOLD, UNFOLD),
    ]
