"""Fulfillments, and the sources that products take codes from."""

import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import OuterRef, Q, Subquery, Window
from django.db.models.functions import Now, RowNumber
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import Product
from orders.kinds import SOURCES
from orders.models import Order, OrderItem
from outbound.models.upstreams import Upstream
from pools.models import LicensePool
from vault.fields import EncryptedTextField
from work.models import CALLOUTS, DEFAULT, Retryable, RetryableQuerySet, database_now


class FulfillmentMethodQuerySet(models.QuerySet["FulfillmentMethod"]):
    def with_places(self, kinds: Iterable[str] = SOURCES.keys()):
        """Load each method's place with it, for methods of these kinds."""
        return self.select_related(*(path for kind in kinds for path in SOURCES[kind].places))

    def for_product(self, product: Product) -> "Sequence[FulfillmentMethod]":
        return self.for_products([product])[product.pk]

    def for_products(self, products: Iterable[Product]) -> dict[int, "Sequence[FulfillmentMethod]"]:
        """Each product's sources in the order they are asked or, if it has none, those that serve all products."""
        found = {product.pk: product for product in products}
        methods = {pk: product.loaded_methods for pk, product in found.items() if hasattr(product, "loaded_methods")}
        unknown = found.keys() - methods.keys()
        if unknown:
            own = self.filter(product__in=unknown)
            # Joining the tables of all kinds would take PostgreSQL longer to plan than both queries take to run.
            for method in own.with_places(own.kinds()).order_by("position"):
                methods.setdefault(method.product_id, []).append(method)
        return {pk: methods.get(pk) or self.for_all(product) for pk, product in found.items()}

    def kinds(self) -> set[str]:
        return set(self.order_by().values_list("source", flat=True))

    def for_all(self, product: Product) -> "list[FulfillmentMethod]":
        """Unsaved methods of the sources that serve every product without a source of its own."""
        return [method for kind in SOURCES.values() for method in kind.get_methods_for_all(product)]


