# ruff: noqa: E501, S608
"""The ledger writes itself, and lets nobody change it."""

from django.db import migrations

# Where a key is, from its columns. The words are those of KeyMovement.Place.
PLACE = """
CREATE FUNCTION pools_place(item_id bigint, withdrawn_at timestamptz, reserved boolean) RETURNS varchar
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN withdrawn_at IS NOT NULL THEN 'withdrawn' WHEN item_id IS NOT NULL THEN 'issued'
        WHEN reserved THEN 'reserved' ELSE 'available' END
$$
"""

# How keys came to be where they are that were no longer available when they came: issued, then withdrawn.
WENT = """
    INSERT INTO pools_keymovement (pool_id, batch_id, key_id, item_id, unit, origin, destination, count, moved_at, moved_by)
    SELECT pool_id, batch_id, id, item_id, unit, 'available', 'issued', 1, issued_at, ''
    FROM {keys} WHERE item_id IS NOT NULL {which};

    INSERT INTO pools_keymovement (pool_id, batch_id, key_id, item_id, unit, origin, destination, count, moved_at, moved_by)
    SELECT pool_id, batch_id, id, item_id, unit, CASE WHEN item_id IS NULL THEN 'available' ELSE 'issued' END,
        'withdrawn', 1, withdrawn_at, ''
    FROM {keys} WHERE withdrawn_at IS NOT NULL {which};
"""
WRITE = f"""
-- One plan serves a single key and a million: a nested loop, which is good for the one, would never end.
CREATE FUNCTION pools_keys_came() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off AS $$
DECLARE
    came record;
    batch record;
BEGIN
    FOR came IN
        SELECT pool_id, batch_id, reserved, count(*), count(item_id) + count(withdrawn_at) AS gone
        FROM new_keys GROUP BY 1, 2, 3
    LOOP
        -- What a foreign key would check for every row, and one thing more: that the batch is of the pool.
        SELECT * INTO batch FROM pools_keybatch WHERE id = came.batch_id AND pool_id = came.pool_id FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'A key comes with a batch of its pool' USING ERRCODE = 'foreign_key_violation';
        END IF;
        INSERT INTO pools_keymovement (pool_id, batch_id, origin, destination, count, moved_at, moved_by)
        VALUES (came.pool_id, came.batch_id, '', CASE WHEN came.reserved THEN 'reserved' ELSE 'available' END,
            came.count, batch.imported_at, batch.imported_by);
        IF came.gone > 0 THEN
            {WENT.format(keys="new_keys", which="AND batch_id = came.batch_id AND reserved = came.reserved")}
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION pools_keys_moved() RETURNS trigger LANGUAGE plpgsql SET enable_nestloop = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM new_keys moved JOIN old_keys past ON past.id = moved.id
        WHERE (moved.pool_id, moved.batch_id) <> (past.pool_id, past.batch_id)
    ) THEN
        RAISE EXCEPTION 'A key stays in its pool and batch' USING ERRCODE = 'foreign_key_violation';
    END IF;
    INSERT INTO pools_keymovement (pool_id, batch_id, key_id, item_id, unit, origin, destination, count, moved_at, moved_by)
    SELECT moved.pool_id, moved.batch_id, moved.id, coalesce(moved.item_id, past.item_id), coalesce(moved.unit, past.unit),
        pools_place(past.item_id, past.withdrawn_at, past.reserved), pools_place(moved.item_id, moved.withdrawn_at, moved.reserved),
        1, statement_timestamp(), coalesce(current_setting('keywell.actor', true), '')
    FROM new_keys moved JOIN old_keys past ON past.id = moved.id
    WHERE pools_place(past.item_id, past.withdrawn_at, past.reserved)
        <> pools_place(moved.item_id, moved.withdrawn_at, moved.reserved);
    RETURN NULL;
END $$;

CREATE FUNCTION pools_keys_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pools_keymovement (pool_id, batch_id, origin, destination, count, moved_at, moved_by)
    SELECT pool_id, batch_id, pools_place(item_id, withdrawn_at, reserved), '', count(*), statement_timestamp(),
        coalesce(current_setting('keywell.actor', true), '')
    FROM old_keys GROUP BY pool_id, batch_id, pools_place(item_id, withdrawn_at, reserved);
    RETURN NULL;
END $$;

CREATE FUNCTION pools_batch_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.pool_id) = (OLD.id, OLD.pool_id) THEN
            RETURN NEW;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pools_licensekey WHERE batch_id = OLD.id) THEN
        RAISE EXCEPTION 'A batch stays as long as it has keys' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

CREATE TRIGGER batch_stays BEFORE DELETE OR UPDATE OF id, pool_id ON pools_keybatch
    FOR EACH ROW EXECUTE FUNCTION pools_batch_stays();
CREATE TRIGGER keys_came AFTER INSERT ON pools_licensekey
    REFERENCING NEW TABLE AS new_keys FOR EACH STATEMENT EXECUTE FUNCTION pools_keys_came();
CREATE TRIGGER keys_moved AFTER UPDATE ON pools_licensekey
    REFERENCING OLD TABLE AS old_keys NEW TABLE AS new_keys FOR EACH STATEMENT EXECUTE FUNCTION pools_keys_moved();
CREATE TRIGGER keys_gone AFTER DELETE ON pools_licensekey
    REFERENCING OLD TABLE AS old_keys FOR EACH STATEMENT EXECUTE FUNCTION pools_keys_gone();
"""

UNWRITE = """
DROP TRIGGER batch_stays ON pools_keybatch;
DROP TRIGGER keys_came ON pools_licensekey;
DROP TRIGGER keys_moved ON pools_licensekey;
DROP TRIGGER keys_gone ON pools_licensekey;
DROP FUNCTION pools_batch_stays, pools_keys_came, pools_keys_moved, pools_keys_gone;
"""

REFUSE = """
CREATE FUNCTION pools_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger of key movements is only added to' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE OR DELETE ON pools_keymovement
    FOR EACH STATEMENT EXECUTE FUNCTION pools_refuse();
CREATE TRIGGER ledger_is_not_emptied BEFORE TRUNCATE ON pools_keymovement
    FOR EACH STATEMENT EXECUTE FUNCTION pools_refuse();
"""

ALLOW = """
DROP TRIGGER ledger_is_not_changed ON pools_keymovement;
DROP TRIGGER ledger_is_not_emptied ON pools_keymovement;
DROP FUNCTION pools_refuse;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("pools", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(PLACE, "DROP FUNCTION pools_place(bigint, timestamptz, boolean)"),
        migrations.RunSQL(WRITE, UNWRITE),
        migrations.RunSQL(REFUSE, ALLOW),
    ]
