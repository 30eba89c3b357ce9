"""The numbers of keys in each pool, as sums of changes that the database derives from the ledger."""

import django.db.models.deletion
from django.db import migrations, models

CHANGES = """
    INSERT INTO pools_stockchange (pool_id, period, available, reserved, issued, withdrawn, added, sold)
    SELECT pool_id, date_trunc('hour', moved_at, 'UTC'),
        sum(CASE 'available' WHEN destination THEN count WHEN origin THEN -count ELSE 0 END),
        sum(CASE 'reserved' WHEN destination THEN count WHEN origin THEN -count ELSE 0 END),
        sum(CASE 'issued' WHEN destination THEN count WHEN origin THEN -count ELSE 0 END),
        sum(CASE 'withdrawn' WHEN destination THEN count WHEN origin THEN -count ELSE 0 END),
        coalesce(sum(count) FILTER (WHERE destination = 'available'), 0),
        coalesce(sum(count) FILTER (WHERE origin = 'available' AND destination = 'issued'), 0)
    FROM {movements} GROUP BY 1, 2;
"""

# The trigger's lock keeps others from adding to the ledger until what is there is counted.
COUNT = f"""
CREATE FUNCTION pools_count_movements() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {CHANGES.format(movements="new_movements")}
    RETURN NULL;
END $$;
CREATE TRIGGER movements_are_counted AFTER INSERT ON pools_keymovement
    REFERENCING NEW TABLE AS new_movements FOR EACH STATEMENT EXECUTE FUNCTION pools_count_movements();
{CHANGES.format(movements="pools_keymovement")}
"""

UNCOUNT = """
DROP TRIGGER movements_are_counted ON pools_keymovement;
DROP FUNCTION pools_count_movements;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("pools", "0003_wording"),
    ]

    operations = [
        migrations.CreateModel(
            name="StockChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("period", models.DateTimeField()),
                ("available", models.IntegerField()),
                ("reserved", models.IntegerField()),
                ("issued", models.IntegerField()),
                ("withdrawn", models.IntegerField()),
                ("added", models.IntegerField()),
                ("sold", models.IntegerField()),
                (
                    "pool",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="changes",
                        to="pools.licensepool",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(COUNT, UNCOUNT),
    ]
