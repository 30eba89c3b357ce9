import hashlib
import hmac
import re
import secrets
from datetime import timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Coalesce, Lower, Now, Upper
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.addresses import validate_mailable
from merchants.email_template import validate_body, validate_subject
from work import sql

# Length of an actor, as histories show it: a person's name and address, or the name of an API key.
MAX_ACTOR = 600

# How long before an API key expires we say so.
EXPIRY_NOTICE = timedelta(days=7)

# The full text of an API key: whether it is for tests, prefix and secret.
KEY_TEXT = re.compile(r"kw_(test_)?([0-9a-f]{8})_([0-9a-f]{48})")


class UserManager(BaseUserManager["User"]):
    use_in_migrations = True

    @classmethod
    def normalize_email(cls, email):
        # Lower case, as allauth looks it up, so addresses that differ only in case share one account.
        return super().normalize_email(email).lower()

    def create_user(self, email, password=None, **fields):
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email, password=None, **fields):
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, email):
        return self.get(email=email.lower())


class User(AbstractUser):
    """A person who signs in with an e-mail address: a member of a merchant, or support staff."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(_("e-mail address"), unique=True)
    language = models.CharField(
        max_length=2,
        choices=settings.LANGUAGES,
        blank=True,
        default="",
        db_default="",
        help_text=_("Empty: the browser’s."),
    )
    time_zone = models.CharField(max_length=64, blank=True, default="", db_default="", help_text=_("Empty: UTC."))

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []

    objects = UserManager()  # type: ignore[assignment, misc]

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("email"), name="email_is_unique_in_any_case"),
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="email_is_in_lower_case"),
        ]

    def __str__(self):
        # Both, because histories show this text and two people can share a name.
        return f"{self.get_full_name()} ({self.email})" if self.get_full_name() else self.email

    @property
    def zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.time_zone or "UTC")
        except ZoneInfoNotFoundError:  # this machine has older data
            return ZoneInfo("UTC")


class MerchantQuerySet(models.QuerySet["Merchant"]):
    def live(self):
        """Without sandboxes."""
        return self.filter(live=None)


class Merchant(models.Model):
    name = models.CharField(max_length=200)
    slug = models.SlugField(unique=True)
    language = models.CharField(
        max_length=2,
        choices=settings.LANGUAGES,
        default="en",
        db_default="en",
        help_text=_("The language of e-mails to its members."),
    )
    live = models.OneToOneField(
        "self",
        models.CASCADE,
        null=True,
        blank=True,
        editable=False,
        related_name="sandbox",
        help_text=_("The merchant whose test data this one holds."),
    )
    sender_name = models.CharField(
        max_length=100,
        blank=True,
        validators=[RegexValidator(r"^[^\r\n]*$", _("Use a single line."))],
        help_text=_("The sender customers see in e-mails. Defaults to the merchant’s name."),
    )
    reply_to = models.EmailField(
        _("reply-to address"), blank=True, help_text=_("Customers’ replies go to this address.")
    )
    logo = models.ForeignKey("Logo", models.SET_NULL, null=True, blank=True, editable=False, related_name="+")
    second_factor_required = models.BooleanField(
        _("second factor required"),
        default=False,
        help_text=_("Members must use a passkey or an authenticator app to sign in."),
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    first_steps_hidden_at = models.DateTimeField(null=True, blank=True, editable=False)

    loaded_listeners: dict[str, list[Any]]  # endpoints of webhook events in hand, as fulfillment/catalog.py reads them

    objects = MerchantQuerySet.as_manager()

    def __str__(self):
        return gettext("{merchant} (test data)").format(merchant=self.name) if self.is_test else self.name

    def clean(self):
        # Every e-mail to a customer contains this address; an invalid one would block them all.
        try:
            validate_mailable(self.reply_to)
        except ValidationError as error:
            raise ValidationError({"reply_to": error}) from error

    @property
    def is_test(self) -> bool:
        """Whether this is a sandbox: it holds the test data of another merchant (merchants/sandbox.py)."""
        return self.live_id is not None

    @property
    def vendor(self) -> "Merchant":
        """The merchant whose products, texts and members apply: itself or, for a sandbox, the live merchant."""
        return self.live or self

    @property
    def vendor_id(self) -> int:
        return self.live_id or self.pk

    @property
    def sender(self) -> str:
        return self.sender_name or self.name

    def get_logo(self) -> "Logo | None":
        if Merchant.logo.is_cached(self):
            return self.logo
        return self.logos.defer("image").filter(pk=self.logo_id).first() if self.logo_id else None

    def notice_recipients(self) -> list[str]:
        return self._addresses(Member.Role.OWNER, Member.Role.MANAGER)

    def owners_addresses(self) -> list[str]:
        return self._addresses(Member.Role.OWNER)

    def test_recipients(self, address: str) -> list[str]:
        """Who gets a test e-mail to this address: the member who has it, otherwise the owners."""
        own = address.lower()
        return [own] if own in self._addresses(*Member.Role) else self.owners_addresses()

    def _addresses(self, *roles: "Member.Role") -> list[str]:
        members = Member.objects.filter(merchant=self.vendor_id, role__in=roles, user__is_active=True)
        return list(members.order_by("pk").values_list("user__email", flat=True))


class Logo(models.Model):
    """A merchant's logo in e-mails. Replaced logos are kept, because sent e-mails still show them."""

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="logos")
    image = models.BinaryField(help_text=_("PNG, created by merchants/logos.py."))
    digest = models.CharField(max_length=32, db_index=True, help_text=_("Digest of the image, used in its URL."))
    width = models.PositiveSmallIntegerField(help_text=_("In pixels. E-mails show the logo at half this size."))
    height = models.PositiveSmallIntegerField()
    saved_at = models.DateTimeField(db_default=Now(), editable=False)
    saved_by = models.CharField(max_length=MAX_ACTOR)

    def __str__(self):
        return gettext("Logo of {merchant}").format(merchant=self.merchant)

    @property
    def shown_width(self) -> int:
        return -(-self.width // 2)

    @property
    def shown_height(self) -> int:
        return -(-self.height // 2)


class Member(models.Model):
    class Role(models.TextChoices):
        OWNER = "owner", _("Owner")
        MANAGER = "manager", _("Manager")
        SUPPORT = "support", _("Support")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="members")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["merchant", "user"], name="one_role_per_member")]

    def __str__(self):
        return gettext("{user}, {role} of {merchant}").format(
            user=self.user, role=self.get_role_display(), merchant=self.merchant
        )

    def get_absolute_url(self) -> str:
        return reverse("team")

    def may(self, role: Role) -> bool:
        """Whether a member has the rights of this role: an owner has a manager's, a manager has support's."""
        ranks = [self.Role.SUPPORT, self.Role.MANAGER, self.Role.OWNER]
        return ranks.index(self.Role(self.role)) >= ranks.index(role)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self):
        """Neither accepted nor withdrawn. Includes expired invitations, because they can be sent again."""
        return self.filter(accepted_at=None, withdrawn_at=None)

    def current(self):
        return self.open().filter(expires_at__gt=Now())


