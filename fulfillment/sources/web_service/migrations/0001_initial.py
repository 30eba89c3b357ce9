import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import vault.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("fulfillment", "0001_initial"),
        ("merchants", "0001_initial"),
        ("orders", "0001_initial"),
        ("outbound", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebService",
            fields=[
                (
                    "upstream_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="outbound.upstream",
                    ),
                ),
                ("secret", vault.fields.EncryptedTextField(editable=False)),
                ("previous_secret", vault.fields.EncryptedTextField(editable=False, null=True)),
                ("rotated_at", models.DateTimeField(editable=False, null=True)),
                ("name", models.CharField(max_length=100)),
                ("url", models.CharField(max_length=1000, verbose_name="URL")),
                (
                    "format",
                    models.CharField(
                        choices=[
                            ("form", "POST, as a form"),
                            ("json", "POST, as JSON"),
                            ("get", "GET, in the address"),
                        ],
                        default="form",
                        max_length=10,
                        verbose_name="request",
                    ),
                ),
                (
                    "request_per",
                    models.CharField(
                        choices=[
                            ("unit", "one request for each code"),
                            ("item", "one request for all codes of an order item"),
                        ],
                        default="unit",
                        max_length=10,
                        verbose_name="how many requests",
                    ),
                ),
                (
                    "timeout",
                    models.PositiveSmallIntegerField(
                        default=15,
                        help_text="Seconds until the whole answer has to be there, at most 30.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(30),
                        ],
                        verbose_name="time limit",
                    ),
                ),
                (
                    "login",
                    models.CharField(
                        choices=[
                            ("none", "none but our signature"),
                            ("basic", "user name and password (HTTP Basic)"),
                            ("bearer", "token (Bearer)"),
                        ],
                        default="none",
                        max_length=10,
                    ),
                ),
                ("username", models.CharField(blank=True, max_length=200, verbose_name="user name")),
                (
                    "password",
                    vault.fields.EncryptedTextField(blank=True, default="", verbose_name="password or token"),
                ),
                (
                    "answer",
                    models.CharField(
                        choices=[
                            ("body", "the whole answer"),
                            ("json", "at a path in JSON"),
                            ("xml", "at a path in XML"),
                        ],
                        default="body",
                        max_length=10,
                        verbose_name="where the code is",
                    ),
                ),
                (
                    "path",
                    models.CharField(
                        blank=True,
                        help_text="JSON: $.license.key or $.keys[*]. XML: license/key or item/@code.",
                        max_length=200,
                    ),
                ),
                (
                    "holds_list",
                    models.BooleanField(
                        default=False,
                        help_text="In a whole answer: one code a line.",
                        verbose_name="several codes in an answer",
                    ),
                ),
                (
                    "temporary_pattern",
                    models.CharField(
                        blank=True,
                        help_text="A regular expression. An answer that it is found in is no code: the service is asked again later.",
                        max_length=200,
                        verbose_name="temporary errors",
                    ),
                ),
                (
                    "same_code_allowed",
                    models.BooleanField(
                        default=False,
                        help_text="For volume licenses and links. Otherwise a code that another unit or order has is refused.",
                        verbose_name="the same code may come twice",
                    ),
                ),
                (
                    "holds_unlike",
                    models.BooleanField(
                        default=True,
                        help_text="A code that resembles none of the earlier ones may be an error message: a person decides.",
                        verbose_name="hold codes that look different",
                    ),
                ),
                (
                    "known_shapes",
                    models.JSONField(default=list, editable=False, help_text="What accepted codes look like."),
                ),
                (
                    "sends_itself",
                    models.BooleanField(
                        default=False,
                        help_text="An answer of 200 completes the item, without a code and without an e-mail from us.",
                        verbose_name="the service sends the code itself",
                    ),
                ),
                (
                    "for_all_products",
                    models.BooleanField(
                        default=False,
                        help_text="It is asked for every product that has no source of its own.",
                        verbose_name="for all products",
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="web_services",
                        to="merchants.merchant",
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
            },
            bases=("outbound.upstream", models.Model),
        ),
        migrations.CreateModel(
            name="RequestParameter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "parameter",
                    models.CharField(
                        blank=True, help_text="Its name in the catalog; none of a constant.", max_length=30
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="What it is called in the request.",
                        max_length=64,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9_.\\-\\[\\]]+\\Z",
                                "A name has letters, digits, dots, dashes, underscores and brackets.",
                            )
                        ],
                    ),
                ),
                ("constant", vault.fields.EncryptedTextField(blank=True, default="")),
                (
                    "is_secret",
                    models.BooleanField(
                        default=False, help_text="A constant that no log shows.", verbose_name="secret"
                    ),
                ),
                (
                    "service",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parameters",
                        to="web_service.webservice",
                    ),
                ),
            ],
            options={
                "ordering": ["position", "pk"],
            },
        ),
        migrations.CreateModel(
            name="WebServiceMethod",
            fields=[
                (
                    "fulfillmentmethod_ptr",
                    models.OneToOneField(
                        auto_created=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        parent_link=True,
                        primary_key=True,
                        serialize=False,
                        to="fulfillment.fulfillmentmethod",
                    ),
                ),
                (
                    "web_service",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fulfillment_methods",
                        to="web_service.webservice",
                    ),
                ),
            ],
            bases=("fulfillment.fulfillmentmethod",),
        ),
        migrations.CreateModel(
            name="ReceivedCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("fingerprint", models.BinaryField()),
                ("unit", models.PositiveIntegerField()),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "item",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="orders.orderitem"
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="merchants.merchant"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("merchant", "fingerprint"), name="a_received_code_is_for_one")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="webservice",
            constraint=models.UniqueConstraint(fields=("merchant", "name"), name="web_service_name_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="webservice",
            constraint=models.UniqueConstraint(
                condition=models.Q(("for_all_products", True)),
                fields=("merchant",),
                name="one_web_service_for_all_products",
                violation_error_message="Another web service is asked for all products.",
            ),
        ),
        migrations.AddConstraint(
            model_name="requestparameter",
            constraint=models.UniqueConstraint(fields=("service", "name"), name="parameter_name_is_unique"),
        ),
        migrations.AddConstraint(
            model_name="requestparameter",
            constraint=models.UniqueConstraint(
                condition=models.Q(("parameter", ""), _negated=True),
                fields=("service", "parameter"),
                name="a_parameter_is_sent_once",
            ),
        ),
    ]
