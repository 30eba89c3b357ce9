import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Any

from babel import Locale
from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Count, Exists, Func, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce, Concat, Now, StrIndex, Upper
from django.db.models.lookups import GreaterThan
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.addresses import same_address
from merchants.models import MAX_ACTOR, CheckoutPage, Merchant, Product
from orders.license_texts import distinctive, hint, letters, loose_fingerprint
from orders.localization import get_locale, show_money, supported_language
from orders.money import MoneyField
from vault.fields import EncryptedTextField
from vault.fingerprints import fingerprint
from work import request_ids

# In a URL, this prefix marks an id. The API rejects numbers that look like this (fulfillment/payments.py).
ID_PREFIX = "id:"
MAX_OTHER_PRODUCT = 200


def named(name: str, field: str) -> Q:
    """Filter orders or items by their name in a URL: the value of `field`, or `id:` followed by the id."""
    found = re.fullmatch(rf"{ID_PREFIX}(\d{{1,18}})", name, re.ASCII)
    return Q(pk=int(found[1])) if found else Q(**{field: name})


class ShortNumber(Func):
    """An order number without punctuation, leading letters and zeros, in lower case; null if nothing is left.

    It finds orders by the numbers that people quote: A0012345678 as 12345678, K/77 as “k 77”.
    """

    template = (
        "NULLIF(regexp_replace(regexp_replace(lower(%(expressions)s), '[^[:alnum:]]+', '', 'g'), '^[a-z]*0*', ''), '')"
    )
    output_field = models.CharField(max_length=64)


class Fold(Func):
    """Normalizes text for customer search: lower case, without accents, apostrophes and invisible characters."""

    function = "orders_fold"
    output_field = models.TextField()


class FoldUmlauts(Func):
    """Like Fold, and with ae, oe, ue and aa replaced by a, o, u and a, so Müßig, Muessig and Mussig are the same."""

    function = "orders_fold_umlauts"
    output_field = models.TextField()


class CustomerText(Func):
    """The text in both folded forms, so that a search for either finds it."""

    function = "orders_customer_text"
    output_field = models.TextField()


class LettersPattern(Func):
    """A pattern for LIKE that matches texts with the same letters and digits, and with any other characters between.

    Trigrams with punctuation, such as those of “.com”, are in millions of texts. Reading their index entries takes
    longer than checking the texts that have the other trigrams.
    """

    template = "'%%%%' || regexp_replace(%(expressions)s, '[^[:alnum:]]+', '%%%%', 'g') || '%%%%'"
    output_field = models.TextField()


class Like(Func):
    template = "%(expressions)s"
    arg_joiner = " LIKE "
    output_field = models.BooleanField()


def _contains_word(word: str) -> Q:
    folds = [Fold, FoldUmlauts] if re.search("[ao]e|ue|aa", word, re.IGNORECASE) else [Fold]
    return reduce(or_, (_contains(fold(Value(word)), word) for fold in folds))


def _contains(folded: Func, word: str) -> Q:
    if not re.search(r"[^\W_]{3}", word):  # only has trigrams with punctuation
        return Q(customer_text__contains=folded)
    column = models.F("customer_text")
    return Q(Like(column, LettersPattern(folded)), GreaterThan(StrIndex(column, folded), 0))


