import django.db.models.deletion
from django.db import migrations, models

TRIGGER = """
CREATE FUNCTION fulfillment_name_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT order_id INTO NEW.order_id FROM orders_orderitem WHERE id = NEW.item_id;
    RETURN NEW;
END $$;

-- Skips work that a pool finishes immediately.
CREATE TRIGGER fulfillment_name_order BEFORE INSERT OR UPDATE OF status, order_id ON fulfillment_fulfillment
FOR EACH ROW WHEN (NEW.status <> 'done' AND NEW.order_id IS NULL) EXECUTE FUNCTION fulfillment_name_order();

UPDATE fulfillment_fulfillment SET status = status WHERE status <> 'done';
-- Otherwise the table couldn't get a constraint in the same transaction.
SET CONSTRAINTS ALL IMMEDIATE;
"""
DROP = """
DROP TRIGGER fulfillment_name_order ON fulfillment_fulfillment;
DROP FUNCTION fulfillment_name_order;
"""


class Migration(migrations.Migration):
    dependencies = [("fulfillment", "0005_clearer_texts"), ("orders", "0006_lists")]

    operations = [
        migrations.AddField(
            model_name="fulfillment",
            name="order",
            field=models.ForeignKey(
                db_constraint=False,
                db_default=None,
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="orders.order",
            ),
        ),
        migrations.RunSQL(TRIGGER, DROP),
        migrations.AddIndex(
            model_name="fulfillment",
            index=models.Index(
                condition=models.Q(("status", "done"), _negated=True),
                fields=["order"],
                name="fulfillment_unfinished_orders",
            ),
        ),
        migrations.AddConstraint(
            model_name="fulfillment",
            constraint=models.CheckConstraint(
                condition=models.Q(("status", "done"), ("order__isnull", False), _connector="OR"),
                name="unfinished_work_names_its_order",
            ),
        ),
    ]
