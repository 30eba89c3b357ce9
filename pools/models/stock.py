from django.contrib.humanize.templatetags.humanize import intcomma
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.db.models import Case, F, OuterRef, Q, Subquery, Sum, When
from django.db.models.functions import Coalesce, Now
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from merchants.models import MAX_ACTOR, Merchant
from orders.license_texts import loose_fingerprint
from orders.models import OrderItem
from vault.fields import EncryptedTextField
from vault.fingerprints import fingerprint


class LicensePoolQuerySet(models.QuerySet["LicensePool"]):
    def with_reserve_for(self, item: OrderItem):
        """The pools among the item's sources, in their order. Test pools have no reserve."""
        pools = self.filter(fulfillment_methods__product=item.product_id, merchant=item.order.merchant_id)
        return pools.order_by("fulfillment_methods__position")

    def of_vendor(self, merchant: Merchant):
        """Live and test pools, for a merchant or its sandbox."""
        return self.filter(Q(merchant=merchant.vendor_id) | Q(merchant__live=merchant.vendor_id))

    def in_use(self):
        """Pools that keys were imported into."""
        return self.filter(next_position__gt=0)

    def with_stock(self):
        """Annotate the numbers of keys that are `available` and `in_reserve`, without counting keys."""
        return self.annotate(available=_sum("available"), in_reserve=_sum("reserved"))

    def with_counts(self):
        """Annotate the numbers of keys: `imported` = `available` + `reserved` + `issued` + `withdrawn`."""
        pools = self.with_stock().annotate(
            reserved=F("in_reserve"), issued=_sum("issued"), withdrawn=_sum("withdrawn")
        )
        return pools.annotate(imported=F("available") + F("reserved") + F("issued") + F("withdrawn"))


def _sum(place: str) -> Coalesce:
    changes = StockChange.objects.filter(pool=OuterRef("pk")).order_by()
    return Coalesce(Subquery(changes.values("pool").annotate(sum=Sum(place)).values("sum")), 0)


class LicensePool(models.Model):
    class Notice(models.TextChoices):
        """The last notice about the stock since it was above the threshold."""

        NONE = "", _("nothing")
        LOW = "low", _("running low")
        EMPTY = "empty", _("empty")

    merchant = models.ForeignKey(Merchant, models.PROTECT, related_name="pools")
    live = models.OneToOneField(
        "self",
        models.CASCADE,
        null=True,
        blank=True,
        editable=False,
        related_name="test_pool",
        help_text=_("The pool that this one replaces in test orders."),
    )
    name = models.CharField(max_length=200)
    threshold = models.PositiveIntegerField(
        _("replenishment threshold"),
        default=10,
        help_text=_("We notify the recipients when this many keys or fewer are available."),
    )
    recipients = ArrayField(
        models.EmailField(),
        default=list,
        blank=True,
        help_text=_("E-mail addresses, separated by commas. Defaults to your owners and managers."),
    )
    reserve = models.PositiveIntegerField(
        default=0, help_text=_("This many keys are held back. Only people can issue them, from an order page.")
    )
    notified = models.CharField(max_length=5, choices=Notice, default=Notice.NONE, blank=True, editable=False)
    # Keys are issued in the order of their positions. No available key has a lower position than the hint, so the
    # search starts there and skips issued keys. See allocation.py for the rules for moving it.
    head_hint = models.BigIntegerField(default=0, editable=False)
    next_position = models.BigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = LicensePoolQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["merchant", "name"], name="pool_name_is_unique")]

    def __str__(self):
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("pool", args=[self.pk])

    @property
    def generates_codes(self) -> bool:
        """Whether it is a test pool without test keys, in place of which codes are generated."""
        return self.live_id is not None and not self.next_position

    def available_up_to(self, limit: int) -> int:
        """Count the available keys up to `limit`, so that the cost doesn't grow with the stock."""
        # Without the order, the planner may scan the table, including all issued keys.
        return self.keys.available().filter(position__gte=self.head_hint).order_by("position")[:limit].count()

    def get_recipients(self) -> list[str]:
        return self.recipients or self.merchant.notice_recipients()


class KeyBatch(models.Model):
    pool = models.ForeignKey(LicensePool, models.PROTECT, related_name="batches")
    key_count = models.PositiveIntegerField(editable=False)
    repeated = models.PositiveIntegerField(default=0, editable=False, help_text=_("Skipped: repeated in the file."))
    already_in_pool = models.PositiveIntegerField(
        default=0, editable=False, help_text=_("Skipped: already in the pool.")
    )
    already_in_other_pools = models.PositiveIntegerField(
        default=0, editable=False, help_text=_("Skipped: already in another pool of the merchant.")
    )
    unusable = models.PositiveIntegerField(
        default=0, editable=False, help_text=_("Skipped: these lines can’t be keys.")
    )
    file_name = models.CharField(max_length=255, blank=True)
    note = models.CharField(max_length=500, blank=True)
    imported_by = models.CharField(max_length=MAX_ACTOR)
    imported_at = models.DateTimeField(db_default=Now(), editable=False)
    # Undoing a batch deletes its keys, so they can be imported again.
    undone_at = models.DateTimeField(null=True, blank=True, editable=False)
    undone_by = models.CharField(max_length=MAX_ACTOR, blank=True, editable=False)

    class Meta:
        verbose_name_plural = _("key batches")

    def __str__(self):
        text = ngettext("{count} key imported on {date}", "{count} keys imported on {date}", self.key_count)
        date = date_format(timezone.localtime(self.imported_at), "DATE_FORMAT")
        return text.format(count=intcomma(self.key_count), date=date)

    def get_absolute_url(self) -> str:
        return reverse("pool-batches", args=[self.pool_id])

    @property
    def left_out(self) -> list[tuple[int, str]]:
        kinds = ("repeated", "already_in_pool", "already_in_other_pools", "unusable")
        return [(getattr(self, kind), gettext(kind.replace("_", " "))) for kind in kinds if getattr(self, kind)]


