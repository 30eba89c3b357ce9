import re
from datetime import UTC
from decimal import Decimal
from typing import Any

from django.core.validators import RegexValidator
from iso4217 import Currency
from rest_framework import serializers

from merchants.addresses import validate_mailable
from merchants.models import CheckoutPage, Product
from merchants.text import remove_unseen, validate_visible
from orders.models import Subscription

CURRENCIES = {currency.code for currency in Currency}
MAX_QUANTITY = 10_000
MAX_ITEMS = 100

# What may stand in an address of the API.
REFERENCE_PATTERN = r"[^\s\x00-\x1f/\\?#%]+"
REFERENCE = RegexValidator(
    rf"^(?!\.{{1,2}}$){REFERENCE_PATTERN}$", "Use no spaces, none of / \\ ? # and the percent sign, and not only dots."
)


class PriceField(serializers.CharField):
    """An amount in the order's currency: a string with two decimals and a dot."""

    default_error_messages = {"price": "A price is a string with two decimals, such as “59.98”."}

    def to_internal_value(self, data):
        if not isinstance(data, str) or not re.fullmatch(r"[0-9]{1,10}\.[0-9]{2}", data):
            self.fail("price")
        return data


class PlainCharField(serializers.CharField):
    """Text and nothing else: a number or a truth value in its place is an error, not a guess."""

    def to_internal_value(self, data):
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NameField(PlainCharField):
    """What people are called, without characters that nobody sees."""

    def to_internal_value(self, data):
        return remove_unseen(super().to_internal_value(data))


class MomentField(serializers.DateTimeField):
    """An ISO 8601 date and time with its offset, kept in UTC."""

    default_error_messages = {"naive": "The time needs its offset from UTC, such as “2026-11-22T10:00:00Z”."}

    def enforce_timezone(self, value):
        if value.tzinfo is None:
            self.fail("naive")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            self.fail("overflow")


class CustomerSerializer(serializers.Serializer):
    email = serializers.EmailField(max_length=254, validators=[validate_mailable])
    first_name = NameField(max_length=200, default="", allow_blank=True)
    last_name = NameField(max_length=200, default="", allow_blank=True)
    company = NameField(max_length=200, default="", allow_blank=True)
    country = serializers.RegexField(
        r"^[A-Z]{2}$",
        default="",
        allow_blank=True,
        help_text="ISO 3166-1 alpha-2",
        error_messages={"invalid": "A country is two capital letters (ISO 3166-1 alpha-2), such as “GB”."},
    )


class SubscriptionSerializer(serializers.Serializer):
    id = PlainCharField(max_length=64, validators=[validate_visible])
    type = serializers.ChoiceField(Subscription.Type.choices)
    period = serializers.RegexField(
        r"^P[1-9][0-9]{0,3}[YMD]$",
        help_text="ISO 8601 duration, one unit",
        error_messages={"invalid": "A period is P, a number and one of Y, M, D, such as “P1Y”."},
    )
    parent_order = PlainCharField(
        max_length=64,
        default=None,
        allow_null=True,
        validators=[validate_visible],
        help_text="Of a renewal: the subscription's first order.",
    )


class ItemSerializer(serializers.Serializer):
    item = PlainCharField(max_length=64, validators=[REFERENCE, validate_visible])
    product = PlainCharField(max_length=64, help_text="SKU")
    quantity = serializers.IntegerField(min_value=1, max_value=MAX_QUANTITY)
    total_price = PriceField(help_text="Quantity, VAT and discount included, such as “59.98”.")
    subscription = SubscriptionSerializer(default=None, allow_null=True)


class ParametersField(serializers.DictField):
    child = PlainCharField(max_length=1000, allow_blank=True)
    default_error_messages = {
        "too_many": "At most {limit} parameters.",
        "name": "A parameter's name has 1 to 64 letters, digits, dots, dashes or underscores.",
    }

    def to_internal_value(self, data):
        parameters = super().to_internal_value(data)
        if len(parameters) > MAX_ITEMS:
            self.fail("too_many", limit=MAX_ITEMS)
        if not all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) for name in parameters):
            self.fail("name")
        return parameters


class PaymentSerializer(serializers.Serializer):
    """A payment as the shop reports it. Needs `merchant` in its context, to which products and pages belong.

    The validated data holds the products and the checkout page themselves.
    """

    order = PlainCharField(max_length=64, validators=[REFERENCE, validate_visible])
    paid_at = MomentField()
    currency = PlainCharField(max_length=3, help_text="ISO 4217 alpha-3")
    checkout_page = PlainCharField(max_length=50, default="main")
    language = serializers.RegexField(
        r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        max_length=35,
        default="en",
        help_text="BCP 47",
        error_messages={"invalid": "A language is a BCP 47 tag, such as “en” or “pt-BR”."},
    )
    customer = CustomerSerializer()
    items = ItemSerializer(many=True, allow_empty=False, max_length=MAX_ITEMS)  # type: ignore[call-arg]
    additional_parameters = ParametersField(default=dict)

    def validate_currency(self, code: str) -> str:
        if code not in CURRENCIES:
            raise serializers.ValidationError(f"“{code}” is not a currency code of ISO 4217.")
        return code

    def validate_checkout_page(self, code: str) -> CheckoutPage:
        page = self.context["merchant"].checkout_pages.filter(code=code).first()
        if page is None:
            raise serializers.ValidationError(f"There is no checkout page “{code}”.")
        return page

    def validate_items(self, items: list[dict]) -> list[dict]:
        skus = {item["product"] for item in items}
        products: dict[str, Product] = {
            product.sku: product for product in self.context["merchant"].products.filter(sku__in=skus)
        }
        errors: dict[int, dict[str, Any]] = {}
        seen = set()
        for index, item in enumerate(items):
            if item["product"] not in products:
                errors.setdefault(index, {})["product"] = [f"There is no product “{item['product']}”."]
            if item["item"] in seen:
                errors.setdefault(index, {})["item"] = [f"Item “{item['item']}” stands in the order twice."]
            seen.add(item["item"])
            if item["quantity"] > MAX_QUANTITY - sum(other["quantity"] for other in items[:index]):
                errors.setdefault(index, {})["quantity"] = [f"An order has at most {MAX_QUANTITY} units."]
        if errors:
            raise serializers.ValidationError([errors.get(index, {}) for index in range(len(items))])

        return [item | {"product": products[item["product"]]} for item in items]


class RefundSerializer(serializers.Serializer):
    amount = PriceField(default=None, allow_null=True, help_text="Left out: all that is left.")
    reference = PlainCharField(
        max_length=64,
        default="",
        allow_blank=True,
        validators=[validate_visible],
        help_text="The shop's number; one refund is recorded once.",
    )

    def validate_amount(self, amount: str | None) -> Decimal | None:
        if amount is not None and not Decimal(amount):
            raise serializers.ValidationError("A refund is more than nothing.")
        return None if amount is None else Decimal(amount)
