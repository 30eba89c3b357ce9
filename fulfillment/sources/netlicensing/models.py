"""NetLicensing as a source: accounts, license packages and the licenses issued."""

from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import FulfillmentMethod
from merchants.models import Merchant
from merchants.numbers import MAX_NUMBER, validate_number
from orders.models import OrderItem
from outbound.models.upstreams import Upstream
from vault.fields import EncryptedTextField
from work.models import CALLOUTS, Retryable, database_now


class LicensingAccount(Upstream):
    """A merchant's account at a NetLicensing service, Keywell's own or any other."""

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="licensing_accounts")
    name = models.CharField(max_length=100)
    address = models.CharField(max_length=1000, blank=True, help_text=_("Leave empty for Keywell’s own service."))
    api_key = EncryptedTextField(_("API key"), bound_to=("merchant_id",))
    timeout = models.PositiveSmallIntegerField(
        _("time limit"),
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text=_("Seconds to wait for a complete answer, at most 20."),
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["merchant", "name"], name="licensing_account_name_is_unique"),
        ]

    def get_absolute_url(self) -> str:
        return reverse("licensing-account", args=[self.pk])

    @property
    def is_own(self) -> bool:
        return not self.address

    @property
    def url(self) -> str:
        return (self.address or settings.LICENSING_URL).rstrip("/")

    @property
    def host(self) -> str:
        return gettext("Keywell’s own service") if self.is_own else urlsplit(self.address).netloc

    def serves(self) -> Q:
        return Q(item__product__fulfillment_methods__licensepackagemethod__license_package__account=self)


class LicensePackage(models.Model):
    """The license templates, with quantities, that a product's licensees get."""

    class Start(models.TextChoices):
        NONE = "none", _("NetLicensing’s default")
        PAYMENT = "payment", _("When the order is paid")
        NOW = "now", _("When the licenses are added")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="license_packages")
    account = models.ForeignKey(LicensingAccount, models.PROTECT, related_name="packages")
    name = models.CharField(max_length=100)
    product_number = models.CharField(max_length=MAX_NUMBER, validators=[validate_number])
    start_date = models.CharField(_("start of the licenses"), max_length=10, choices=Start, default=Start.NONE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["merchant", "name"], name="license_package_name_is_unique")]

    def __str__(self):
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("license-package", args=[self.account_id, self.pk])

    def clean(self):
        if self.account_id and self.merchant_id and self.account.merchant_id != self.merchant_id:
            raise ValidationError(
                {
                    "account": gettext("“{account}” belongs to {merchant}.").format(
                        account=self.account, merchant=self.account.merchant
                    )
                }
            )

    def get_start_date(self, item: OrderItem) -> str:
        """The `startDate` to send. Empty: send none."""
        if self.start_date == self.Start.PAYMENT and item.order.paid_at:
            return f"{item.order.paid_at:%Y-%m-%dT%H:%M:%S}.000Z"
        return "now" if self.start_date == self.Start.NOW else ""


class PackagedTemplate(models.Model):
    package = models.ForeignKey(LicensePackage, models.CASCADE, related_name="templates")
    position = models.PositiveSmallIntegerField()
    number = models.CharField(max_length=MAX_NUMBER, validators=[validate_number])
    quantity = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["package", "position"], name="one_packaged_template_per_position")
        ]

    def __str__(self):
        return f"{self.quantity} × {self.number}"


class IssuedLicense(models.Model):
    """A license that was or is about to be added for a unit of an item.

    The row is saved before the request is sent, so that retries and refunds find every license that may exist.
    """

    item = models.ForeignKey(OrderItem, models.CASCADE, related_name="issued_licenses")
    unit = models.PositiveIntegerField()
    account = models.ForeignKey(LicensingAccount, models.SET_NULL, null=True, related_name="issued_licenses")
    product_number = models.CharField(max_length=MAX_NUMBER)
    template_number = models.CharField(max_length=MAX_NUMBER)
    start_date = models.CharField(max_length=30, blank=True)
    number = models.CharField(max_length=MAX_NUMBER, help_text=_("License number. A transfer keeps it."))
    # False once the service rejected an attempt: the next one plans again, with the package as it is then.
    is_planned = models.BooleanField(default=True)
    noted_at = models.DateTimeField(db_default=Now(), editable=False)
    deactivated_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["account", "number"], name="a_license_is_issued_once"),
        ]

    def __str__(self):
        return self.number


class Deactivation(Retryable):
    """The work of deactivating a refunded item's licenses or, if the refund is undone, of reactivating them."""

    TASK = "fulfillment.sources.netlicensing.tasks.deactivate"
    queue = CALLOUTS

    class Status(models.TextChoices):
        QUEUED = "queued", _("Queued")
        DONE = "deactivated", _("Done")
        UNDONE = "activated", _("Undone")
        FAILED = "failed", _("Failed")

    # How long it is retried.
    FAILURE_TIMEOUT = timedelta(days=1)

    item = models.OneToOneField(OrderItem, models.CASCADE, related_name="deactivation")
    is_undoing = models.BooleanField(default=False, db_default=False, editable=False)
    status = models.CharField(max_length=15, choices=Status, default=Status.QUEUED)

    class Meta(Retryable.Meta):
        pass

    def __str__(self):
        return gettext("Deactivation of {item}").format(item=self.item)

    @property
    def is_last_attempt(self) -> bool:
        return self.created_at <= database_now() - self.FAILURE_TIMEOUT


class LicensePackageMethod(FulfillmentMethod):
    SOURCE, PLACE = "netlicensing", "license_package"

    license_package = models.ForeignKey(LicensePackage, models.PROTECT, related_name="fulfillment_methods")