class OrderQuerySet(models.QuerySet["Order"]):
    """The `with_` methods find orders by something a customer may quote. Each uses its own index."""

    def with_number(self, *texts: str):
        """Orders with these numbers, with or without punctuation, leading letters and zeros."""
        bare = {text.strip().lstrip("#") for text in texts} - {""}
        numbers = bare | {f"#{number}" for number in bare} | {text.strip() for text in texts}
        return self.filter(Q(number__in=numbers) | Q(short_number__in=[ShortNumber(Value(number)) for number in bare]))

    def with_email(self, *texts: str):
        """Orders with one of these addresses, in any case, with the domain in Unicode or ASCII form."""
        return self.filter(reduce(or_, (same_address("email", text) for text in texts)))

    def with_customer(self, *words: str):
        """Orders with all of these words in the customer's address, name or company, ignoring case and accents."""
        # PostgreSQL must fold the words, as it did the column. Python folds some characters differently.
        return self.filter(*(_contains_word(word.strip()) for word in words))

    def with_code(self, text: str):
        return self.with_code_fingerprint(fingerprint(text.strip()))

    def with_code_fingerprint(self, *digests: bytes):
        return self.filter(pk__in=ActivationCode.all_codes.filter(fingerprint__in=digests).values("item__order"))

    def with_loose_fingerprint(self, *digests: bytes):
        """Orders that have or had a license with the same letters and digits (license_texts.py)."""
        return self.filter(pk__in=ActivationCode.all_codes.filter(loose_fingerprint__in=digests).values("item__order"))

    def with_hint(self, text: str):
        return self.filter(pk__in=ActivationCode.all_codes.filter(hint__iexact=text).values("item__order"))

    def with_product(self, *products: Product | int):
        return self.filter(Exists(OrderItem.objects.filter(order=OuterRef("pk"), product__in=products)))

    def with_other_product(self, name: str):
        """Orders with an item of this name that is *not ours*."""
        return self.filter(pk__in=OtherItem.objects.filter(product=name, quantity__gte=1).values("order"))

    def unmapped(self):
        """Orders whose items are all *not ours*."""
        # Every order has an item, so this finds the same without the first condition, but reads all orders.
        others = self.filter(pk__in=OtherItem.objects.values("order"))
        return others.filter(~Exists(OrderItem.objects.filter(order=OuterRef("pk"))))

    def with_link_token(self, token: str):
        return self.filter(link_fingerprint=fingerprint(token))