class Invitation(models.Model):
    """An e-mail that invites its reader to become a member. We store only the fingerprint of its link's token."""

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="invitations")
    email = models.EmailField(_("e-mail address"))
    role = models.CharField(max_length=10, choices=Member.Role)
    fingerprint = models.BinaryField(unique=True, editable=False)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, editable=False)
    accepted_at = models.DateTimeField(null=True, editable=False)
    withdrawn_at = models.DateTimeField(null=True, editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["merchant", "email"],
                condition=models.Q(accepted_at=None, withdrawn_at=None),
                name="one_open_invitation_of_an_address",
            ),
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="invited_email_is_in_lower_case"),
        ]

    def __str__(self):
        return gettext("Invitation of {email} to {merchant}").format(email=self.email, merchant=self.merchant)

    def get_absolute_url(self) -> str:
        return reverse("team")

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= timezone.now()


class CheckoutPage(models.Model):
    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="checkout_pages")
    code = models.SlugField(help_text=_("The code the shop reports, such as “main”."))
    name = models.CharField(max_length=200, blank=True)
    delivery_allowed = models.BooleanField(
        default=True, help_text=_("If off, customers who order from this page get no activation codes by e-mail.")
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["merchant", "code"], name="checkout_page_code_is_unique")]

    def __str__(self):
        return self.name or self.code

    def get_absolute_url(self) -> str:
        return reverse("checkout-pages")


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def active(self):
        return self.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=Now()), revoked_at=None)

    def with_name(self, merchant: Merchant, name: str):
        """Keys that aren't revoked. Their names differ, so histories and reloaded pages are unambiguous."""
        return self.filter(merchant=merchant, name=name, revoked_at=None)

    def with_vendor(self):
        """Annotate the merchant whose live or test data a key is for."""
        return self.select_related("merchant").annotate(vendor=Coalesce("merchant__live", "merchant"))

    def expiring(self):
        """Keys in use that expire soon."""
        return self.active().filter(expires_at__lte=Now() + EXPIRY_NOTICE, last_used_at__isnull=False)

    def create_key(self, **fields) -> tuple["ApiKey", str]:
        """Create a key. Only this call returns its text, because we store just a hash."""
        prefix, secret = secrets.token_hex(4), secrets.token_hex(24)
        key = self.create(prefix=prefix, secret_hash=ApiKey.hash_secret(secret), **fields)
        return key, f"{key.text_start}_{secret}"


