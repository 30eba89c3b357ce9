"""Merchants' own web services, which generate codes, and the parameters sent to them."""

from urllib.parse import urlsplit

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models, transaction
from django.db.models import Case, Count, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce, Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.sources.web_service.shapes import code_shapes
from merchants.models import Merchant
from orders.models import Order, OrderItem
from outbound.models.signed import Signed
from outbound.models.upstreams import Upstream
from vault.fields import EncryptedTextField


class WebServiceQuerySet(models.QuerySet["WebService"]):
    def with_failed(self):
        """Annotate `failed`: how many paid items a person can retry."""
        chosen = Q(item__product__fulfillment_methods__webservicemethod__web_service=OuterRef("pk"))
        for_all = Q(item__product__fulfillment_methods=None, item__product__merchant=OuterRef("for_products_of"))
        failed = Fulfillment.objects.given_up().filter(
            chosen | for_all, item__order__status=Order.Status.PAID, item__order__merchant=OuterRef("merchant")
        )
        counted = failed.order_by().annotate(all=Value(1)).values("all").annotate(count=Count("pk", distinct=True))
        for_products_of = Case(When(for_all_products=True, then=F("merchant")))
        return self.annotate(for_products_of=for_products_of).annotate(
            failed=Coalesce(Subquery(counted.values("count")), 0)
        )


class WebService(Signed, Upstream):
    """A server of the merchant's that answers with activation codes."""

    PROMISE = _("No code is issued twice, because every request repeats its Idempotency-Key.")

    class Format(models.TextChoices):
        FORM = "form", _("POST form")
        JSON = "json", _("POST JSON")
        GET = "get", _("GET with query parameters")

    class Per(models.TextChoices):
        UNIT = "unit", _("One request per code")
        ITEM = "item", _("One request per order item, for all its codes")

    class Login(models.TextChoices):
        NONE = "none", _("Signature only")
        BASIC = "basic", _("User name and password (HTTP Basic)")
        BEARER = "bearer", _("Token (Bearer)")

    class Answer(models.TextChoices):
        BODY = "body", _("The whole answer")
        JSON = "json", _("At a path in JSON")
        XML = "xml", _("At a path in XML")

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="web_services")
    name = models.CharField(max_length=100)
    url = models.CharField("URL", max_length=1000)
    format = models.CharField("request", max_length=10, choices=Format, default=Format.FORM)
    request_per = models.CharField("requests", max_length=10, choices=Per, default=Per.UNIT)
    timeout = models.PositiveSmallIntegerField(
        _("time limit"),
        default=15,
        validators=[MinValueValidator(1), MaxValueValidator(30)],
        help_text=_("Seconds to wait for the complete answer, at most 30."),
    )
    login = models.CharField(max_length=10, choices=Login, default=Login.NONE)
    username = models.CharField(_("user name"), max_length=200, blank=True)
    password = EncryptedTextField(_("password or token"), bound_to=("merchant_id",), blank=True, default="")

    answer = models.CharField(_("code location"), max_length=10, choices=Answer, default=Answer.BODY)
    path = models.CharField(
        max_length=200, blank=True, help_text=_("JSON: $.license.key or $.keys[*]. XML: license/key or item/@code.")
    )
    holds_list = models.BooleanField(
        _("several codes in an answer"),
        default=False,
        help_text=_("If the code is the whole answer: one code per line."),
    )
    temporary_pattern = models.CharField(
        _("temporary error pattern"),
        max_length=200,
        blank=True,
        help_text=_("Regular expression. If it matches an answer, we treat it as an error and retry later."),
    )
    same_code_allowed = models.BooleanField(
        _("allow repeated codes"),
        default=False,
        help_text=_(
            "For volume licenses and links. Otherwise we reject a code that another unit or order already has."
        ),
    )
    holds_unlike = models.BooleanField(
        _("hold codes that look different"),
        default=True,
        help_text=_("A code that looks unlike the earlier ones may be an error message. A person decides."),
    )
    known_shapes = models.JSONField(default=list, editable=False, help_text=_("What accepted codes look like."))
    sends_itself = models.BooleanField(
        _("the service sends the code itself"),
        default=False,
        help_text=_("Any 2xx answer completes the item. We save no code and send no e-mail."),
    )
    for_all_products = models.BooleanField(
        _("for all products"), default=False, help_text=_("Use it for every product without a source of its own.")
    )

    objects = WebServiceQuerySet.as_manager()  # type: ignore[misc]

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["merchant", "name"], name="web_service_name_is_unique"),
            models.UniqueConstraint(
                fields=["merchant"],
                condition=Q(for_all_products=True),
                name="one_web_service_for_all_products",
                violation_error_message=_("Another web service already serves all products."),
            ),
        ]

    def get_absolute_url(self) -> str:
        return reverse("web-service", args=[self.pk])

    @property
    def fix(self):
        return _("Open console"), reverse("web-service-console", args=[self.pk])

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def asks_for_all(self) -> bool:
        """Whether one request covers all the codes that an item takes from the service."""
        return self.request_per == self.Per.ITEM or self.sends_itself

    def remember(self, codes: list[str]) -> None:
        """Remember what accepted codes look like."""
        with transaction.atomic():
            # Serializes workers that add shapes. The breaker isn't blocked: it updates the Upstream row.
            row = WebService.objects.select_for_update(no_key=True, of=("self",)).get(pk=self.pk)
            self.known_shapes = sorted({*row.known_shapes, *(shape for code in codes for shape in code_shapes(code))})
            self.save(update_fields=["known_shapes"])

    def serves(self) -> Q:
        chosen = Q(item__product__fulfillment_methods__webservicemethod__web_service=self)
        if self.for_all_products:
            chosen |= Q(item__product__merchant=self.merchant_id, item__product__fulfillment_methods=None)
        return chosen


class RequestParameter(models.Model):
    """A parameter sent to a web service: one from the catalog (parameters.py), or a constant."""

    service = models.ForeignKey(WebService, models.CASCADE, related_name="parameters")
    position = models.PositiveSmallIntegerField()
    parameter = models.CharField(max_length=30, blank=True, help_text=_("Name in the catalog. Empty for a constant."))
    name = models.CharField(
        max_length=64,
        help_text=_("Name in the request."),
        validators=[
            RegexValidator(
                r"\A[A-Za-z0-9_.\-\[\]]+\Z", _("Use only letters, digits, dots, dashes, underscores and brackets.")
            )
        ],
    )
    constant = EncryptedTextField(bound_to=("service_id",), blank=True, default="")
    is_secret = models.BooleanField("secret", default=False, help_text=_("Mask this constant in logs."))

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["service", "name"], name="parameter_name_is_unique"),
            models.UniqueConstraint(
                fields=["service", "parameter"], condition=~Q(parameter=""), name="a_parameter_is_sent_once"
            ),
        ]

    def __str__(self):
        return self.name


class ReceivedCode(models.Model):
    """The unit that holds a code received from a web service.

    The constraint keeps a service's mistake, such as a cached answer, from selling one license twice.
    """

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="+")
    fingerprint = models.BinaryField()
    item = models.ForeignKey(OrderItem, models.CASCADE, related_name="+")
    unit = models.PositiveIntegerField()
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["merchant", "fingerprint"], name="a_received_code_is_for_one")]

    def __str__(self):
        return gettext("Code for unit {unit} of {item}").format(unit=self.unit, item=self.item)


class WebServiceMethod(FulfillmentMethod):
    SOURCE, PLACE = "web_service", "web_service"

    web_service = models.ForeignKey(WebService, models.PROTECT, related_name="fulfillment_methods")
