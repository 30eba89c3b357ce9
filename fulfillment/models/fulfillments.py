"""The work of getting paid items their codes, and where the codes come from."""

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from fulfillment.models.retryable import Retryable, RetryableQuerySet
from merchants.models import Product
from orders.models import Order, OrderItem
from pools.models import LicensePool


class FulfillmentMethod(models.Model):
    """One of the places a product's codes come from; what it lacks, the next in line is asked for."""

    class Source(models.TextChoices):
        POOL = "pool"
        MANUAL = "manual"

    product = models.ForeignKey(Product, models.CASCADE, related_name="fulfillment_methods")
    position = models.PositiveSmallIntegerField(default=1)
    source = models.CharField(max_length=20, choices=Source)
    pool = models.ForeignKey(LicensePool, models.PROTECT, null=True, blank=True, related_name="fulfillment_methods")

    class Meta:
        ordering = ["product", "position"]
        constraints = [
            models.UniqueConstraint(fields=["product", "position"], name="one_method_per_position"),
            models.CheckConstraint(
                condition=Q(source="pool", pool__isnull=False) | (~Q(source="pool") & Q(pool=None)),
                name="only_the_source_pool_has_a_pool",
                violation_error_message="A pool belongs to the source “pool”, and only to it.",
            ),
        ]

    def __str__(self):
        return f"{self.get_source_display()} “{self.pool}”" if self.pool else self.get_source_display()

    def clean(self):
        if self.pool and self.product_id and self.pool.merchant_id != self.product.merchant_id:
            raise ValidationError({"pool": f"The pool “{self.pool}” belongs to {self.pool.merchant}."})


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


class Fulfillment(Retryable):
    """The work of getting one order item its activation codes."""

    TASK = "fulfillment.tasks.fulfill"

    class Status(models.TextChoices):
        PENDING = "pending"
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    item = models.OneToOneField(OrderItem, models.CASCADE, related_name="fulfillment")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    done_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = FulfillmentQuerySet.as_manager()  # type: ignore[misc]

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["item"], condition=Q(status="waiting"), name="fulfillment_waiting"),
            models.Index(fields=["status", "item"], condition=~Q(status="done"), name="fulfillment_unfinished"),
        ]

    def __str__(self):
        return f"Fulfillment of {self.item}"
