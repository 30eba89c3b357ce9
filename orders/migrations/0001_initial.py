import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.db import migrations, models

import orders.models
import orders.money
import vault.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("orders", "0001_extensions"),
        ("merchants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="ActivationCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("unit", models.PositiveIntegerField()),
                ("code", vault.fields.EncryptedTextField()),
                ("fingerprint", models.BinaryField(db_index=True)),
                (
                    "loose_fingerprint",
                    models.BinaryField(
                        db_index=True, help_text="Of its letters and digits: see license_texts.py.", null=True
                    ),
                ),
                ("hint", models.CharField(blank=True, editable=False, max_length=4)),
                ("source", models.CharField(help_text="Where it came from.", max_length=20)),
                (
                    "saved_by",
                    models.CharField(blank=True, help_text="Who entered it, if a person did.", max_length=600),
                ),
                (
                    "saved_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "seen_at",
                    models.DateTimeField(
                        editable=False,
                        help_text="When its customer first had it shown on the order's page.",
                        null=True,
                    ),
                ),
                ("withdrawn_at", models.DateTimeField(editable=False, null=True)),
                (
                    "withdrawn_by",
                    models.CharField(blank=True, db_default="", default="", editable=False, max_length=600),
                ),
                (
                    "replaced_by",
                    models.OneToOneField(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replaces",
                        to="orders.activationcode",
                    ),
                ),
            ],
            options={
                "ordering": ["item", "unit"],
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(max_length=64)),
                (
                    "short_number",
                    models.GeneratedField(
                        db_persist=True,
                        expression=orders.models.ShortNumber("number"),
                        output_field=models.CharField(max_length=64, null=True),
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("unpaid", "Unpaid"),
                            ("paid", "Paid"),
                            ("deleted", "Deleted"),
                            ("terminated", "Terminated"),
                        ],
                        default="unpaid",
                        max_length=10,
                    ),
                ),
                (
                    "reported_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("reported_by", models.CharField(blank=True, editable=False, max_length=600)),
                ("paid_at", models.DateTimeField(blank=True, null=True)),
                (
                    "utc_offset",
                    models.SmallIntegerField(
                        db_default=0,
                        default=0,
                        editable=False,
                        help_text="Minutes that the shop’s clock is ahead of UTC.",
                    ),
                ),
                (
                    "ended_at",
                    models.DateTimeField(editable=False, help_text="When it became deleted or terminated.", null=True),
                ),
                (
                    "reinstated_at",
                    models.DateTimeField(
                        editable=False, help_text="When the shop last took a full refund back, as it says.", null=True
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                ("language", models.CharField(max_length=35)),
                ("email", models.EmailField(max_length=254, verbose_name="customer's e-mail address")),
                ("first_name", models.CharField(blank=True, max_length=200)),
                ("last_name", models.CharField(blank=True, max_length=200)),
                ("company", models.CharField(blank=True, max_length=200)),
                ("country", models.CharField(blank=True, max_length=2)),
                (
                    "customer_text",
                    models.GeneratedField(
                        db_persist=True,
                        expression=orders.models.CustomerText(
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
                ("additional_parameters", models.JSONField(blank=True, default=dict)),
                ("content", models.JSONField(default=dict, editable=False)),
                ("link_token", vault.fields.EncryptedTextField(editable=False, null=True)),
                ("link_fingerprint", models.BinaryField(null=True, unique=True)),
                (
                    "checkout_page",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="orders", to="merchants.checkoutpage"
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="orders", to="merchants.merchant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="OrderItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "reference",
                    models.CharField(help_text="The shop's number of the item in the order.", max_length=64),
                ),
                ("quantity", models.PositiveIntegerField()),
                ("units", models.PositiveIntegerField(help_text="How many activation codes the item needs.")),
                ("total_price", orders.money.MoneyField(decimal_places=4, max_digits=16)),
                (
                    "parent_order",
                    models.CharField(
                        blank=True,
                        help_text="Of a renewal: the number of the subscription's first order.",
                        max_length=64,
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="items", to="orders.order"
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="order_items", to="merchants.product"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="OrderEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("address", "address corrected"),
                            ("reveal", "code revealed"),
                            ("retry", "fulfillment tried again"),
                            ("revoke", "customer's link revoked"),
                            ("renew", "customer's link renewed"),
                            ("erased", "customer’s data erased"),
                            ("replaced", "code replaced"),
                            ("returned", "code returned to stock"),
                            ("reinstated", "full refund undone"),
                            ("mapped", "items mapped to products"),
                            ("unsure", "e-mail may have arrived"),
                            ("refused", "held code refused"),
                            ("released", "held code released"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "details",
                    models.JSONField(
                        default=dict,
                        help_text="Of a correction: the address before and after. Of a retry: how it stood. Of a replacement: why.",
                    ),
                ),
                (
                    "happened_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("happened_by", models.CharField(max_length=600)),
                (
                    "code",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="orders.activationcode",
                    ),
                ),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="events", to="orders.order"
                    ),
                ),
                (
                    "item",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="orders.orderitem",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="activationcode",
            name="item",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="activation_codes", to="orders.orderitem"
            ),
        ),
        migrations.CreateModel(
            name="OtherItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reference", models.CharField(max_length=64)),
                ("product", models.CharField(blank=True, help_text="What the shop calls it.", max_length=200)),
                ("quantity", models.IntegerField()),
                ("total_price", orders.money.MoneyField(decimal_places=4, max_digits=16)),
                ("subscription", models.JSONField(editable=False, null=True)),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="other_items", to="orders.order"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount", orders.money.MoneyField(decimal_places=4, max_digits=16)),
                (
                    "reference",
                    models.CharField(blank=True, help_text="The shop's number of the refund.", max_length=64),
                ),
                (
                    "refunded_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("refunded_by", models.CharField(max_length=600)),
                ("undone_at", models.DateTimeField(editable=False, null=True)),
                ("undone_by", models.CharField(blank=True, db_default="", default="", editable=False, max_length=600)),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="refunds", to="orders.order"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RefusedReport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=[("payment", "Payment"), ("refund", "Refund")], max_length=10)),
                ("order_number", models.CharField(blank=True, max_length=64)),
                ("status", models.PositiveSmallIntegerField(help_text="Of the answer that refused it.")),
                ("reason", models.CharField(max_length=500)),
                ("errors", models.JSONField(default=list, help_text="Which fields were wrong, and how.")),
                ("reported_by", models.CharField(max_length=600)),
                ("digest", models.BinaryField()),
                ("times", models.PositiveIntegerField(default=1)),
                (
                    "first_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "last_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="refused_reports",
                        to="merchants.merchant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reference", models.CharField(help_text="The shop's identifier.", max_length=64)),
                (
                    "type",
                    models.CharField(
                        choices=[("AR", "renews itself"), ("PMR", "renewed by the customer")], max_length=3
                    ),
                ),
                ("period", models.CharField(help_text="ISO 8601: P1Y, P3M, P2W, P30D.", max_length=8)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="merchants.merchant",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="orderitem",
            name="subscription",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="order_items",
                to="orders.subscription",
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["short_number"], name="order_short_number"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(django.db.models.functions.text.Upper("email"), name="order_email"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["merchant", "-paid_at", "-id"], name="order_by_payment"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["merchant", "-reported_at", "-id"], name="order_by_report"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                condition=models.Q(("status", "paid"), _negated=True),
                fields=["merchant", "status", "-reported_at", "-id"],
                name="order_not_paid",
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                condition=models.Q(("status", "paid"), models.Q(("additional_parameters", {}), _negated=True)),
                fields=["paid_at"],
                name="order_parameters_of_paid",
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                condition=models.Q(
                    ("status__in", ["deleted", "terminated"]), models.Q(("additional_parameters", {}), _negated=True)
                ),
                fields=["ended_at"],
                name="order_parameters_of_ended",
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=django.contrib.postgres.indexes.GinIndex(
                models.F("merchant_id"),
                django.contrib.postgres.indexes.OpClass("customer_text", name="gin_trgm_ops"),
                name="order_customer",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.UniqueConstraint(fields=("merchant", "number"), name="order_number_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "paid"), _negated=True), ("paid_at__isnull", False), _connector="OR"
                ),
                name="a_paid_order_has_a_time_of_payment",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("link_fingerprint__isnull", True), ("link_token__isnull", True)),
                    models.Q(("link_fingerprint__isnull", False), ("link_token__isnull", False)),
                    _connector="OR",
                ),
                name="a_link_is_whole_or_revoked",
            ),
        ),
        migrations.AddIndex(
            model_name="activationcode",
            index=models.Index(django.db.models.functions.text.Upper("hint"), name="code_hint"),
        ),
        migrations.AddConstraint(
            model_name="activationcode",
            constraint=models.UniqueConstraint(
                condition=models.Q(("withdrawn_at", None)), fields=("item", "unit"), name="one_code_per_unit"
            ),
        ),
        migrations.AddConstraint(
            model_name="activationcode",
            constraint=models.CheckConstraint(
                condition=models.Q(("replaced_by", None), ("withdrawn_at__isnull", False), _connector="OR"),
                name="a_replaced_code_is_withdrawn",
            ),
        ),
        migrations.AddConstraint(
            model_name="activationcode",
            constraint=models.CheckConstraint(condition=models.Q(("unit__gte", 1)), name="units_count_from_one"),
        ),
        migrations.AddIndex(
            model_name="otheritem",
            index=models.Index(
                condition=models.Q(("quantity__gte", 1)), fields=["product"], name="other_item_product"
            ),
        ),
        migrations.AddConstraint(
            model_name="otheritem",
            constraint=models.UniqueConstraint(fields=("order", "reference"), name="other_item_reference_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.UniqueConstraint(
                condition=models.Q(("reference", ""), _negated=True),
                fields=("order", "reference"),
                name="refund_reference_is_unique",
            ),
        ),
        migrations.AddConstraint(
            model_name="refund",
            constraint=models.CheckConstraint(condition=models.Q(("amount__gte", 0)), name="a_refund_is_not_negative"),
        ),
        migrations.AddIndex(
            model_name="refusedreport",
            index=models.Index(fields=["merchant", "-last_at", "-id"], name="refused_report_by_time"),
        ),
        migrations.AddIndex(
            model_name="refusedreport",
            index=models.Index(fields=["last_at"], name="refused_report_to_purge"),
        ),
        migrations.AddConstraint(
            model_name="refusedreport",
            constraint=models.UniqueConstraint(fields=("merchant", "digest"), name="a_refused_report_is_one_row"),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.UniqueConstraint(fields=("merchant", "reference"), name="subscription_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="orderitem",
            constraint=models.UniqueConstraint(fields=("order", "reference"), name="item_reference_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="orderitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("quantity__gte", 1), ("units__gte", 1)), name="an_item_has_units"
            ),
        ),
    ]