class UsageTracked(models.Model):
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    def touch(self) -> None:
        """Set `last_used_at` at most once a minute, so that concurrent requests don't queue on this row."""
        if self.last_used_at and timezone.now() - self.last_used_at < timedelta(minutes=1):
            return
        stale = models.Q(last_used_at=None) | models.Q(last_used_at__lt=Now() - timedelta(minutes=1))
        type(self)._default_manager.filter(stale, pk=self.pk).update(last_used_at=Now())


class ApiKey(UsageTracked):
    class Scope(models.TextChoices):
        PAYMENTS = "payments", _("Report payments and refunds")
        ORDERS = "orders", _("Read orders, resend codes, change customers’ addresses and links")
        POOLS = "pools", _("Read pools and add keys")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, help_text=_("The shop that uses it."))
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    secret_hash = models.BinaryField(editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope))
    allowed_networks = ArrayField(
        models.CharField(max_length=43),
        default=list,
        db_default=[],
        blank=True,
        help_text=_("IP addresses and networks that may use the key, comma-separated. Empty: any."),
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=MAX_ACTOR, blank=True, db_default="", editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=MAX_ACTOR, blank=True, db_default="", editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")

    def __str__(self):
        return gettext("API key {name}").format(name=self.name)

    def get_absolute_url(self) -> str:
        return reverse("api-keys")

    @property
    def shown_prefix(self) -> str:
        """The part of its text that people may see."""
        return f"{self.text_start}_…"

    @property
    def shown_scopes(self) -> list[Any]:
        return [self.Scope(scope).label for scope in self.scopes]

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def expires_soon(self) -> bool:
        return (
            self.expires_at is not None and not self.has_expired and self.expires_at <= timezone.now() + EXPIRY_NOTICE
        )

    @classmethod
    def authenticate(cls, text: str) -> "ApiKey | None":
        """Return the key with this text, with its merchant, unless it is revoked. It may have expired."""
        match = KEY_TEXT.fullmatch(text)
        if match is None:
            return None

        for_tests, prefix, secret = match.groups()
        rows = sql.run_first(cls._find(), prefix=prefix)
        key: ApiKey | None = sql.build(cls, rows[0]) if rows else None
        if key is None or not hmac.compare_digest(bytes(key.secret_hash), cls.hash_secret(secret)):
            return None
        key.merchant = sql.build(Merchant, rows[0], len(cls._meta.concrete_fields))
        return key if key.merchant.is_test == bool(for_tests) else None

    @classmethod
    @cache
    def _find(cls) -> str:
        """The statement that finds a key and its merchant. Every request runs it."""
        selected = f"{sql.columns(cls, 'key')}, {sql.columns(Merchant, 'merchant')}"
        return f"""
            SELECT {selected}
            FROM merchants_apikey key JOIN merchants_merchant merchant ON merchant.id = key.merchant_id
            WHERE key.prefix = %(prefix)s AND key.revoked_at IS NULL
        """  # noqa: S608 (from the models)

    @property
    def text_start(self) -> str:
        """How its text starts, up to the secret."""
        return f"kw_test_{self.prefix}" if self.merchant.is_test else f"kw_{self.prefix}"

    @staticmethod
    def hash_secret(secret: str) -> bytes:
        # 192 random bits can't be guessed, so a fast hash is enough.
        return hashlib.sha256(secret.encode()).digest()


class Product(models.Model):
    class QuantityRule(models.TextChoices):
        ONE_PER_UNIT = "unit", _("One per unit")
        ONE_PER_ITEM = "item", _("One per item, whatever the quantity")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="products")
    sku = models.CharField(
        "SKU",
        max_length=64,
        validators=[
            RegexValidator(r"^[\w.:/+-]+$", _("Use letters, digits and the characters _ . : / + -, without spaces."))
        ],
    )
    name = models.CharField(max_length=200)
    quantity_rule = models.CharField(
        max_length=4,
        choices=QuantityRule,
        default=QuantityRule.ONE_PER_UNIT,
        help_text=_("How many activation codes an order for this product gets."),
    )
    instructions = models.TextField(
        blank=True,
        max_length=2000,
        help_text=_(
            "Tells customers how to use the activation code. Shown below the codes in the e-mail and on the"
            " order page. It isn’t translated and can’t contain links."
        ),
    )

    loaded_methods: list[Any]  # its own sources in hand, as fulfillment/catalog.py reads them

    class Meta:
        constraints = [models.UniqueConstraint(fields=["merchant", "sku"], name="sku_is_unique")]
        indexes = [models.Index(Upper("sku"), name="product_sku")]

    def __str__(self):
        return f"{self.name} ({self.sku})"

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.pk])

    def units(self, quantity: int) -> int:
        return quantity if self.quantity_rule == self.QuantityRule.ONE_PER_UNIT else 1