class Order(models.Model):
    class Status(models.TextChoices):
        UNPAID = "unpaid", _("Unpaid")
        PAID = "paid", _("Paid")
        DELETED = "deleted", _("Deleted")  # refunded in full, or never paid
        TERMINATED = "terminated", _("Terminated")

    merchant = models.ForeignKey(Merchant, models.PROTECT, db_index=False, related_name="orders")
    number = models.CharField(max_length=64)
    short_number = models.GeneratedField(
        expression=ShortNumber("number"), output_field=models.CharField(max_length=64, null=True), db_persist=True
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.UNPAID)
    reported_at = models.DateTimeField(db_default=Now(), editable=False)
    reported_by = models.CharField(max_length=MAX_ACTOR, blank=True, editable=False)
    paid_at = models.DateTimeField(null=True, blank=True)
    utc_offset = models.SmallIntegerField(
        default=0, db_default=0, editable=False, help_text=_("The shop’s UTC offset in minutes.")
    )
    ended_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When the order was deleted or terminated.")
    )
    reinstated_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When the shop last reported that it undid a full refund.")
    )
    held_until = models.DateTimeField(
        null=True, editable=False, help_text=_("It is being checked for fraud and gets no codes before.")
    )
    currency = models.CharField(max_length=3)
    language = models.CharField(max_length=35)
    checkout_page = models.ForeignKey(CheckoutPage, models.PROTECT, related_name="orders")
    email = models.EmailField(_("customer’s e-mail address"))
    first_name = models.CharField(max_length=200, blank=True)
    last_name = models.CharField(max_length=200, blank=True)
    company = models.CharField(max_length=200, blank=True)
    country = models.CharField(max_length=2, blank=True)
    # For searching customers by any part of address, name or company, ignoring case and accents.
    customer_text = models.GeneratedField(
        expression=CustomerText(
            Concat("email", Value(" "), "first_name", Value(" "), "last_name", Value(" "), "company")
        ),
        output_field=models.TextField(),
        db_persist=True,
    )
    additional_parameters = models.JSONField(default=dict, blank=True)
    # A digest of each reported field by its pointer (orders/content.py).
    content = models.JSONField(default=dict, editable=False)
    # The link to the customer's order page; empty once revoked.
    link_token = EncryptedTextField(bound_to=("merchant_id", "link_fingerprint"), null=True, editable=False)
    link_fingerprint = models.BinaryField(unique=True, null=True, editable=False)

    shop_request_id = models.CharField(
        max_length=request_ids.MAX_LENGTH,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("The id of the request that reported it."),
    )

    # Rows in hand, of an order that was just placed or prefetched (api/order_serializers.py).
    loaded_items: list["OrderItem"]
    loaded_other_items: list["OtherItem"]

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
            models.Index(fields=["merchant", "held_until"], condition=Q(held_until__isnull=False), name="order_held"),
            models.Index(Upper("email"), name="order_email"),
            models.Index(fields=["merchant", "-paid_at", "-id"], name="order_by_payment"),
            models.Index(fields=["merchant", "-reported_at", "-id"], name="order_by_report"),
            # Of all merchants, for support staff. Most payments are the newest, so they add to the end of the index.
            models.Index(
                fields=["-paid_at", "-id"], condition=Q(paid_at__isnull=False), name="order_by_payment_of_all"
            ),
            models.Index(
                fields=["merchant", "status", "-reported_at", "-id"],
                condition=~Q(status="paid"),
                name="order_not_paid",
            ),
            # The same of all merchants, for support staff.
            models.Index(fields=["status", "-id"], condition=~Q(status="paid"), name="order_not_paid_of_all"),
            # For purging parameters (fulfillment/retention.py).
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
        return gettext("Order {number}").format(number=self.number)

    @property
    def customer_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def customer_language(self) -> str:
        return supported_language(self.language)

    @property
    def locale(self) -> Locale:
        return get_locale(self.language, self.country)

    @property
    def url(self) -> str:
        """The unguessable link to the customer's order page; empty once revoked."""
        return f"{settings.BASE_URL}/o/{self.link_token}/" if self.link_token else ""

    @property
    def paid_by_shop_clock(self) -> datetime | None:
        """The time of payment in the shop's time zone, because the customer knows that date."""
        return self.paid_at and self.paid_at.astimezone(timezone(timedelta(minutes=self.utc_offset)))

    @property
    def is_held(self) -> bool:
        """Whether it is paid but gets no codes yet, because it is being checked for fraud."""
        is_paid = self.status == Order.Status.PAID
        return bool(is_paid and self.held_until and self.held_until > now())

    @property
    def key(self) -> str:
        """The order's name in URLs: its number, or its id if the number can't be part of a path."""
        safe = "/" not in self.number and "\\" not in self.number and not self.number.startswith(ID_PREFIX)
        return self.number if safe else self.id_key

    @property
    def id_key(self) -> str:
        """A key that no test order shares with a live one."""
        return f"{ID_PREFIX}{self.pk}"

    def codes(self) -> models.QuerySet["ActivationCode"]:
        return ActivationCode.objects.filter(item__order=self).order_by("item_id", "unit")

    def total(self) -> Decimal:
        """The total price of all items, including those that are *not ours*."""
        rows = (self.items.all(), self.other_items.all())
        return sum((row.aggregate(total=Sum("total_price"))["total"] or Decimal(0) for row in rows), Decimal(0))

    def left_to_refund(self) -> Decimal:
        refunded = self.refunds.filter(undone_at=None).aggregate(sum=Sum("amount"))["sum"] or 0
        return max(self.total() - refunded, Decimal(0))


class Subscription(models.Model):
    class Type(models.TextChoices):
        AUTO_RENEWING = "AR", _("renews automatically")
        MANUAL_RENEWAL = "PMR", _("renewed by the customer")

    merchant = models.ForeignKey(Merchant, models.PROTECT, db_index=False, related_name="subscriptions")
    reference = models.CharField(max_length=64, help_text=_("The shop’s ID of the subscription."))
    type = models.CharField(max_length=3, choices=Type)
    period = models.CharField(max_length=8, help_text=_("ISO 8601: P1Y, P3M, P2W, P30D."))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["merchant", "reference"], name="subscription_is_unique")]

    def __str__(self):
        return gettext("Subscription {reference}").format(reference=self.reference)


class OrderItemQuerySet(models.QuerySet["OrderItem"]):
    def with_code_count(self):
        return self.annotate(code_count=Count("activation_codes", filter=Q(activation_codes__withdrawn_at=None)))


