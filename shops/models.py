"""Connections to shops, what they report, and how their products map to ours."""

import secrets
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import CheckoutPage, Merchant, Product
from orders.models import Order
from outbound.models import Signed
from shops.changes import Cause
from vault.fields import EncryptedBinaryField, EncryptedTextField
from vault.fingerprints import fingerprint
from work import request_ids, sql
from work.models import CALLOUTS, DEFAULT, SHARED_TTL, Retryable, RetryableQuerySet, publish

MAX_ID = 255  # characters of an external id
# How long events stay, and those of a removed connection.
RETENTION = timedelta(days=90)
# Instead of an event's primary key, in the task for all events.
ALL = 0
# Keys of sample sales start with this.
SAMPLE_KEY = "keywell-sample-"


# Since its last event. With `with_health`.
REJECTING = Q(rejected_at__gt=F("last_event_at")) | Q(rejected_at__isnull=False, last_event_at=None)


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def kept(self):
        return self.filter(removed_at=None)

    def with_last_event(self):
        reported = Event.objects.filter(connection=OuterRef("pk")).exclude(key__startswith=SAMPLE_KEY)
        return self.annotate(last_event_at=Subquery(reported.order_by("-created_at", "-pk").values("created_at")[:1]))

    def with_health(self):
        """Annotate each with the time of its last event, and what became of the others."""
        events = Event.objects.filter(connection=OuterRef("pk")).order_by()
        counts = events.values("connection").annotate(count=Count("pk")).values("count")
        return self.with_last_event().annotate(
            parked=Coalesce(Subquery(counts.filter(state=Event.State.PARKED)), 0),
            failed=Coalesce(Subquery(counts.filter(state=Event.State.FAILED)), 0),
            needs_person=Exists(events.unused()),
        )

    def troubled(self):
        """Those that reject requests, or whose events a person has to look at."""
        return self.with_health().filter(REJECTING | Q(needs_person=True), disabled_at=None)


class Connection(Signed):
    """One shop of a merchant, which reports its sales to `url`. `secret` is what it signs them with, if it does."""

    class State(models.TextChoices):
        DISABLED = "disabled", _("switched off")
        REJECTING = "rejecting", _("rejects requests")
        NEW = "new", _("waiting for events")
        FAILED = "failed", _("events failed")
        PARKED = "parked", _("events parked")
        HEALTHY = "healthy", _("healthy")

    # With `with_health`.
    last_event_at: datetime | None
    parked: int
    failed: int
    needs_person: bool

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="connections")
    kind = models.CharField(max_length=30, help_text=_("Code of a kind in shops/kinds."))
    name = models.CharField(max_length=100)
    token = EncryptedTextField(bound_to=("merchant_id", "token_fingerprint"), editable=False)
    token_fingerprint = models.BinaryField(unique=True, editable=False)
    options = models.JSONField(default=dict, blank=True, help_text=_("The kind’s own settings."))
    credentials = EncryptedTextField(
        bound_to=("merchant_id",), default="", editable=False, help_text=_("Access to the shop’s API, as JSON.")
    )
    checkout_page = models.ForeignKey(CheckoutPage, models.PROTECT, related_name="connections")
    number_prefix = models.CharField(max_length=10, blank=True)
    hold_hours = models.PositiveIntegerField(
        null=True, blank=True, help_text=_("Hours until an order gets its codes. Empty: at once. 0: when approved.")
    )
    writes_back = models.BooleanField(default=False, help_text=_("Whether codes are also saved in the shop’s order."))
    catches_up = models.BooleanField(
        default=False, editable=False, help_text=_("Whether it can fetch missed orders, which it does every night.")
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    disabled_at = models.DateTimeField(null=True, editable=False)
    removed_at = models.DateTimeField(null=True, editable=False, help_text=_("Its rows are deleted later."))
    rejected_at = models.DateTimeField(null=True, editable=False, help_text=_("When it last rejected a request."))
    rejected_because = models.CharField(max_length=200, blank=True, editable=False)

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["merchant", "id"], name="connection_of_merchant")]

    def __str__(self):
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("shop", args=[self.pk])

    @property
    def state(self) -> State:
        """What its health amounts to, worst first. Requires `with_health`."""
        if self.disabled_at:
            return self.State.DISABLED
        if self.rejected_at and (self.last_event_at is None or self.rejected_at > self.last_event_at):
            return self.State.REJECTING
        if self.last_event_at is None:
            return self.State.NEW
        if self.needs_person:
            return self.State.FAILED if self.failed else self.State.PARKED
        return self.State.HEALTHY

    @property
    def url(self) -> str:
        """Where the shop sends its events."""
        return f"{settings.BASE_URL}/in/{self.token}/"

    @classmethod
    def find(cls, token: str) -> "Connection | None":
        """Return the connection with this token and its merchant, unless it was removed."""
        rows = sql.run_first(cls._find(), fingerprint=fingerprint(token))
        if not rows:
            return None
        connection: Connection = sql.build(cls, rows[0])
        connection.merchant = sql.build(Merchant, rows[0], len(cls._meta.concrete_fields))
        return connection

    @classmethod
    @cache
    def _find(cls) -> str:
        """The statement that finds a connection and its merchant. Every event needs it."""
        selected = f"{sql.columns(cls, 'connection')}, {sql.columns(Merchant, 'merchant')}"
        return f"""
            SELECT {selected}
            FROM shops_connection connection JOIN merchants_merchant merchant ON merchant.id = connection.merchant_id
            WHERE connection.token_fingerprint = %(fingerprint)s::bytea AND connection.removed_at IS NULL
        """  # noqa: S608 (from the models)

    @staticmethod
    def new_token() -> dict[str, Any]:
        token = secrets.token_urlsafe(32)
        return {"token": token, "token_fingerprint": fingerprint(token)}


