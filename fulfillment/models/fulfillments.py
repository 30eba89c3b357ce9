"""The work of getting paid items their codes, and where the codes come from."""

import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import OuterRef, Q, Subquery, Window
from django.db.models.functions import Now, RowNumber

from merchants.models import Product
from orders.kinds import SOURCES
from orders.models import Order, OrderItem
from outbound.models.upstreams import Upstream
from pools.models import LicensePool
from vault.fields import EncryptedTextField
from work.models import CALLOUTS, DEFAULT, Retryable, RetryableQuerySet, database_now


class FulfillmentMethodQuerySet(models.QuerySet["FulfillmentMethod"]):
    def with_places(self, kinds: Iterable[str] = SOURCES.keys()):
        """Each with what it takes codes from, if it is of one of these kinds."""
        return self.select_related(*(path for kind in kinds for path in SOURCES[kind].places))

    def for_product(self, product: Product) -> "Sequence[FulfillmentMethod]":
        """The product's sources, in the order in which they are asked; of one that has none what serves all such."""
        own = self.filter(product=product)
        if not (kinds := own.kinds()):
            return self.for_all(product)
        # The tables of all kinds at once would take PostgreSQL longer to plan than both queries take.
        return list(own.with_places(kinds).order_by("position"))

    def kinds(self) -> set[str]:
        return set(self.order_by().values_list("source", flat=True))

    def for_all(self, product: Product) -> "list[FulfillmentMethod]":
        """What serves a product that has no source of its own."""
        return [method for kind in SOURCES.values() for method in kind.get_methods_for_all(product)]


class FulfillmentMethod(models.Model):
    """One of the places a product's codes come from; what it lacks, the next in line is asked for.

    A kind of source that takes codes from something of the merchant's has a model of its own for its methods, which
    adds a reference to that.
    """

    SOURCE = ""  # of a model of its own: the code of its kind
    PLACE = ""  # and the field that says where codes are taken from

    product = models.ForeignKey(Product, models.CASCADE, related_name="fulfillment_methods")
    position = models.PositiveSmallIntegerField(default=1)
    source = models.CharField(max_length=20, editable=False, help_text="The kind: its code in fulfillment/sources.")

    objects = FulfillmentMethodQuerySet.as_manager()

    class Meta:
        ordering = ["product", "position"]
        constraints = [
            # At the end of the transaction: meanwhile two may change places.
            models.UniqueConstraint(
                fields=["product", "position"], name="one_method_per_position", deferrable=models.Deferrable.DEFERRED
            )
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.SOURCE:
            self.source = self.SOURCE

    def __str__(self):
        return str(self.kind)

    def clean(self):
        place = self.PLACE and getattr(self, self.PLACE)
        if place and self.product_id and place.merchant_id != self.product.merchant_id:
            raise ValidationError({self.PLACE: f"“{place}” belongs to {place.merchant}."})

    @property
    def kind(self) -> Any:
        """The source that it has asked, a fulfillment.sources.Source."""
        return SOURCES[self.source](self)

    @property
    def upstream(self) -> Upstream | None:
        """The server that is called, if one is."""
        upstream: Upstream | None = self.kind.upstream
        return upstream


class FulfillmentQuerySet(RetryableQuerySet):
    def unfinished(self):
        return self.exclude(status=Fulfillment.Status.DONE)

    def waiting(self):
        """What paid items wait for: keys, a person or a source that is away."""
        return self.filter(status=Fulfillment.Status.WAITING, item__order__status=Order.Status.PAID)

    def waiting_for(self, pool: LicensePool):
        """What waits for this pool's keys, oldest payment first."""
        waiting = self.waiting().filter(item__product__fulfillment_methods__poolmethod__pool=pool)
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

    def ask_again(self, upstream: Upstream) -> None:
        """Have the paid items that wait for this server ask it now."""
        self.waiting().of_upstream(upstream).wake()

    def next_of(self, upstream: Upstream) -> int | None:
        """One of the oldest that are due and take codes from this server, if any."""
        due = self.of_upstream(upstream).due().order_by("due_at", "item__order__paid_at")
        oldest = due.values_list("pk", flat=True)[:8]
        # Workers that ask at the same moment should not all get the same.
        return random.choice(oldest) if oldest else None  # noqa: S311

    def due_in_turn(self, of_each: int):
        """What is due, the oldest first; of one server's no more than so many: others would find it busy."""
        servers = {name: path for kind in SOURCES.values() for name, path in kind.servers().items()}
        place = Window(RowNumber(), partition_by=list(servers), order_by=["due_at", "pk"])
        rows = self.due().annotate(**servers).annotate(place=place)
        return rows.filter(Q(**dict.fromkeys(servers)) | Q(place__lte=of_each)).order_by("due_at")

    def count_failed(self, upstream: Upstream) -> int:
        """How many items this server was given up for."""
        return self.of_upstream(upstream).given_up().distinct().count()

    def of_upstream(self, upstream: Upstream):
        """Those of paid items whose products take codes from this server."""
        return self.filter(upstream.serves(), item__order__status=Order.Status.PAID)


class Fulfillment(Retryable):
    """The work of getting one order item its activation codes."""

    TASK = "fulfillment.tasks.fulfill"
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
        help_text="Done without codes: the vendor sends them itself.",
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
    def is_done(self) -> bool:
        return self.status == self.Status.DONE

    @property
    def queue(self) -> str:
        product = self.item.product
        methods = FulfillmentMethod.objects
        kinds = methods.filter(product=product).kinds() or {method.source for method in methods.for_all(product)}
        return DEFAULT if all(SOURCES[kind].immediate for kind in kinds) else CALLOUTS

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


class HeldCode(models.Model):
    """A code that resembles none of a server's earlier ones, until a person releases or refuses it.

    While it is here, the server is not asked for the item's codes: it might give another one.
    """

    source = models.CharField(max_length=20, help_text="The kind: its code in fulfillment/sources.")
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="held_codes")
    item = models.ForeignKey(OrderItem, models.CASCADE, related_name="held_codes")
    unit = models.PositiveIntegerField()
    code = EncryptedTextField(bound_to=("item_id", "unit"))
    held_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "unit"], name="one_held_code_per_unit")]

    def __str__(self):
        return f"A held code for unit {self.unit} of {self.item}"