class OrderItem(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, db_index=False, related_name="items")
    reference = models.CharField(max_length=64, help_text=_("The shop’s number of the item."))
    product = models.ForeignKey(Product, models.PROTECT, related_name="order_items")
    quantity = models.PositiveIntegerField()
    units = models.PositiveIntegerField(help_text=_("The number of activation codes the item needs."))
    total_price = MoneyField()
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, db_index=False, null=True, blank=True, related_name="order_items"
    )
    parent_order = models.CharField(
        max_length=64, blank=True, help_text=_("For renewals: the number of the order that this one renews.")
    )

    loaded_codes: list[Any]  # in hand, like an order's items

    objects = OrderItemQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["subscription"], condition=Q(subscription__isnull=False), name="item_subscription")
        ]
        constraints = [
            models.UniqueConstraint(fields=["order", "reference"], name="item_reference_is_unique"),
            models.CheckConstraint(condition=Q(quantity__gte=1, units__gte=1), name="an_item_has_units"),
        ]

    def __str__(self):
        return gettext("Item {reference} of {order}").format(reference=self.reference, order=self.order)

    def missing_units(self) -> list[int]:
        """The units without an activation code, counted from 1."""
        return self.find_missing_units([self])[self.pk]

    @classmethod
    def find_missing_units(cls, items: "Iterable[OrderItem]") -> dict[int, list[int]]:
        """The missing units of each item, by its primary key."""
        missing = {item.pk: dict.fromkeys(range(1, item.units + 1)) for item in items}
        for item, unit in ActivationCode.objects.filter(item__in=missing).order_by().values_list("item", "unit"):
            missing[item].pop(unit, None)
        return {item: list(units) for item, units in missing.items()}


class OtherItemQuerySet(models.QuerySet["OtherItem"]):
    def mappable(self):
        """Items whose product exists by now, annotated with its primary key as `product_id`."""
        vendor = Coalesce(OuterRef("order__merchant__live"), OuterRef("order__merchant"))
        known = Product.objects.filter(merchant=vendor, sku=OuterRef("product"))
        # The first condition is redundant, but an index can use it: most items match no product of any merchant.
        sold = self.filter(product__in=Product.objects.values("sku"), quantity__gte=1, total_price__gte=0)
        sold = sold.exclude(product="")
        return sold.annotate(product_id=Subquery(known.values("pk"))).exclude(product_id=None)


class OtherItem(models.Model):
    """An item that is *not ours*, such as an unknown product, a discount or shipping. It gets no license."""

    order = models.ForeignKey(Order, models.CASCADE, db_index=False, related_name="other_items")
    reference = models.CharField(max_length=64)
    product = models.CharField(
        max_length=MAX_OTHER_PRODUCT, blank=True, help_text=_("The product’s name or SKU in the shop.")
    )
    quantity = models.IntegerField()
    total_price = MoneyField()
    # As reported. Needed when the item is mapped to a product.
    subscription = models.JSONField(null=True, editable=False)

    objects = OtherItemQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["product"], condition=Q(quantity__gte=1), name="other_item_product")]
        constraints = [models.UniqueConstraint(fields=["order", "reference"], name="other_item_reference_is_unique")]

    def __str__(self):
        return gettext("Item {reference} of {order}, not ours").format(reference=self.reference, order=self.order)

    def reported(self, product: Product) -> dict:
        return {
            "item": self.reference,
            "product": product,
            "quantity": self.quantity,
            "total_price": str(self.total_price),
            "subscription": self.subscription,
        }


class RefusedReport(models.Model):
    """A refused report that its merchant can see. Contains no customer data except the order number."""

    class Kind(models.TextChoices):
        PAYMENT = "payment", _("Payment")
        REFUND = "refund", _("Refund")

    merchant = models.ForeignKey(Merchant, models.CASCADE, db_index=False, related_name="refused_reports")
    kind = models.CharField(max_length=10, choices=Kind)
    order_number = models.CharField(max_length=64, blank=True)
    status = models.PositiveSmallIntegerField(help_text=_("HTTP status of the response."))
    reason = models.CharField(max_length=500)
    errors = models.JSONField(default=list, help_text=_("The invalid fields and what is wrong with each."))
    reported_by = models.CharField(max_length=MAX_ACTOR)
    # A repeated report has the same digest and increases `times`.
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
        return gettext("Refused {kind} of order {order_number}").format(kind=self.kind, order_number=self.order_number)


LIVE = Q(withdrawn_at=None)


