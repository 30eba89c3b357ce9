import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import or_

from babel import Locale
from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Count, Exists, Func, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Concat, Now, Upper

from merchants.addresses import same_address
from merchants.models import MAX_ACTOR, CheckoutPage, Merchant, Product
from orders.license_texts import distinctive, hint, letters, loose_fingerprint
from orders.localization import get_locale, supported_language
from orders.money import MoneyField
from vault.fields import EncryptedTextField
from vault.fingerprints import fingerprint

# In an address, what begins like this is an id; no number is reported that does (api/payment_serializers.py).
ID_PREFIX = "id:"
MAX_OTHER_PRODUCT = 200


def named(name: str, field: str) -> Q:
    """A filter for an order or item by what an address calls it: its number in this field, or `id:` and its id."""
    found = re.fullmatch(rf"{ID_PREFIX}(\d{{1,18}})", name, re.ASCII)
    return Q(pk=int(found[1])) if found else Q(**{field: name})


class ShortNumber(Func):
    """A number as people quote it, without punctuation, leading letters and zeros; null if nothing is left.

    A0012345678 is found as 12345678, K/77 as k 77.
    """

    template = (
        "NULLIF(regexp_replace(regexp_replace(lower(%(expressions)s), '[^[:alnum:]]+', '', 'g'), '^[a-z]*0*', ''), '')"
    )
    output_field = models.CharField(max_length=64)


class Fold(Func):
    """A text as customers are searched by: in lower case, without accents, apostrophes and invisible characters."""

    function = "orders_fold"
    output_field = models.TextField()


class FoldUmlauts(Func):
    """The same with a, o and u for ae, oe and ue, and a for aa: Müßig, Muessig and Mussig are one name."""

    function = "orders_fold_umlauts"
    output_field = models.TextField()


class CustomerText(Func):
    """A text folded both ways, for each to be found in it."""

    function = "orders_customer_text"
    output_field = models.TextField()


def _holds(word: str) -> Q:
    folds = [Fold, FoldUmlauts] if re.search("[ao]e|ue|aa", word, re.IGNORECASE) else [Fold]
    return reduce(or_, (Q(customer_text__contains=fold(Value(word))) for fold in folds))


class OrderQuerySet(models.QuerySet["Order"]):
    """What starts with `with_` looks orders up by something a customer may quote, each in an index of its own."""

    def with_number(self, *texts: str):
        """Orders of these numbers, quoted with or without punctuation, leading letters and zeros."""
        bare = {text.strip().lstrip("#") for text in texts} - {""}
        numbers = bare | {f"#{number}" for number in bare} | {text.strip() for text in texts}
        return self.filter(Q(number__in=numbers) | Q(short_number__in=[ShortNumber(Value(number)) for number in bare]))

    def with_email(self, *texts: str):
        """Orders whose customer has exactly one of these addresses, in any case and either spelling of its domain."""
        return self.filter(reduce(or_, (same_address("email", text) for text in texts)))

    def with_customer(self, *words: str):
        """Orders whose customer's address, name and company hold all these words, in any case, without accents."""
        # Folded by the database, as the column was: languages differ in what that means.
        return self.filter(*(_holds(word.strip()) for word in words))

    def with_code(self, text: str):
        return self.with_code_fingerprint(fingerprint(text.strip()))

    def with_code_fingerprint(self, *digests: bytes):
        return self.filter(pk__in=ActivationCode.all_codes.filter(fingerprint__in=digests).values("item__order"))

    def with_loose_fingerprint(self, *digests: bytes):
        """Orders that hold, or held, a license text with the same letters and digits: see license_texts.py."""
        return self.filter(pk__in=ActivationCode.all_codes.filter(loose_fingerprint__in=digests).values("item__order"))

    def with_hint(self, text: str):
        return self.filter(pk__in=ActivationCode.all_codes.filter(hint__iexact=text).values("item__order"))

    def with_product(self, *products: Product | int):
        return self.filter(Exists(OrderItem.objects.filter(order=OuterRef("pk"), product__in=products)))

    def with_other_product(self, name: str):
        """Orders in which something of this name is not ours."""
        return self.filter(pk__in=OtherItem.objects.filter(product=name, quantity__gte=1).values("order"))

    def unmapped(self):
        """Orders in which nothing is ours."""
        return self.filter(~Exists(OrderItem.objects.filter(order=OuterRef("pk"))))

    def with_link_token(self, token: str):
        return self.filter(link_fingerprint=fingerprint(token))