class EventQuerySet(RetryableQuerySet):
    def unused(self):
        """Those that a person has to look at. Samples and tests are looked at when they are sent."""
        parked = Q(state=Event.State.PARKED) & ~Q(cause__in=[Cause.UNPAID, Cause.NO_SALE])
        unused = self.filter(parked | Q(state=Event.State.FAILED), is_test=False)
        return unused.exclude(key__startswith=SAMPLE_KEY)


class Event(Retryable):
    """One event that a shop reported. The row is the queue: a task translates it into an order or a refund."""

    TASK = "shops.tasks.process"

    class State(models.TextChoices):
        RECEIVED = "received", _("Received")
        DONE = "done", _("Done")
        IGNORED = "ignored", _("Not needed")
        PARKED = "parked", _("Parked")
        FAILED = "failed", _("Failed")

    connection = models.ForeignKey(Connection, models.CASCADE, db_index=False, related_name="events")
    key = models.CharField(max_length=MAX_ID, help_text=_("The shop’s id of the event, or a digest of it."))
    topic = models.CharField(max_length=100, blank=True)
    body = EncryptedBinaryField(bound_to=("connection_id", "key"), editable=False)
    is_test = models.BooleanField(default=False)
    fetches = models.BooleanField(default=False, help_text=_("Whether processing it asks the shop’s API."))
    state = models.CharField(max_length=10, choices=State, default=State.RECEIVED)
    cause = models.CharField(max_length=10, choices=Cause, blank=True)
    waits_for = ArrayField(
        models.CharField(max_length=MAX_ID), default=list, help_text=_("The shop’s ids of products or sales.")
    )
    entered_email = models.EmailField(blank=True, help_text=_("The customer’s address, if a person entered it."))
    order = models.ForeignKey(Order, models.SET_NULL, null=True, related_name="shop_events")
    shop_request_id = models.CharField(max_length=request_ids.MAX_LENGTH, blank=True, editable=False)

    objects = EventQuerySet.as_manager()  # type: ignore[misc]

    class Meta(Retryable.Meta):
        constraints = [models.UniqueConstraint(fields=["connection", "key"], name="an_event_is_stored_once")]
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["connection", "-created_at", "-id"], name="shop_event_log"),
            models.Index(
                fields=["connection", "state", "-created_at", "-id"],
                condition=Q(state__in=["parked", "failed"]),
                name="shop_event_unused",
            ),
            models.Index(fields=["created_at"], name="shop_event_by_time"),
            GinIndex(fields=["waits_for"], condition=Q(state="parked"), name="shop_event_waiting"),
        ]

    def __str__(self):
        return f"{self.topic} ({self.key})"

    def get_absolute_url(self) -> str:
        return reverse("shop-event", args=[self.connection_id, self.pk])

    @property
    def is_sample(self) -> bool:
        return self.key.startswith(SAMPLE_KEY)

    @property
    def queue(self) -> str:
        return CALLOUTS if self.fetches else DEFAULT

    def _publish(self) -> None:
        # One task works off all events that need nothing from outside.
        if self.fetches:
            super()._publish()
        else:
            publish(self.TASK, ALL, ttl=SHARED_TTL)