class EmailTemplateQuerySet(models.QuerySet["EmailTemplate"]):
    def current(self):
        """The newest version of each text, including versions that restore the default."""
        # Without an explicit order, DISTINCT ON keeps an arbitrary row.
        newest = self.order_by("merchant", "product", "language", "-pk").distinct("merchant", "product", "language")
        return self.model._default_manager.filter(pk__in=newest.values("pk"))


class EmailTemplate(models.Model):
    """One version of the e-mail to customers in one language. The newest applies; versions are never edited.

    A template without a product applies to all products that don't have their own. If a product's subject or body is
    empty, the template for all products applies, and then Keywell's default.
    """

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="email_templates")
    product = models.ForeignKey(Product, models.CASCADE, null=True, blank=True, related_name="email_templates")
    language = models.CharField(max_length=2, choices=settings.LANGUAGES)
    subject = models.CharField(max_length=200, blank=True, validators=[validate_subject])
    body = models.TextField("text", max_length=20_000, blank=True, validators=[validate_body])
    saved_at = models.DateTimeField(db_default=Now(), editable=False)
    saved_by = models.CharField(max_length=MAX_ACTOR, blank=True, editable=False)

    objects = EmailTemplateQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["merchant", "product", "language", "-id"], name="email_template_version")]

    def __str__(self):
        return gettext("E-mail of {subject}, {language}").format(
            subject=self.product or self.merchant, language=self.get_language_display()
        )

    @property
    def is_default(self) -> bool:
        return not (self.subject or self.body)

    def clean(self):
        if self.product and self.merchant_id and self.product.merchant_id != self.merchant_id:
            raise ValidationError(
                {"product": gettext("{product} is a product of another merchant.").format(product=self.product)}
            )