class Order(models.Model):
    class Status(models.TextChoices):
        UNPAID = "unpaid"
        PAID = "paid"
        DELETED = "deleted"  # refunded in full, or never paid
        TERMINATED = "terminated"

    merchant = models.ForeignKey(Merchant, models.PROTECT, related_name="orders")
    number = models.CharField(max_length=64)
    short_number = models.GeneratedField(
        expression=ShortNumber("number"), output_field=models.CharField(max_length=64, null=True), db_persist=True
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.UNPAID)
    reported_at = models.DateTimeField(db_default=Now(), editable=False)
    reported_by = models.CharField(max_length=MAX_ACTOR, blank=True, editable=False)
    paid_at = models.DateTimeField(null=True, blank=True)
    utc_offset = models.SmallIntegerField(
        default=0, db_default=0, editable=False, help_text="Minutes that the shop’s clock is ahead of UTC."
    )
    ended_at = models.DateTimeField(null=True, editable=False, help_text="When it became deleted or terminated.")
    reinstated_at = models.DateTimeField(
        null=True, editable=False, help_text="When the shop last took a full refund back, as it says."
    )
    currency = models.CharField(max_length=3)
    language = models.CharField(max_length=35)
    checkout_page = models.ForeignKey(CheckoutPage, models.PROTECT, related_name="orders")
    email = models.EmailField("customer's e-mail address")
    first_name = models.CharField(max_length=200, blank=True)
    last_name = models.CharField(max_length=200, blank=True)
    company = models.CharField(max_length=200, blank=True)
    country = models.CharField(max_length=2, blank=True)
    # What customers are searched by: any part of address, name or company, without case and accents.
    customer_text = models.GeneratedField(
        expression=CustomerText(
            Concat("email", Value(" "), "first_name", Value(" "), "last_name", Value(" "), "company")
        ),
        output_field=models.TextField(),
        db_persist=True,
    )
    additional_parameters = models.JSONField(default=dict, blank=True)
    # What the shop reported (orders/content.py): a digest of each field by its pointer.
    content = models.JSONField(default=dict, editable=False)
    # Of the customer's own page; none once it is revoked.
    link_token = EncryptedTextField(bound_to=("merchant_id", "link_fingerprint"), null=True, editable=False)
    link_fingerprint = models.BinaryField(unique=True, null=True, editable=False)

    objects = OrderQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["merchant", "number"], name="order_number_is_unique"),
            models.CheckConstraint(
                condition=~Q(status="paid") | Q(paid_at__isnull=False), name="a_paid_order_has_a_time_of_payment"
            ),
            models.CheckConstraint(
                condition=Q(link_token__isnull=True, link_fingerprint__isnull=True)
                | Q(link_token__isnull=False, link_fingerprint__isnull=False),
                name="a_link_is_whole_or_revoked",
            ),
        ]
        indexes = [
            models.Index(fields=["short_number"], name="order_short_number"),
            models.Index(Upper("email"), name="order_email"),
            models.Index(fields=["merchant", "-paid_at", "-id"], name="order_by_payment"),
            models.Index(fields=["merchant", "-reported_at", "-id"], name="order_by_report"),
            models.Index(
                fields=["merchant", "status", "-reported_at", "-id"],
                condition=~Q(status="paid"),
                name="order_not_paid",
            ),
            # What is to be purged one day (fulfillment/retention.py).
            models.Index(
                fields=["paid_at"],
                condition=Q(status="paid") & ~Q(additional_parameters={}),
                name="order_parameters_of_paid",
            ),
            models.Index(
                fields=["ended_at"],
                condition=Q(status__in=["deleted", "terminated"]) & ~Q(additional_parameters={}),
                name="order_parameters_of_ended",
            ),
            GinIndex("merchant_id", OpClass("customer_text", name="gin_trgm_ops"), name="order_customer"),
        ]

    def __str__(self):
        return f"Order {self.number}"

    @property
    def customer_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def spoken(self) -> str:
        return supported_language(self.language)

    @property
    def locale(self) -> Locale:
        return get_locale(self.language, self.country)

    @property
    def url(self) -> str:
        """The customer's own page, behind a link that cannot be guessed; empty once it is revoked."""
        return f"{settings.BASE_URL}/o/{self.link_token}/" if self.link_token else ""

    @property
    def paid_by_shop_clock(self) -> datetime | None:
        """When it was paid, in the time zone in which the shop reported it: that is the day its customer knows."""
        return self.paid_at and self.paid_at.astimezone(timezone(timedelta(minutes=self.utc_offset)))

    @property
    def key(self) -> str:
        """What the order is called in addresses: its number, or its id if the number would not get through."""
        safe = "/" not in self.number and "\\" not in self.number and not self.number.startswith(ID_PREFIX)
        return self.number if safe else f"{ID_PREFIX}{self.pk}"

    def codes(self) -> models.QuerySet["ActivationCode"]:
        return ActivationCode.objects.filter(item__order=self).order_by("item_id", "unit")

    def total(self) -> Decimal:
        """Of all that was sold in it, with what is not ours."""
        rows = (self.items.all(), self.other_items.all())
        return sum((row.aggregate(total=Sum("total_price"))["total"] or Decimal(0) for row in rows), Decimal(0))

    def left_to_refund(self) -> Decimal:
        refunded = self.refunds.filter(undone_at=None).aggregate(sum=Sum("amount"))["sum"] or 0
        return max(self.total() - refunded, Decimal(0))


