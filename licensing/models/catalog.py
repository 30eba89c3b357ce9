import secrets
import string

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse

from merchants.models import Merchant
from merchants.numbers import MAX_NUMBER, validate_number

ALPHABET = string.ascii_uppercase + string.digits


def new_number(letter: str) -> str:
    """A number for what is given none: a letter and 8 capitals or digits."""
    return letter + "".join(secrets.choice(ALPHABET) for _ in range(8))


class Entity(models.Model):
    """What a vendor has. Properties are what its software keeps here under names of its own."""

    LETTER = ""  # that numbers begin with which we make

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="licensing_%(class)ss")
    active = models.BooleanField(default=True)
    properties = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class NumberedEntity(Entity):
    number = models.CharField(max_length=MAX_NUMBER, validators=[validate_number], blank=True)

    class Meta(Entity.Meta):
        abstract = True
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["merchant", "number"], name="%(app_label)s_%(class)s_number_is_unique")
        ]

    def __str__(self):
        return self.number

    def save(self, *args, **kwargs):
        self.number = self.number or new_number(self.LETTER)
        super().save(*args, **kwargs)


class LicensingModel(models.TextChoices):
    """How a module tells whether its licenses are valid (licensing/validation/)."""

    TRY_AND_BUY = "TryAndBuy", "Try & Buy"
    SUBSCRIPTION = "Subscription"
    RENTAL = "Rental"
    FLOATING = "Floating"
    MULTI_FEATURE = "MultiFeature", "Multi-Feature"
    PAY_PER_USE = "PayPerUse", "Pay-per-Use"
    QUOTA = "Quota"
    NODE_LOCKED = "NodeLocked", "Node-Locked"


class LicenseType(models.TextChoices):
    FEATURE = "FEATURE", "Feature"
    TIMEVOLUME = "TIMEVOLUME", "Time volume"
    FLOATING = "FLOATING", "Floating"
    QUANTITY = "QUANTITY", "Quantity"


class Period(models.TextChoices):
    DAY = "DAY", "days"
    WEEK = "WEEK", "weeks"
    MONTH = "MONTH", "months"
    YEAR = "YEAR", "years"


class Currency(models.TextChoices):
    EUR = "EUR"
    USD = "USD"


class LicensingProduct(NumberedEntity):
    LETTER = "P"

    class VatMode(models.TextChoices):
        GROSS = "GROSS", "gross"
        NET = "NET", "net"

    name = models.CharField(max_length=200)
    version = models.CharField(max_length=100, blank=True)
    description = models.TextField(blank=True)
    licensing_info = models.TextField("licensing information", blank=True)
    licensee_auto_create = models.BooleanField(
        "make licensees",
        default=False,
        help_text="A licensee that is not known is made when it is validated for the first time.",
    )
    vat_mode = models.CharField("VAT mode", max_length=5, choices=VatMode, blank=True)
    clear_mark_on_validation = models.BooleanField(
        "adopt by validation",
        default=True,
        help_text="A marked licensee that a licensee’s key validates is its customer’s for good: the mark is cleared, "
        "and nobody can transfer its licenses away any more.",
    )

    # As answers tell them (licensing/serializers.py).
    discounts = models.JSONField(default=list, blank=True)

    def __str__(self):
        return f"{self.name} ({self.number})"

    def get_absolute_url(self) -> str:
        return reverse("licensed-product", args=[self.pk])


class ProductModule(NumberedEntity):
    LETTER = "M"

    class NodeSecretMode(models.TextChoices):
        PREDEFINED = "PREDEFINED", "predefined"
        CLIENT = "CLIENT", "learned from clients"

    product = models.ForeignKey(LicensingProduct, models.CASCADE, related_name="modules")
    name = models.CharField(max_length=200)
    licensing_model = models.CharField(max_length=20, choices=LicensingModel)
    max_checkout_validity = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="Of Floating: in seconds."
    )
    yellow_threshold = models.PositiveIntegerField(null=True, blank=True, help_text="Of Rental: in days.")
    red_threshold = models.PositiveIntegerField(null=True, blank=True, help_text="Of Rental: in days.")
    node_secret_mode = models.CharField(
        max_length=10, choices=NodeSecretMode, blank=True, help_text="Of Node-Locked: where its secrets come from."
    )

    def __str__(self):
        return f"{self.name} ({self.number})"

    def get_absolute_url(self) -> str:
        return self.product.get_absolute_url()


class Terms(models.Model):
    """What a license grants and costs. A license has its template's of the time when it was made."""

    hidden = models.BooleanField(default=False)
    time_volume = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    time_volume_period = models.CharField(max_length=5, choices=Period, blank=True, help_text="Empty: days.")
    max_sessions = models.PositiveIntegerField(null=True, blank=True)
    quantity = models.BigIntegerField(null=True, blank=True, validators=[MinValueValidator(-1)])
    grace_period = models.BooleanField(null=True, blank=True)
    price = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    currency = models.CharField(max_length=3, choices=Currency, blank=True)

    TERMS = (
        *("hidden", "time_volume", "time_volume_period", "max_sessions", "quantity", "grace_period"),
        *("price", "currency"),
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(price=None, currency="") | Q(price=0) | (Q(price__isnull=False) & ~Q(currency="")),
                name="%(app_label)s_%(class)s_price_has_currency",
                violation_error_message="A price above 0 needs a currency, and a currency needs a price.",
            )
        ]


class LicenseTemplate(Terms, NumberedEntity):
    LETTER = "E"

    module = models.ForeignKey(ProductModule, models.CASCADE, related_name="templates")
    name = models.CharField(max_length=200)
    license_type = models.CharField(max_length=10, choices=LicenseType)
    automatic = models.BooleanField(default=False, help_text="Each new licensee gets one.")
    hide_licenses = models.BooleanField(default=False)

    class Meta(NumberedEntity.Meta):
        constraints = [*NumberedEntity.Meta.constraints, *Terms.Meta.constraints]

    def __str__(self):
        return f"{self.name} ({self.number})"

    def get_absolute_url(self) -> str:
        return self.module.get_absolute_url()

    @property
    def terms(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.TERMS}
