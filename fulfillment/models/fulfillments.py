"""The work of getting paid items their codes, and where the codes come from."""

import random
from collections.abc import Sequence
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Case, Exists, OuterRef, Q, Subquery, When, Window
from django.db.models.functions import Coalesce, Now, RowNumber

from fulfillment.models.net_licensing import LicensePackage
from fulfillment.models.retryable import Retryable, RetryableQuerySet, database_now
from fulfillment.models.upstreams import Upstream
from fulfillment.models.web_services import WebService
from merchants.models import Product
from orders.models import Order, OrderItem
from pools.models import LicensePool


class FulfillmentMethodQuerySet(models.QuerySet["FulfillmentMethod"]):
    def of(self, product: Product) -> "Sequence[FulfillmentMethod]":
        """The product's sources, in the order in which they are asked.

        A product that has none takes its codes from the merchant's web service for all products.
        """
        places = ("pool", "web_service", "license_package__account")
        own = self.filter(product=product).select_related(*places).order_by("position")
        if methods := list(own):
            return methods
        shared = WebService.objects.filter(merchant=product.merchant_id, for_all_products=True)
        source = FulfillmentMethod.Source.WEB_SERVICE
        return [FulfillmentMethod(product=product, source=source, web_service=service) for service in shared]


class FulfillmentMethod(models.Model):
    """One of the places a product's codes come from; what it lacks, the next in line is asked for."""

    class Source(models.TextChoices):
        POOL = "pool"
        WEB_SERVICE = "web_service", "Web service"
        NET_LICENSING = "netlicensing", "NetLicensing"
        MANUAL = "manual"

    product = models.ForeignKey(Product, models.CASCADE, related_name="fulfillment_methods")
    position = models.PositiveSmallIntegerField(default=1)
    source = models.CharField(max_length=20, choices=Source)
    pool = models.ForeignKey(LicensePool, models.PROTECT, null=True, blank=True, related_name="fulfillment_methods")
    web_service = models.ForeignKey(
        WebService, models.PROTECT, null=True, blank=True, related_name="fulfillment_methods"
    )
    license_package = models.ForeignKey(
        LicensePackage, models.PROTECT, null=True, blank=True, related_name="fulfillment_methods"
    )

    objects = FulfillmentMethodQuerySet.as_manager()

    class Meta:
        ordering = ["product", "position"]
        constraints = [
            models.UniqueConstraint(fields=["product", "position"], name="one_method_per_position"),
            models.CheckConstraint(
                condition=Q(source="pool", pool__isnull=False) | (~Q(source="pool") & Q(pool=None)),
                name="only_the_source_pool_has_a_pool",
                violation_error_message="A pool belongs to the source “pool”, and only to it.",
            ),
            models.CheckConstraint(
                condition=Q(source="web_service", web_service__isnull=False)
                | (~Q(source="web_service") & Q(web_service=None)),
                name="only_the_source_web_service_has_one",
                violation_error_message="A web service belongs to the source “web service”, and only to it.",
            ),
            models.CheckConstraint(
                condition=Q(source="netlicensing", license_package__isnull=False)
                | (~Q(source="netlicensing") & Q(license_package=None)),
                name="only_the_source_netlicensing_has_a_package",
                violation_error_message="A license package belongs to the source “NetLicensing”, and only to it.",
            ),
        ]

    def __str__(self):
        place = self.pool or self.web_service or self.license_package
        return f"{self.get_source_display()} “{place}”" if place else self.get_source_display()

    def clean(self):
        for field in ("pool", "web_service", "license_package"):
            place = getattr(self, field)
            if place and self.product_id and place.merchant_id != self.product.merchant_id:
                raise ValidationError({field: f"“{place}” belongs to {place.merchant}."})

    @property
    def upstream(self) -> Upstream | None:
        """The server that is called, if one is."""
        return self.license_package.account if self.license_package else self.web_service


