import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import merchants.email_template
import merchants.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="Logo",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("image", models.BinaryField(help_text="PNG, made by merchants/logos.py.")),
                ("digest", models.CharField(db_index=True, help_text="Of the image, in its address.", max_length=32)),
                (
                    "width",
                    models.PositiveSmallIntegerField(help_text="In pixels; two of them make one of the e-mail’s."),
                ),
                ("height", models.PositiveSmallIntegerField()),
                (
                    "saved_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("saved_by", models.CharField(max_length=600)),
            ],
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                ("first_name", models.CharField(blank=True, max_length=150, verbose_name="first name")),
                ("last_name", models.CharField(blank=True, max_length=150, verbose_name="last name")),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                ("date_joined", models.DateTimeField(default=django.utils.timezone.now, verbose_name="date joined")),
                ("email", models.EmailField(max_length=254, unique=True, verbose_name="e-mail address")),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            managers=[
                ("objects", merchants.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name="Merchant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                ("slug", models.SlugField(unique=True)),
                (
                    "sender_name",
                    models.CharField(
                        blank=True,
                        help_text="Whom e-mails to customers come from. Empty: the merchant’s name.",
                        max_length=100,
                        validators=[django.core.validators.RegexValidator("^[^\\r\\n]*$", "One line, please.")],
                    ),
                ),
                (
                    "reply_to",
                    models.EmailField(
                        blank=True,
                        help_text="Where customers’ answers go.",
                        max_length=254,
                        verbose_name="reply-to address",
                    ),
                ),
                (
                    "second_factor_required",
                    models.BooleanField(
                        default=False,
                        help_text="Members sign in with a passkey or a code from an authenticator app as well.",
                        verbose_name="second factor required",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "logo",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="merchants.logo",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Member",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("manager", "Manager"), ("support", "Support")], max_length=10
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="members", to="merchants.merchant"
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="logo",
            name="merchant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="logos", to="merchants.merchant"
            ),
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254, verbose_name="e-mail address")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("manager", "Manager"), ("support", "Support")], max_length=10
                    ),
                ),
                ("fingerprint", models.BinaryField(unique=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("expires_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(editable=False, null=True)),
                ("accepted_at", models.DateTimeField(editable=False, null=True)),
                ("withdrawn_at", models.DateTimeField(editable=False, null=True)),
                (
                    "invited_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="invitations",
                        to="merchants.merchant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="CheckoutPage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.SlugField(help_text="As the shop reports it, for example “main”.")),
                ("name", models.CharField(blank=True, max_length=200)),
                (
                    "delivery_allowed",
                    models.BooleanField(
                        default=True, help_text="Off: nobody is e-mailed activation codes of orders from this page."
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="checkout_pages",
                        to="merchants.merchant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                ("name", models.CharField(help_text="Which shop uses it.", max_length=100)),
                ("prefix", models.CharField(editable=False, max_length=8, unique=True)),
                ("secret_hash", models.BinaryField()),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("payments", "report payments and refunds"),
                                ("orders", "read orders, resend codes, change customers’ addresses and links"),
                                ("pools", "read and fill pools"),
                            ],
                            max_length=20,
                        ),
                        size=None,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="api_keys", to="merchants.merchant"
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
            },
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "sku",
                    models.CharField(
                        max_length=64,
                        validators=[django.core.validators.RegexValidator("^[\\w.:/+-]+$", "No spaces, please.")],
                        verbose_name="SKU",
                    ),
                ),
                ("name", models.CharField(max_length=200)),
                (
                    "quantity_rule",
                    models.CharField(
                        choices=[("unit", "one per unit"), ("item", "one per item, whatever the quantity")],
                        default="unit",
                        help_text="How many activation codes an order of this product gets.",
                        max_length=4,
                    ),
                ),
                (
                    "instructions",
                    models.TextField(
                        blank=True,
                        help_text="What customers do with the activation code. It stands beneath the codes, in the e-mail and on the order’s page, as it is: in one language, without links.",
                        max_length=2000,
                    ),
                ),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="products", to="merchants.merchant"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="EmailTemplate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "language",
                    models.CharField(
                        choices=[
                            ("en", "English"),
                            ("de", "Deutsch"),
                            ("fr", "Français"),
                            ("es", "Español"),
                            ("ru", "Русский"),
                        ],
                        max_length=2,
                    ),
                ),
                (
                    "subject",
                    models.CharField(
                        blank=True, max_length=200, validators=[merchants.email_template.validate_subject]
                    ),
                ),
                (
                    "body",
                    models.TextField(
                        blank=True,
                        max_length=20000,
                        validators=[merchants.email_template.validate_body],
                        verbose_name="text",
                    ),
                ),
                (
                    "saved_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("saved_by", models.CharField(blank=True, editable=False, max_length=600)),
                (
                    "merchant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="email_templates",
                        to="merchants.merchant",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="email_templates",
                        to="merchants.product",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.UniqueConstraint(
                django.db.models.functions.text.Lower("email"), name="email_is_unique_in_any_case"
            ),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                name="email_is_in_lower_case",
            ),
        ),
        migrations.AddConstraint(
            model_name="member",
            constraint=models.UniqueConstraint(fields=("merchant", "user"), name="one_role_per_member"),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("accepted_at", None), ("withdrawn_at", None)),
                fields=("merchant", "email"),
                name="one_open_invitation_of_an_address",
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.CheckConstraint(
                condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                name="invited_email_is_in_lower_case",
            ),
        ),
        migrations.AddConstraint(
            model_name="checkoutpage",
            constraint=models.UniqueConstraint(fields=("merchant", "code"), name="checkout_page_code_is_unique"),
        ),
        migrations.AddIndex(
            model_name="product",
            index=models.Index(django.db.models.functions.text.Upper("sku"), name="product_sku"),
        ),
        migrations.AddConstraint(
            model_name="product",
            constraint=models.UniqueConstraint(fields=("merchant", "sku"), name="sku_is_unique"),
        ),
        migrations.AddIndex(
            model_name="emailtemplate",
            index=models.Index(fields=["merchant", "product", "language", "-id"], name="email_template_version"),
        ),
    ]