AVAILABLE = Q(item=None, withdrawn_at=None, reserved=False)
RESERVED = Q(item=None, withdrawn_at=None, reserved=True)


class LicenseKeyQuerySet(models.QuerySet["LicenseKey"]):
    def available(self):
        """Keys that are issued automatically, so without the reserve."""
        return self.filter(AVAILABLE)

    def reserved(self):
        return self.filter(RESERVED)

    def in_stock(self):
        return self.filter(AVAILABLE | RESERVED)

    def issued(self):
        return self.filter(item__isnull=False, withdrawn_at=None)

    def withdrawn(self):
        return self.filter(withdrawn_at__isnull=False)

    def with_text(self, text: str):
        """Keys equal to this text, ignoring case, white space and punctuation. Exact matches come first."""
        exact = Q(fingerprint=fingerprint(text.strip()))
        loose = loose_fingerprint(text)
        found = self.filter(exact | Q(loose_fingerprint=loose) if loose else exact)
        return found.order_by(Case(When(exact, then=0), default=1), "pk")

    def withdraw(self) -> int:
        """Permanently withdraw those of these keys that are in stock; return their number."""
        return self.in_stock().update(withdrawn_at=Now(), reserved=False)


class LicenseKey(models.Model):
    """One key of a pool: available or reserved; then issued to one unit of an order item, or withdrawn."""

    class WithdrawalReason(models.TextChoices):
        MERCHANT = "", _("by hand")
        REPLACED = "replaced", _("replaced by another key")
        REFUNDED = "refunded", _("its order was refunded")

    # Imports add up to a million rows, so each index and check is expensive. Lookups by pool use the unique constraint
    # instead of an index, and statement-level triggers instead of foreign keys keep keys in a batch of their pool.
    pool = models.ForeignKey(LicensePool, models.PROTECT, related_name="keys", db_index=False, db_constraint=False)
    batch = models.ForeignKey(KeyBatch, models.PROTECT, related_name="keys", db_constraint=False)
    position = models.BigIntegerField()
    code = EncryptedTextField(bound_to=("pool_id", "fingerprint"), editable=False)
    fingerprint = models.BinaryField(editable=False)
    loose_fingerprint = models.BinaryField(null=True, editable=False)
    hint = models.CharField(max_length=4, blank=True, editable=False)
    item = models.ForeignKey(
        OrderItem, models.PROTECT, null=True, blank=True, related_name="license_keys", db_index=False
    )
    unit = models.PositiveIntegerField(null=True, blank=True)
    issued_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_because = models.CharField(
        max_length=10, choices=WithdrawalReason, blank=True, default="", db_default="", editable=False
    )
    reserved = models.BooleanField(default=False, db_default=False, editable=False)

    objects = LicenseKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            # The fingerprint comes first, because we also search for it across pools.
            models.UniqueConstraint(fields=["fingerprint", "pool"], name="a_key_is_in_its_pool_once"),
            models.UniqueConstraint(
                fields=["item", "unit"], condition=Q(item__isnull=False, withdrawn_at=None), name="one_key_per_unit"
            ),
            models.CheckConstraint(
                condition=Q(item=None, unit=None, issued_at=None)
                | Q(item__isnull=False, unit__gte=1, issued_at__isnull=False),
                name="an_issued_key_has_a_unit_and_a_time",
            ),
            models.CheckConstraint(
                condition=Q(reserved=False) | Q(item=None, withdrawn_at=None), name="the_reserve_is_in_stock"
            ),
        ]
        indexes = [
            # Only partial indexes may order by position. The planner could walk a full one over every issued key.
            models.Index(fields=["pool", "position"], condition=AVAILABLE, name="key_available"),
            # Compared for equality only. A B-tree takes twice the time of an import.
            HashIndex(fields=["loose_fingerprint"], name="key_loose"),
            models.Index(fields=["pool", "issued_at"], condition=Q(item__isnull=False), name="key_issued"),
            models.Index(fields=["pool", "position"], condition=RESERVED, name="key_reserved"),
            models.Index(
                fields=["pool", "withdrawn_at"], condition=Q(withdrawn_at__isnull=False), name="key_withdrawn"
            ),
        ]

    def __str__(self):
        return gettext("Key {pk} of {pool}").format(pk=self.pk, pool=self.pool)

    def get_absolute_url(self) -> str:
        return f"{reverse('pool-keys', args=[self.pool_id])}?key={self.pk}"

    @property
    def status(self) -> str:
        if self.withdrawn_at:
            return "withdrawn"
        if self.item_id:
            return "issued"
        return "reserved" if self.reserved else "available"


class StockChange(models.Model):
    """How a statement changed a pool's numbers of keys. The sums of all changes are the current numbers.

    A database trigger on the ledger adds a row per statement and pool (migration 0004), so sales never wait for each
    other, and every transaction sees the numbers of its snapshot. The sweep folds the rows of an hour into one
    (pools/ledger.py).
    """

    pool = models.ForeignKey(LicensePool, models.DO_NOTHING, related_name="changes", db_constraint=False)
    period = models.DateTimeField()  # the start of its hour in UTC; of its day or month after a while
    available = models.IntegerField()
    reserved = models.IntegerField()
    issued = models.IntegerField()
    withdrawn = models.IntegerField()
    added = models.IntegerField()  # keys that became available
    sold = models.IntegerField()  # available keys that were issued

    def __str__(self):
        return f"{self.pool_id} {self.period}"
