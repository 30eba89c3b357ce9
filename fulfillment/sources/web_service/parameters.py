"""The catalog of parameters that a web service can receive. Merchants can rename them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import Fulfillment
from fulfillment.sources.web_service.models import RequestParameter, WebService
from orders import subscriptions
from orders.models import OrderItem
from orders.money import trim
from outbound.masking import MASK, mask_code
from work.refusals import Refused


@dataclass(frozen=True)
class Subject:
    """The units of an order item that one request is for."""

    item: OrderItem
    units: list[int]

    @property
    def quantity(self) -> int:
        """The number of units or, if one license covers the whole item, the quantity bought."""
        return self.item.quantity if self.item.units == 1 else len(self.units)

    @cached_property
    def first_licenses(self) -> dict[int, str]:
        return subscriptions.first_licenses(self.item) if self.item.subscription_id else {}

    @cached_property
    def last_licenses(self) -> dict[int, str]:
        return subscriptions.last_licenses(self.item) if self.item.subscription_id else {}

    def join(self, licenses: dict[int, str]) -> str:
        """The licenses of these units, one per line."""
        return "\n".join(licenses[unit] for unit in self.units if unit in licenses)


@dataclass(frozen=True)
class Parameter:
    name: str
    description: str | Promise
    example: str
    # Always a string, perhaps empty. May raise subscriptions.PredecessorMissing.
    value: Callable[[Subject], str]
    support_only: bool = False  # only support staff can add or remove it
    holds_code: bool = False


def _subscription(subject: Subject, field: str) -> str:
    return getattr(subject.item.subscription, field) if subject.item.subscription else ""


def without_weeks(period: str) -> str:
    """Convert weeks to days, because web services know only years, months and days: P2W becomes P14D."""
    return f"P{7 * int(period[1:-1])}D" if period.endswith("W") else period


def _additional(name: str, *, support_only: bool = False) -> Parameter:
    return Parameter(
        name,
        _("additional parameter of the order; empty once purged"),
        "spring-mail",
        lambda subject: subject.item.order.additional_parameters.get(name, ""),
        support_only=support_only,
    )


CATALOG: dict[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("Order", _("order number"), "A0012345678", lambda subject: subject.item.order.number),
        Parameter("Item", _("Keywell’s ID of the order item"), "4711", lambda subject: str(subject.item.pk)),
        Parameter("ID", _("the product’s SKU"), "PHOTO-PRO", lambda subject: subject.item.product.sku),
        Parameter("Quantity", _("number of units in this request"), "2", lambda subject: str(subject.quantity)),
        Parameter(
            "Unit",
            _("number of the unit in the item, from 1; several are separated by commas"),
            "1",
            lambda subject: ",".join(map(str, subject.units)),
        ),
        Parameter(
            "Order_sum",
            _(
                "product total including quantity, VAT and discount, in the order’s currency,"
                " with a dot and at least two decimals"
            ),
            "59.98",
            lambda subject: str(trim(subject.item.total_price)),
        ),
        Parameter("Currency", _("the order’s currency, ISO 4217"), "EUR", lambda subject: subject.item.order.currency),
        Parameter(
            "Subscription_ID",
            _("shop’s subscription number; empty without a subscription"),
            "S-77",
            lambda subject: _subscription(subject, "reference"),
        ),
        Parameter(
            "Subscription_period",
            _("how long a renewal is good for, ISO 8601: P1Y, P3M, P30D; weeks as days"),
            "P1Y",
            lambda subject: without_weeks(_subscription(subject, "period")),
        ),
        Parameter(
            "Key_first_renew",
            _("renewals: license of the subscription’s first order that wasn’t refunded"),
            "AAAA-BBBB-CCCC",
            lambda subject: subject.join(subject.first_licenses),
            support_only=True,
            holds_code=True,
        ),
        Parameter(
            "Key_last_renew",
            _("renewals: license of the previous order that wasn’t refunded"),
            "AAAA-BBBB-DDDD",
            lambda subject: subject.join(subject.last_licenses),
            holds_code=True,
        ),
        Parameter(
            "Email", _("customer’s e-mail address"), "ada@example.com", lambda subject: subject.item.order.email
        ),
        Parameter("First_name", _("customer’s first name"), "Ada", lambda subject: subject.item.order.first_name),
        Parameter("Last_name", _("customer’s last name"), "Byron", lambda subject: subject.item.order.last_name),
        Parameter("Company", _("customer’s company"), "Engines Ltd", lambda subject: subject.item.order.company),
        Parameter("Country", _("customer’s country, ISO 3166-1"), "GB", lambda subject: subject.item.order.country),
        Parameter("Language", _("customer’s language, BCP 47"), "en", lambda subject: subject.item.order.language),
        *(_additional(f"referer{number}") for number in range(1, 7)),
        *(_additional(f"referer{number}", support_only=True) for number in range(7, 13)),
    )
}

# The parameters of a new web service.
DEFAULTS = ["Order", "Item", "ID", "Quantity"]


def is_support_only(parameter: RequestParameter) -> bool:
    return bool(parameter.parameter) and CATALOG[parameter.parameter].support_only


@transaction.atomic
def add_service(service: WebService) -> None:
    """Save a new web service with the default parameters, and ask it for waiting items right away."""
    service.save()
    add_defaults(service)
    Fulfillment.objects.ask_again(service)


def add_defaults(service: WebService) -> None:
    RequestParameter.objects.bulk_create(
        RequestParameter(service=service, position=position, parameter=name, name=name)
        for position, name in enumerate(DEFAULTS, 1)
    )


class ParametersRefused(Refused):
    code = "parameters_refused"


@transaction.atomic
def set_parameters(service: WebService, wanted: list[RequestParameter]) -> None:
    """Replace a service's parameters with these, in this order. The parameters that only support staff can change are
    kept: in `wanted`, they only give the position.

    Raises ParametersRefused if a new one is for support staff only or two have the same name.
    """
    # Serializes concurrent saves.
    WebService.objects.select_for_update(no_key=True).get(pk=service.pk)
    kept = {parameter.parameter: parameter for parameter in service.parameters.all() if is_support_only(parameter)}
    if any(is_support_only(parameter) and parameter.parameter not in kept for parameter in wanted):
        raise ParametersRefused(gettext("Only support staff can add this parameter."))
    places = dict.fromkeys(parameter.parameter for parameter in wanted)
    in_order = [kept.get(parameter.parameter, parameter) for parameter in wanted]
    in_order += [parameter for name, parameter in kept.items() if name not in places]
    if len({parameter.name for parameter in in_order}) < len(in_order):
        raise ParametersRefused(gettext("Two parameters have the same name."))

    for position, parameter in enumerate(in_order, 1):
        parameter.service, parameter.position = service, position
    service.parameters.exclude(pk__in=[parameter.pk for parameter in kept.values()]).delete()
    RequestParameter.objects.bulk_update(kept.values(), ["position"])
    RequestParameter.objects.bulk_create(parameter for parameter in in_order if not is_support_only(parameter))


def get_values(parameters: Iterable[RequestParameter], subject: Subject) -> list[tuple[RequestParameter, str]]:
    """Return the parameters with their values. Raises subscriptions.PredecessorMissing."""
    return [
        (parameter, CATALOG[parameter.parameter].value(subject) if parameter.parameter else parameter.constant)
        for parameter in parameters
    ]


def mask(parameter: RequestParameter, value: str) -> str:
    """Mask a value for the log."""
    if parameter.parameter:
        return "\n".join(map(mask_code, value.splitlines())) if CATALOG[parameter.parameter].holds_code else value
    return MASK if parameter.is_secret else value