class FulfillmentMethod(models.Model):
    """One of a product's sources. Codes it can't supply are requested from the next one.

    A kind of source that takes codes from a place, such as a pool, has its own subclass with a foreign key to it.
    """

    SOURCE = ""  # in a subclass: the code of the source's kind
    PLACE = ""  # in a subclass: the name of the foreign key to the place

    product = models.ForeignKey(Product, models.CASCADE, related_name="fulfillment_methods")
    position = models.PositiveSmallIntegerField(default=1)
    source = models.CharField(max_length=20, editable=False, help_text=_("Code of a kind in fulfillment/sources."))

    objects = FulfillmentMethodQuerySet.as_manager()

    class Meta:
        ordering = ["product", "position"]
        constraints = [
            # Deferred so that two methods can swap positions.
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
            raise ValidationError(
                {self.PLACE: gettext("“{place}” belongs to {merchant}.").format(place=place, merchant=place.merchant)}
            )

    @property
    def kind(self) -> Any:
        """The fulfillment.sources.base.Source to ask."""
        return SOURCES[self.source](self)

    @property
    def upstream(self) -> Upstream | None:
        """The server that the source calls, if any."""
        upstream: Upstream | None = self.kind.upstream
        return upstream


class FulfillmentQuerySet(RetryableQuerySet):
    def unfinished(self):
        return self.exclude(status=Fulfillment.Status.DONE)

    def waiting(self):
        """Those of paid items that wait for keys, a person or a server, and not for a check of their order."""
        paid = Q(order__status=Order.Status.PAID)
        return self.filter(paid, Fulfillment.NOT_HELD, status=Fulfillment.Status.WAITING)

    def waiting_for(self, pool: LicensePool):
        """Those that wait for this pool's keys, oldest payment first."""
        source = pool.live_id or pool.pk  # products have the live pool
        waiting = self.waiting().filter(
            item__product__fulfillment_methods__poolmethod__pool=source, order__merchant=pool.merchant_id
        )
        return waiting.order_by("item__order__paid_at", "item__order_id", "item_id")

    def given_up(self):
        """Those that aren't retried automatically: failed, or waiting for new keys or a person."""
        return self.filter(Q(status=Fulfillment.Status.FAILED) | Q(status=Fulfillment.Status.WAITING, due_at=None))

    def held(self):
        """Those that wait for a person to release or reject a code."""
        return self.filter(item__held_codes__isnull=False).distinct()

    def start_again(self) -> int:
        """Make these due now, with a fresh deadline. Return how many there are."""
        # `attempts` keeps counting: it tells one worker's lease from the next.
        status = Fulfillment.Status.PENDING
        return self.update(status=status, reason="", due_at=Now(), ended_at=None, failing_since=None)

    def wake(self) -> None:
        """Make these due now, oldest payment first."""
        paid_at = OrderItem.objects.filter(pk=OuterRef("item")).values("order__paid_at")
        self.update(due_at=Subquery(paid_at))

    def ask_again(self, upstream: Upstream) -> None:
        """Wake the paid items that wait for this server."""
        self.waiting().filter(upstream.serves()).wake()

    def next_for(self, upstream: Upstream) -> int | None:
        """The primary key of one of the oldest due items that take codes from this server, if any."""
        due = (
            self.filter(upstream.serves(), item__order__status=Order.Status.PAID)
            .due()
            .order_by("due_at", "item__order__paid_at")
        )
        oldest = due.values_list("pk", flat=True)[:8]
        # Random, so that workers asking at the same moment don't all get the same one.
        return random.choice(oldest) if oldest else None  # noqa: S311

    def due_in_turn(self, max_per_server: int):
        """Due items, oldest first, limited per server because any more would find it busy."""
        servers = {name: path for kind in SOURCES.values() for name, path in kind.servers().items()}
        place = Window(RowNumber(), partition_by=list(servers), order_by=["due_at", "pk"])
        rows = self.due().annotate(**servers).annotate(place=place)
        return rows.filter(Q(**dict.fromkeys(servers)) | Q(place__lte=max_per_server)).order_by("due_at")

    def count_failed(self, upstream: Upstream) -> int:
        """Count this server's items that aren't retried automatically."""
        return self.for_upstream(upstream).given_up().distinct().count()

    def for_upstream(self, upstream: Upstream):
        """Those of paid items whose products take codes from this server, without test orders."""
        paid = {"item__order__status": Order.Status.PAID, "item__order__merchant": upstream.merchant_id}
        return self.filter(upstream.serves(), **paid)


class Fulfillment(Retryable):
    """The work of getting one order item its activation codes."""

    TASK = "fulfillment.tasks.fulfill"
    # The item fails once its sources have failed for this long.
    FAILURE_TIMEOUT = timedelta(days=1)
    MIN_DELAY, MAX_DELAY = timedelta(seconds=5), timedelta(minutes=15)

    class Status(models.TextChoices):
        PENDING = "pending", _("Pending")
        WAITING = "waiting", _("Waiting")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")

    item = models.OneToOneField(OrderItem, models.CASCADE, related_name="fulfillment")
    # The item's, so that an index has unfinished work in the order of the orders. A trigger sets it on this work.
    order = models.ForeignKey(
        Order,
        models.DO_NOTHING,
        null=True,
        db_default=None,
        db_index=False,
        db_constraint=False,
        editable=False,
        related_name="+",
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    done_at = models.DateTimeField(null=True, blank=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False, help_text=_("When its sources began to fail."))
    sent_by_vendor = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text=_("Done without codes: the vendor sends them to the customer."),
    )

    # Those whose order isn't being checked for fraud.
    NOT_HELD = Q(order__held_until=None) | Q(order__held_until__lte=Now())

    objects = FulfillmentQuerySet.as_manager()  # type: ignore[misc]

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["item"], condition=Q(status="waiting"), name="fulfillment_waiting"),
            models.Index(fields=["status", "item"], condition=~Q(status="done"), name="fulfillment_unfinished"),
            models.Index(fields=["order"], condition=~Q(status="done"), name="fulfillment_unfinished_orders"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status="done") | Q(order__isnull=False), name="unfinished_work_names_its_order"
            ),
        ]

    def __str__(self):
        return gettext("Fulfillment of {item}").format(item=self.item)

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
        return bool(self.failing_since and self.failing_since < database_now() - self.FAILURE_TIMEOUT)

    def _delay(self) -> timedelta:
        """A quarter of the time since it began to fail. Attempts don't count: some found the server busy."""
        failing_for = database_now() - self.failing_since if self.failing_since else timedelta(0)
        delay = min(max(failing_for / 4, self.MIN_DELAY), self.MAX_DELAY)
        return delay * random.uniform(0.9, 1.1)  # noqa: S311 (jitter)

    def finish(self, *, sent_by_vendor: bool) -> bool:
        done = {"status": self.Status.DONE, "reason": "", "done_at": Now(), "failing_since": None}
        return self.end(**done, sent_by_vendor=sent_by_vendor)

    def wait(self, reason: str, pause: timedelta) -> bool:
        """Record that there was nothing to try yet, and check again after the pause."""
        return self._update(due_at=Now() + pause, status=self.Status.WAITING, reason=reason[:500])


class HeldCode(models.Model):
    """A code that looks unlike a server's earlier ones, until a person releases or rejects it.

    In the meantime the server isn't asked for the item's codes, because it might answer with another one.
    """

    source = models.CharField(max_length=20, help_text=_("Code of a kind in fulfillment/sources."))
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="held_codes")
    item = models.ForeignKey(OrderItem, models.CASCADE, related_name="held_codes")
    unit = models.PositiveIntegerField()
    code = EncryptedTextField(bound_to=("item_id", "unit"))
    held_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "unit"], name="one_held_code_per_unit")]

    def __str__(self):
        return gettext("Held code for unit {unit} of {item}").format(unit=self.unit, item=self.item)
