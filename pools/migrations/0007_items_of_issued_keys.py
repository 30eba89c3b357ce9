"""What the foreign key from keys to items checked, without checking the keys of an import one by one."""

import django.db.models.deletion
from django.db import migrations, models

# Deferred like the foreign key. The condition is tested before PostgreSQL notes a row for the end of the transaction.
CHECK = """
CREATE FUNCTION pools_key_needs_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- FOR KEY SHARE makes a transaction that deletes the item wait.
    PERFORM FROM orders_orderitem WHERE id = NEW.item_id FOR KEY SHARE;
    IF NOT FOUND AND EXISTS (SELECT FROM pools_licensekey WHERE id = NEW.id AND item_id = NEW.item_id) THEN
        RAISE EXCEPTION 'A key is issued to an item' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER key_of_new_row_needs_item AFTER INSERT ON pools_licensekey
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.item_id IS NOT NULL)
    EXECUTE FUNCTION pools_key_needs_item();
CREATE CONSTRAINT TRIGGER key_needs_item AFTER UPDATE OF item_id ON pools_licensekey
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.item_id IS NOT NULL AND NEW.item_id IS DISTINCT FROM OLD.item_id)
    EXECUTE FUNCTION pools_key_needs_item();

CREATE FUNCTION pools_item_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pools_licensekey WHERE item_id = OLD.id)
        AND NOT EXISTS (SELECT FROM orders_orderitem WHERE id = OLD.id)
    THEN
        RAISE EXCEPTION 'An item stays as long as keys are issued to it' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER item_stays AFTER DELETE ON orders_orderitem
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pools_item_stays();
CREATE CONSTRAINT TRIGGER number_of_item_stays AFTER UPDATE OF id ON orders_orderitem
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id <> OLD.id) EXECUTE FUNCTION pools_item_stays();
"""
UNCHECK = """
DROP TRIGGER key_of_new_row_needs_item ON pools_licensekey;
DROP TRIGGER key_needs_item ON pools_licensekey;
DROP TRIGGER item_stays ON orders_orderitem;
DROP TRIGGER number_of_item_stays ON orders_orderitem;
DROP FUNCTION pools_key_needs_item, pools_item_stays;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("pools", "0006_loose_hash"),
    ]

    operations = [
        migrations.AlterField(
            model_name="licensekey",
            name="item",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="license_keys",
                to="orders.orderitem",
            ),
        ),
        migrations.RunSQL(CHECK, UNCHECK),
    ]
