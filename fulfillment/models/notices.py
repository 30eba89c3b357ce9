"""E-mails that tell a merchant, or our support staff, what needs a person."""

from django.db import models
from django.db.models import F, Q

from fulfillment.models.deliveries import Delivery
from fulfillment.models.net_licensing import LicensingAccount
from fulfillment.models.retryable import Retryable, RetryableQuerySet
from fulfillment.models.setup_requests import SetupRequest
from fulfillment.models.upstreams import Upstream
from fulfillment.models.web_services import WebService
from fulfillment.models.webhooks import WebhookEndpoint
from merchants.models import Merchant
from orders.models import OrderItem
from pools.models import LicensePool, UploadLink


class MerchantNoticeQuerySet(RetryableQuerySet):
    def gathering(self):
        """Of pools, those that may share a mail: they wait for others, or were tried and not sent."""
        return self.filter(pool__isnull=False, due_at__gt=F("created_at"))

    def since_empty(self, pool: LicensePool):
        """What was told of an empty pool since it was found to be empty."""
        found = self.filter(pool=pool, kind=MerchantNotice.Kind.POOL_EMPTY).order_by("-pk").values("pk")[:1]
        return self.filter(pool=pool, pk__gte=found)


class MerchantNotice(Retryable):
    """One e-mail that tells a merchant, or support staff about one, what needs a person."""

    TASK = "fulfillment.tasks.send_notice"

    class Kind(models.TextChoices):
        POOL_LOW = "pool_low", "pool running low"
        POOL_EMPTY = "pool_empty", "pool empty"
        POOL_WAITED_FOR = "pool_waited_for", "orders wait for an empty pool"
        POOL_STILL_EMPTY = "pool_still_empty", "pool still empty"
        CODE_WANTED = "code_wanted", "activation code wanted"
        ITEM_FAILED = "item_failed", "fulfillment failed"
        DELIVERY_FAILED = "delivery_failed", "delivery failed"
        DELIVERY_BOUNCED = "delivery_bounced", "delivery bounced"
        WEBHOOK_DISABLED = "webhook_disabled", "webhook endpoint disabled"
        SETUP_ASKED = "setup_asked", "set-up asked for"
        SETUP_APPLIED = "setup_applied", "set-up applied"
        SETUP_ANSWERED = "setup_answered", "set-up answered"
        SOURCE_DOWN = "web_service_down", "source down"
        SOURCE_FAILED = "web_service", "source failed"
        NOT_DEACTIVATED = "not_deactivated", "licenses not deactivated"
        NOT_ACTIVATED = "not_activated", "licenses not activated again"
        MAIL_SERVER_REFUSED = "mail_server", "mail server refuses the login"

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=20, choices=Kind)
    pool = models.ForeignKey(LicensePool, models.CASCADE, null=True, blank=True)
    available = models.PositiveIntegerField(null=True, blank=True, help_text="Keys left in the pool.")
    upload_link = models.OneToOneField(UploadLink, models.SET_NULL, null=True, blank=True, related_name="notice")
    item = models.ForeignKey(OrderItem, models.CASCADE, null=True, blank=True)
    delivery = models.ForeignKey(Delivery, models.CASCADE, null=True, blank=True)
    endpoint = models.ForeignKey(WebhookEndpoint, models.CASCADE, null=True, blank=True)
    web_service = models.ForeignKey(WebService, models.CASCADE, null=True, blank=True)
    licensing_account = models.ForeignKey(LicensingAccount, models.CASCADE, null=True, blank=True)
    setup_request = models.ForeignKey(SetupRequest, models.CASCADE, null=True, blank=True, related_name="notices")
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = MerchantNoticeQuerySet.as_manager()  # type: ignore[misc]

    class Meta(Retryable.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["item", "kind"], condition=Q(item__isnull=False), name="one_notice_of_a_kind_per_item"
            )
        ]

    def __str__(self):
        return f"Notice to {self.merchant}: {self.get_kind_display()}"

    @property
    def upstream(self) -> Upstream | None:
        """The server that it is about, if it is about one."""
        return self.web_service or self.licensing_account

    @property
    def is_past(self) -> bool:
        """Whether the pool was filled since."""
        if self.pool is None:
            return False
        if self.kind == self.Kind.POOL_LOW:
            return self.pool.notified == LicensePool.Notice.NONE
        return self.pool.notified != LicensePool.Notice.EMPTY

    def follow(self, other: "MerchantNotice") -> None:
        """Be tried again when another one is, which could not be sent either."""
        self._update(due_at=other.due_at, reason=other.reason)