class Subscription(models.Model):
    class Type(models.TextChoices):
        AUTO_RENEWING = "AR", "renews itself"
        MANUAL_RENEWAL = "PMR", "renewed by the customer"

    merchant = models.ForeignKey(Merchant, models.PROTECT, related_name="subscriptions")
    reference = models.CharField(max_length=64, help_text="The shop's identifier.")
    type = models.CharField(max_length=3, choices=Type)
    period = models.CharField(max_length=8, help_text="ISO 8601: P1Y, P3M, P2W, P30D.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["merchant", "reference"], name="subscription_is_unique")]

    def __str__(self):
        return f"Subscription {self.reference}"


class OrderItemQuerySet(models.QuerySet["OrderItem"]):
    def with_code_count(self):
        return self.annotate(code_count=Count("activation_codes", filter=Q(activation_codes__withdrawn_at=None)))


class OrderItem(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="items")
    reference = models.CharField(max_length=64, help_text="The shop's number of the item in the order.")
    product = models.ForeignKey(Product, models.PROTECT, related_name="order_items")
    quantity = models.PositiveIntegerField()
    units = models.PositiveIntegerField(help_text="How many activation codes the item needs.")
    total_price = MoneyField()
    subscription = models.ForeignKey(Subscription, models.PROTECT, null=True, blank=True, related_name="order_items")
    parent_order = models.CharField(
        max_length=64, blank=True, help_text="Of a renewal: the number of the subscription's first order."
    )

    objects = OrderItemQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["order", "reference"], name="item_reference_is_unique"),
            models.CheckConstraint(condition=Q(quantity__gte=1, units__gte=1), name="an_item_has_units"),
        ]

    def __str__(self):
        return f"Item {self.reference} of {self.order}"

    def missing_units(self) -> list[int]:
        """The numbers, from 1, of the units that have no activation code yet."""
        filled = set(self.activation_codes.values_list("unit", flat=True))
        return [unit for unit in range(1, self.units + 1) if unit not in filled]


