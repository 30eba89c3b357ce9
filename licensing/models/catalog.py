import secrets
import string

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from merchants.models import Merchant
from merchants.numbers import MAX_NUMBER, validate_number

ALPHABET = string.ascii_uppercase + string.digits


def new_number(letter: str) -> str:
    """Generate a number: a letter, then 8 capitals or digits."""
    return letter + "".join(secrets.choice(ALPHABET) for _ in range(8))


class Entity(models.Model):
    """An object of a vendor. `properties` are custom fields that the vendor's software sets."""

    LETTER = ""  # first letter of generated numbers

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
    """How a module decides whether its licenses are valid (licensing/validation/)."""

    TRY_AND_BUY = "TryAndBuy", _("Try & Buy")
    SUBSCRIPTION = "Subscription", _("Subscription")
    RENTAL = "Rental", _("Rental")
    FLOATING = "Floating", _("Floating")
    MULTI_FEATURE = "MultiFeature", _("Multi-Feature")
    PAY_PER_USE = "PayPerUse", _("Pay-per-Use")
    QUOTA = "Quota", _("Quota")
    NODE_LOCKED = "NodeLocked", _("Node-Locked")


class LicenseType(models.TextChoices):
    FEATURE = "FEATURE", _("Feature")
    TIMEVOLUME = "TIMEVOLUME", _("Time volume")
    FLOATING = "FLOATING", _("Floating")
    QUANTITY = "QUANTITY", _("Quantity")


class Period(models.TextChoices):
    DAY = "DAY", _("Days")
    WEEK = "WEEK", _("Weeks")
    MONTH = "MONTH", _("Months")
    YEAR = "YEAR", _("Years")


class Currency(models.TextChoices):
    EUR = "EUR"
    USD = "USD"


class LicensingProduct(NumberedEntity):
    LETTER = "P"

    class VatMode(models.TextChoices):
        GROSS = "GROSS", _("Gross")
        NET = "NET", _("Net")

    name = models.CharField(max_length=200)
    version = models.CharField(max_length=100, blank=True)
    description = models.TextField(blank=True)
    licensing_info = models.TextField(_("licensing information"), blank=True)
    licensee_auto_create = models.BooleanField(
        _("create licensees"),
        default=False,
        help_text=_("Create unknown licensees on their first validation."),
    )
    vat_mode = models.CharField(_("VAT mode"), max_length=5, choices=VatMode, blank=True)
    clear_mark_on_validation = models.BooleanField(
        _("adopt by validation"),
        default=True,
        help_text=_(
            "When a key with the licensee role validates a licensee marked for transfer, remove the mark. "
            "Its licenses can’t be transferred away afterwards."
        ),
    )

    # In the format of responses (licensing/serializers.py).
    discounts = models.JSONField(default=list, blank=True)

    def __str__(self):
        return f"{self.name} ({self.number})"

    def get_absolute_url(self) -> str:
        return reverse("licensed-product", args=[self.pk])


class ProductModule(NumberedEntity):
    LETTER = "M"

    class NodeSecretMode(models.TextChoices):
        PREDEFINED = "PREDEFINED", _("Predefined")
        CLIENT = "CLIENT", _("Learned from clients")

    product = models.ForeignKey(LicensingProduct, models.CASCADE, related_name="modules")
    name = models.CharField(max_length=200)
    licensing_model = models.CharField(max_length=20, choices=LicensingModel)
    max_checkout_validity = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text=_("Floating only, in seconds.")
    )
    yellow_threshold = models.PositiveIntegerField(null=True, blank=True, help_text=_("Rental only, in days."))
    red_threshold = models.PositiveIntegerField(null=True, blank=True, help_text=_("Rental only, in days."))
    node_secret_mode = models.CharField(
        max_length=10,
        choices=NodeSecretMode,
        blank=True,
        help_text=_("Node-Locked only: where node secrets come from."),
    )

    def __str__(self):
        return f"{self.name} ({self.number})"

    def get_absolute_url(self) -> str:
        return self.product.get_absolute_url()


class Terms(models.Model):
    """What a license grants and costs. A license copies the terms of its template when it is created."""

    hidden = models.BooleanField(default=False)
    time_volume = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    time_volume_period = models.CharField(max_length=5, choices=Period, blank=True, help_text=_("Days if empty."))
    max_sessions = models.PositiveIntegerField(null=True, blank=True)
    quantity = models.BigIntegerField(null=True, blank=True, validators=[MinValueValidator(-1)])
    grace_period = models.BooleanField(null=True, blank=True)
    price = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    currency = models.CharField(max_length=3, choices=Currency, blank=True)

    DURATIONS = {
        Period.DAY: ngettext_lazy("%(count)d day", "%(count)d days", "count"),
        Period.WEEK: ngettext_lazy("%(count)d week", "%(count)d weeks", "count"),
        Period.MONTH: ngettext_lazy("%(count)d month", "%(count)d months", "count"),
        Period.YEAR: ngettext_lazy("%(count)d year", "%(count)d years", "count"),
    }
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
                violation_error_message=_("A price above 0 needs a currency, and a currency needs a price."),
            )
        ]

    @property
    def duration(self) -> str:
        """The time volume in words, such as “3 months”."""
        return self.DURATIONS[Period(self.time_volume_period or Period.DAY)] % {"count": self.time_volume}


class LicenseTemplate(Terms, NumberedEntity):
    LETTER = "E"

    module = models.ForeignKey(ProductModule, models.CASCADE, related_name="templates")
    name = models.CharField(max_length=200)
    license_type = models.CharField(max_length=10, choices=LicenseType)
    automatic = models.BooleanField(default=False, help_text=_("Give a license to each new licensee."))
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