class SaleReference(models.Model):
    """One of a shop's ids of a sale, and its order. Makes a sale one order, however often it is reported."""

    connection = models.ForeignKey(Connection, models.CASCADE, db_index=False, related_name="sale_references")
    reference = models.CharField(max_length=MAX_ID)
    order = models.ForeignKey(Order, models.CASCADE, related_name="sale_references")
    is_own = models.BooleanField(default=False, help_text=_("Whether it is the id of the sale itself."))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["connection", "reference"], name="a_sale_is_one_order")]

    def __str__(self):
        return self.reference


class ExternalProductQuerySet(models.QuerySet["ExternalProduct"]):
    def mapped(self):
        return self.filter(Exists(ProductMapping.objects.filter(external=OuterRef("pk"))))

    def decided(self):
        """Those that a person mapped or set to be ignored."""
        return self.filter(Q(ignored=True) | Exists(ProductMapping.objects.filter(external=OuterRef("pk"))))


class ExternalProduct(models.Model):
    """A product of a shop: one that a person mapped or set to be ignored, or that was seen without a mapping."""

    connection = models.ForeignKey(Connection, models.CASCADE, db_index=False, related_name="external_products")
    external_id = models.CharField(max_length=MAX_ID)
    name = models.CharField(max_length=200, blank=True)
    ignored = models.BooleanField(default=False)
    hold_hours = models.PositiveIntegerField(null=True, blank=True)
    seen_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ExternalProductQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "external_id"], name="external_product_is_unique")
        ]

    def __str__(self):
        return self.name or self.external_id


class ProductMapping(models.Model):
    """A product that buyers of an external product get, `multiplier` times for each. A bundle has several."""

    external = models.ForeignKey(ExternalProduct, models.CASCADE, db_index=False, related_name="mappings")
    product = models.ForeignKey(Product, models.CASCADE, related_name="mappings")
    multiplier = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["external", "product"], name="a_bundle_has_a_product_once"),
            models.CheckConstraint(condition=Q(multiplier__gte=1), name="a_multiplier_is_positive"),
        ]

    def __str__(self):
        return f"{self.external} → {self.multiplier} × {self.product}"


class CatchUp(Retryable):
    """Fetching the orders that a shop has had since a time, page by page. The row has the next page."""

    TASK = "shops.tasks.catch_up"
    queue = CALLOUTS

    connection = models.ForeignKey(Connection, models.CASCADE, db_index=False, related_name="catch_ups")
    since = models.DateTimeField()
    cursor = models.JSONField(null=True, editable=False)
    found = models.PositiveIntegerField(default=0, help_text=_("Events that were not stored before."))

    class Meta(Retryable.Meta):
        indexes = [
            *Retryable.Meta.indexes,
            models.Index(fields=["connection", "-created_at"], name="catch_up_of_connection"),
        ]

    def __str__(self):
        since = f"{self.since:%Y-%m-%d %H:%M}"
        return gettext("Orders of {shop} since {since} UTC").format(shop=self.connection, since=since)


class WriteBack(Retryable):
    """Saving the codes of an order in the shop's order, once they are there."""

    TASK = "shops.tasks.write_back"
    queue = CALLOUTS

    connection = models.ForeignKey(Connection, models.CASCADE, related_name="write_backs")
    order = models.OneToOneField(Order, models.CASCADE, related_name="write_back")
    reference = models.CharField(max_length=MAX_ID, help_text=_("The shop’s id of the sale."))

    def __str__(self):
        return gettext("Codes of {order} for {shop}").format(order=self.order, shop=self.connection)