class OtherItemQuerySet(models.QuerySet["OtherItem"]):
    def mappable(self):
        """Those that have a product by now, its key as `product_id`."""
        known = Product.objects.filter(merchant=OuterRef("order__merchant"), sku=OuterRef("product"))
        sold = self.filter(~Q(product=""), quantity__gte=1, total_price__gte=0)
        return sold.annotate(product_id=Subquery(known.values("pk"))).exclude(product_id=None)


class OtherItem(models.Model):
    """Something in an order that is not ours: a product we don’t know, a discount, shipping. It gets no license."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="other_items")
    reference = models.CharField(max_length=64)
    product = models.CharField(max_length=MAX_OTHER_PRODUCT, blank=True, help_text="What the shop calls it.")
    quantity = models.IntegerField()
    total_price = MoneyField()
    # As reported, for the day it has a product.
    subscription = models.JSONField(null=True, editable=False)

    objects = OtherItemQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["product"], condition=Q(quantity__gte=1), name="other_item_product")]
        constraints = [models.UniqueConstraint(fields=["order", "reference"], name="other_item_reference_is_unique")]

    def __str__(self):
        return f"Item {self.reference} of {self.order}, not ours"

    def reported(self, product: Product) -> dict:
        return {
            "item": self.reference,
            "product": product,
            "quantity": self.quantity,
            "total_price": str(self.total_price),
            "subscription": self.subscription,
        }


class RefusedReport(models.Model):
    """A shop's report that was refused, for its merchant to see. Holds nothing about the customer but the number."""

    class Kind(models.TextChoices):
        PAYMENT = "payment"
        REFUND = "refund"

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="refused_reports")
    kind = models.CharField(max_length=10, choices=Kind)
    order_number = models.CharField(max_length=64, blank=True)
    status = models.PositiveSmallIntegerField(help_text="Of the answer that refused it.")
    reason = models.CharField(max_length=500)
    errors = models.JSONField(default=list, help_text="Which fields were wrong, and how.")
    reported_by = models.CharField(max_length=MAX_ACTOR)
    # The same report again is counted here.
    digest = models.BinaryField(editable=False)
    times = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(db_default=Now(), editable=False)
    last_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["merchant", "-last_at", "-id"], name="refused_report_by_time"),
            models.Index(fields=["last_at"], name="refused_report_to_purge"),
        ]
        constraints = [models.UniqueConstraint(fields=["merchant", "digest"], name="a_refused_report_is_one_row")]

    def __str__(self):
        return f"Refused {self.kind} of order {self.order_number}"


LIVE = Q(withdrawn_at=None)


class LiveCodeManager(models.Manager["ActivationCode"]):
    """Those that count: what was withdrawn is shown and sent to nobody unless asked for by name."""

    def get_queryset(self):
        return super().get_queryset().filter(LIVE)