class FulfillmentQuerySet(RetryableQuerySet):
    def unfinished(self):
        return self.exclude(status=Fulfillment.Status.DONE)

    def waiting(self):
        """What paid items wait for: keys, a person or a source that is away."""
        return self.filter(status=Fulfillment.Status.WAITING, item__order__status=Order.Status.PAID)

    def waiting_for(self, pool: LicensePool):
        """What waits for this pool's keys, oldest payment first."""
        waiting = self.waiting().filter(item__product__fulfillment_methods__pool=pool)
        return waiting.order_by("item__order__paid_at", "item__order_id", "item_id")

    def given_up(self):
        """What is not tried again by itself: it failed, or another source of its chain may still get codes."""
        return self.filter(Q(status=Fulfillment.Status.FAILED) | Q(status=Fulfillment.Status.WAITING, due_at=None))

    def held(self):
        """What waits for a person to release or refuse a code."""
        return self.filter(item__held_codes__isnull=False).distinct()

    def start_again(self) -> int:
        """Have these tried at once, as if for the first time; return how many they are."""
        # The number of attempts goes on: it tells one worker's lease from the next.
        status = Fulfillment.Status.PENDING
        return self.update(status=status, reason="", due_at=Now(), ended_at=None, failing_since=None)

    def wake(self) -> None:
        """Have these looked at now, those of the oldest payments first."""
        paid_at = OrderItem.objects.filter(pk=OuterRef("item")).values("order__paid_at")
        self.update(due_at=Subquery(paid_at))

    def next_of(self, upstream: Upstream) -> int | None:
        """One of the oldest that are due and take codes from this server, if any."""
        due = self.of_upstream(upstream).due().order_by("due_at", "item__order__paid_at")
        oldest = due.values_list("pk", flat=True)[:8]
        # Workers that ask at the same moment should not all get the same.
        return random.choice(oldest) if oldest else None  # noqa: S311

    def due_in_turn(self, of_each: int):
        """What is due, the oldest first; of one server's no more than so many: others would find it busy."""
        methods = FulfillmentMethod.objects.filter(product=OuterRef("item__product"))
        shared = WebService.objects.filter(merchant=OuterRef("item__product__merchant"), for_all_products=True)
        service = Coalesce(
            Subquery(methods.exclude(web_service=None).values("web_service")[:1]),
            Case(When(Exists(methods), then=None), default=Subquery(shared.values("pk"))),
            output_field=models.BigIntegerField(),
        )
        account = Subquery(methods.exclude(license_package=None).values("license_package__account")[:1])
        place = Window(RowNumber(), partition_by=["service", "account"], order_by=["due_at", "pk"])
        rows = self.due().annotate(service=service, account=account).annotate(place=place)
        return rows.filter(Q(service=None, account=None) | Q(place__lte=of_each)).order_by("due_at")

    def of_upstream(self, upstream: Upstream):
        """Those of paid items whose products take codes from this server."""
        return self.filter(upstream.serves(), item__order__status=Order.Status.PAID)


class Fulfillment(Retryable):
    """The work of getting one order item its activation codes."""

    TASK = "fulfillment.tasks.fulfill"
    # The same, by the worker for callouts: for those whose sources are called.
    CALLOUT_TASK = "fulfillment.tasks.fulfill_by_callout"
    # After that long in which a source failed, the item has.
    PATIENCE = timedelta(days=1)
    SHORTEST_DELAY, LONGEST_DELAY = timedelta(seconds=5), timedelta(minutes=15)

    class Status(models.TextChoices):
        PENDING = "pending"
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    item = models.OneToOneField(OrderItem, models.CASCADE, related_name="fulfillment")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    done_at = models.DateTimeField(null=True, blank=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False, help_text="Since then its sources failed.")
    sent_by_vendor = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Done without codes: the vendor’s web service sends them itself.",
    )

    objects = FulfillmentQuerySet.as_manager()  # type: ignore[misc]

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["item"], condition=Q(status="waiting"), name="fulfillment_waiting"),
            models.Index(fields=["status", "item"], condition=~Q(status="done"), name="fulfillment_unfinished"),
        ]

    def __str__(self):
        return f"Fulfillment of {self.item}"

    @property
    def is_last_attempt(self) -> bool:
        return bool(self.failing_since and self.failing_since < database_now() - self.PATIENCE)

    def _delay(self) -> timedelta:
        """A quarter of the time since it began to fail: not of attempts, of which some only waited for others."""
        failing_for = database_now() - self.failing_since if self.failing_since else timedelta(0)
        delay = min(max(failing_for / 4, self.SHORTEST_DELAY), self.LONGEST_DELAY)
        return delay * random.uniform(0.9, 1.1)  # noqa: S311 (jitter)

    def finish(self, *, sent_by_vendor: bool) -> bool:
        """Record that nothing is missing."""
        done = {"status": self.Status.DONE, "reason": "", "done_at": Now(), "failing_since": None}
        return self.end(**done, sent_by_vendor=sent_by_vendor)

    def wait(self, reason: str, pause: timedelta) -> bool:
        """Record that nothing could be tried yet, and have it looked at again after the pause."""
        return self._update(due_at=Now() + pause, status=self.Status.WAITING, reason=reason[:500])