class LiveCodeManager(models.Manager["ActivationCode"]):
    """Excludes withdrawn codes, so that they are never shown or sent by accident. `all_codes` includes them."""

    def get_queryset(self):
        return super().get_queryset().filter(LIVE)


class ActivationCode(models.Model):
    """The license information for one unit of an order item, exactly as the customer gets it."""

    item = models.ForeignKey(OrderItem, models.PROTECT, related_name="activation_codes")
    unit = models.PositiveIntegerField()
    code = EncryptedTextField(bound_to=("item_id", "unit", "fingerprint"))
    fingerprint = models.BinaryField(db_index=True, editable=False)
    loose_fingerprint = models.BinaryField(
        null=True,
        db_index=True,
        editable=False,
        help_text=_("Fingerprint of its letters and digits (license_texts.py)."),
    )
    hint = models.CharField(max_length=4, blank=True, editable=False)
    source = models.CharField(max_length=20, help_text=_("The kind of source it came from."))
    saved_by = models.CharField(max_length=MAX_ACTOR, blank=True, help_text=_("The person who entered it, if any."))
    saved_at = models.DateTimeField(db_default=Now(), editable=False)
    seen_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When the customer first saw it on the order page.")
    )
    # Withdrawn: its unit has another code, or its key was returned to stock.
    withdrawn_at = models.DateTimeField(null=True, editable=False)
    withdrawn_by = models.CharField(max_length=MAX_ACTOR, blank=True, default="", db_default="", editable=False)
    replaced_by = models.OneToOneField("self", models.PROTECT, null=True, editable=False, related_name="replaces")

    loaded_deliveries: list[Any]  # in hand, like an order's items

    objects = LiveCodeManager()
    all_codes = models.Manager()  # noqa: DJ012 (a second manager)

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
        return gettext("Code {unit} of {item}").format(unit=self.unit, item=self.item)

    def ends_with(self, ending: str) -> bool:
        """Whether the license ends with these letters and digits, given in lower case."""
        return letters(distinctive(self.code)).endswith(ending)

    @classmethod
    def build(cls, text: str, **fields) -> "ActivationCode":
        loose = loose_fingerprint(text)
        return cls(code=text, fingerprint=fingerprint(text), loose_fingerprint=loose, hint=hint(text), **fields)


class Refund(models.Model):
    order = models.ForeignKey(Order, models.PROTECT, related_name="refunds")
    amount = MoneyField()
    reference = models.CharField(max_length=64, blank=True, help_text=_("The shop’s number of the refund."))
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
        return gettext("Refund of {amount}, {order}").format(
            amount=show_money(self.amount, self.order.currency), order=self.order
        )


class OrderEvent(models.Model):
    """An action on an order that no other row records."""

    class Kind(models.TextChoices):
        ADDRESS_CORRECTED = "address", _("address corrected")
        CODE_REVEALED = "reveal", _("code revealed")
        RETRIED = "retry", _("fulfillment retried")
        LINK_REVOKED = "revoke", _("customer’s link revoked")
        LINK_RENEWED = "renew", _("customer’s link renewed")
        ERASED = "erased", _("customer’s data erased")
        REPLACED = "replaced", _("code replaced")
        RETURNED = "returned", _("code returned to stock")
        REINSTATED = "reinstated", _("full refund undone")
        MAPPED = "mapped", _("items mapped to products")
        MAY_HAVE_ARRIVED = "unsure", _("e-mail may have arrived")
        CODE_REFUSED = "refused", _("held code rejected")
        CODE_RELEASED = "released", _("held code released")
        APPROVED = "approved", _("order approved")
        DEALT_WITH = "dealt", _("marked as dealt with")

    order = models.ForeignKey(Order, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind)
    item = models.ForeignKey(OrderItem, models.CASCADE, null=True, blank=True, related_name="+")
    code = models.ForeignKey(ActivationCode, models.CASCADE, null=True, blank=True, related_name="+")
    details = models.JSONField(
        default=dict,
        help_text=_("Correction: the old and new address. Retry: the previous status. Replacement: the reason."),
    )
    happened_at = models.DateTimeField(db_default=Now(), editable=False)
    happened_by = models.CharField(max_length=MAX_ACTOR)

    def __str__(self):
        return f"{self.order}: {self.get_kind_display()}"