class ActivationCode(models.Model):
    """The license information of one unit of an order item, as the customer gets it."""

    item = models.ForeignKey(OrderItem, models.PROTECT, related_name="activation_codes")
    unit = models.PositiveIntegerField()
    code = EncryptedTextField(bound_to=("item_id", "unit", "fingerprint"))
    fingerprint = models.BinaryField(db_index=True, editable=False)
    loose_fingerprint = models.BinaryField(
        null=True, db_index=True, editable=False, help_text="Of its letters and digits: see license_texts.py."
    )
    hint = models.CharField(max_length=4, blank=True, editable=False)
    source = models.CharField(max_length=20, help_text="Where it came from.")
    saved_by = models.CharField(max_length=MAX_ACTOR, blank=True, help_text="Who entered it, if a person did.")
    saved_at = models.DateTimeField(db_default=Now(), editable=False)
    seen_at = models.DateTimeField(
        null=True, editable=False, help_text="When its customer first had it shown on the order's page."
    )
    # It does not count any more: its unit has another code, or its key went back to stock.
    withdrawn_at = models.DateTimeField(null=True, editable=False)
    withdrawn_by = models.CharField(max_length=MAX_ACTOR, blank=True, default="", db_default="", editable=False)
    replaced_by = models.OneToOneField("self", models.PROTECT, null=True, editable=False, related_name="replaces")

    objects = LiveCodeManager()
    all_codes = models.Manager()  # noqa: DJ012 (a manager, too)

    class Meta:
        ordering = ["item", "unit"]
        indexes = [models.Index(Upper("hint"), name="code_hint")]
        constraints = [
            models.UniqueConstraint(fields=["item", "unit"], condition=LIVE, name="one_code_per_unit"),
            models.CheckConstraint(
                condition=Q(replaced_by=None) | Q(withdrawn_at__isnull=False), name="a_replaced_code_is_withdrawn"
            ),
            models.CheckConstraint(condition=Q(unit__gte=1), name="units_count_from_one"),
        ]

    def __str__(self):
        return f"Code {self.unit} of {self.item}"

    def ends_with(self, ending: str) -> bool:
        """Whether the last letters and digits of the license are these, in lower case."""
        return letters(distinctive(self.code)).endswith(ending)

    @classmethod
    def build(cls, text: str, **fields) -> "ActivationCode":
        loose = loose_fingerprint(text)
        return cls(code=text, fingerprint=fingerprint(text), loose_fingerprint=loose, hint=hint(text), **fields)


class Refund(models.Model):
    order = models.ForeignKey(Order, models.PROTECT, related_name="refunds")
    amount = MoneyField()
    reference = models.CharField(max_length=64, blank=True, help_text="The shop's number of the refund.")
    refunded_at = models.DateTimeField(db_default=Now(), editable=False)
    refunded_by = models.CharField(max_length=MAX_ACTOR)
    undone_at = models.DateTimeField(null=True, editable=False)
    undone_by = models.CharField(max_length=MAX_ACTOR, blank=True, default="", db_default="", editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["order", "reference"], condition=~Q(reference=""), name="refund_reference_is_unique"
            ),
            models.CheckConstraint(condition=Q(amount__gte=0), name="a_refund_is_not_negative"),
        ]

    def __str__(self):
        return f"Refund of {self.amount} {self.order.currency}, {self.order}"


class OrderEvent(models.Model):
    """What a person did to an order and no other row tells."""

    class Kind(models.TextChoices):
        ADDRESS_CORRECTED = "address", "address corrected"
        CODE_REVEALED = "reveal", "code revealed"
        RETRIED = "retry", "fulfillment tried again"
        LINK_REVOKED = "revoke", "customer's link revoked"
        LINK_RENEWED = "renew", "customer's link renewed"
        ERASED = "erased", "customer’s data erased"
        REPLACED = "replaced", "code replaced"
        RETURNED = "returned", "code returned to stock"
        REINSTATED = "reinstated", "full refund undone"
        MAPPED = "mapped", "items mapped to products"
        MAY_HAVE_ARRIVED = "unsure", "e-mail may have arrived"
        CODE_REFUSED = "refused", "held code refused"
        CODE_RELEASED = "released", "held code released"

    order = models.ForeignKey(Order, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind)
    item = models.ForeignKey(OrderItem, models.CASCADE, null=True, blank=True, related_name="+")
    code = models.ForeignKey(ActivationCode, models.CASCADE, null=True, blank=True, related_name="+")
    details = models.JSONField(
        default=dict,
        help_text="Of a correction: the address before and after. Of a retry: how it stood. Of a replacement: why.",
    )
    happened_at = models.DateTimeField(db_default=Now(), editable=False)
    happened_by = models.CharField(max_length=MAX_ACTOR)

    def __str__(self):
        return f"{self.order}: {self.get_kind_display()}"
