"""Keys between their preview and their import."""

from django.db import migrations, models

# Unlogged, because after a crash the upload is read again. No foreign key and no primary key: each costs more time
# than COPY, and only whole imports are read and deleted.
STAGED = """
CREATE UNLOGGED TABLE pools_stagedkey (
    fingerprint bytea NOT NULL,
    key_import_id bigint NOT NULL,
    place integer NOT NULL,
    line integer NOT NULL,
    loose_fingerprint bytea,
    code bytea,
    hint text
);
CREATE INDEX staged_by_import ON pools_stagedkey
    USING brin (key_import_id) WITH (pages_per_range = 32, autosummarize = on);

CREATE FUNCTION pools_delete_staged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM pools_stagedkey WHERE key_import_id IN (SELECT id FROM old_imports WHERE is_staged);
    RETURN NULL;
END $$;
CREATE TRIGGER staged_keys_go AFTER DELETE ON pools_keyimport
    REFERENCING OLD TABLE AS old_imports FOR EACH STATEMENT EXECUTE FUNCTION pools_delete_staged();
"""
UNSTAGED = """
DROP TRIGGER staged_keys_go ON pools_keyimport;
DROP FUNCTION pools_delete_staged;
DROP TABLE pools_stagedkey;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("pools", "0004_stock_changes"),
    ]

    operations = [
        migrations.AddField(
            model_name="keyimport",
            name="is_staged",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddIndex(
            model_name="keyimport",
            index=models.Index(condition=models.Q(("is_staged", True)), fields=["id"], name="import_staged"),
        ),
        migrations.RunSQL(STAGED, UNSTAGED),
    ]
