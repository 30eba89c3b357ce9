import re
from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from threading import local
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from fulfillment.catalog import read_catalog
from merchants.models import CheckoutPage, Merchant, Product
from merchants.text import remove_invisible, validate_visible
from orders.fields import EmailField
from orders.localization import DEFAULT_LANGUAGE
from orders.models import ID_PREFIX, MAX_OTHER_PRODUCT, Subscription
from orders.money import DECIMALS

MAX_QUANTITY = 10_000
MAX_ITEMS = 100
MAX_PARAMETER = 1000

LIVE_KEY = "This API key is live. Report tests with a test API key, which starts with kw_test_."
TEST_KEY = "This API key is for tests. Report real payments with a live key, which doesn’t start with kw_test_."

# Any visible text: shops use #1001 and gid://shopify/Order/1. But clients resolve . and .. in URLs.
REFERENCE_PATTERN = r"(?:[^\s\x00-\x1f\x7f]| )+"
REFERENCE = RegexValidator(
    rf"^(?!\.{{1,2}}$)(?!{ID_PREFIX}\d+$){REFERENCE_PATTERN}$",
    "Use visible characters, other than “.” or “..”. “id:” followed by digits is reserved for our own IDs.",
)
LANGUAGE_PATTERN = r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*"
PRICE_PATTERN = r"-?[0-9]{1,10}(\.[0-9]{1,4})?"


class OptionalFields(serializers.Serializer):
    """Treats null and empty values of optional fields as omitted."""

    def to_internal_value(self, data):
        if isinstance(data, Mapping):
            required = {name for name, field in self.fields.items() if field.required}
            data = {name: value for name, value in data.items() if name in required or not _is_empty(value)}
        return super().to_internal_value(data)


def _is_empty(value: Any) -> bool:
    # PHP encodes an empty object as [].
    return not value.strip() if isinstance(value, str) else value is None or value in ([], {})


class PriceField(serializers.CharField):
    """An amount as a string with a dot. `check_price` validates its decimals."""

    default_error_messages = {"price": "Enter the price as a string with a dot and two decimals, such as “59.98”."}

    def to_internal_value(self, data):
        if not isinstance(data, str) or not re.fullmatch(PRICE_PATTERN, data):
            self.fail("price")
        return data


def check_price(price: str, currency: str) -> None:
    """Raise ValidationError unless the price has two decimals, or as many as the currency."""
    own = DECIMALS[currency]
    if len(price.partition(".")[2]) not in {own, 2}:
        example = f"1234{'.5' if own else ''}".ljust(5 + own if own else 4, "0")
        allowed = "two decimals" if own == 2 else f"two or {own or 'no'} decimals"
        raise serializers.ValidationError(f"A price in {currency} is a string with {allowed}, such as “{example}”.")


class PlainCharField(serializers.CharField):
    """Accepts only strings, while DRF also converts numbers."""

    def to_internal_value(self, data):
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class LenientCharField(serializers.CharField):
    """Text that no license depends on. Drops what we can't store instead of refusing the payment."""

    def __init__(self, *, max_characters: int, **kwargs: Any) -> None:
        super().__init__(default="", allow_blank=True, allow_null=True, **kwargs)
        self.max_characters = max_characters

    def run_validation(self, data=serializers.empty):
        return self.convert(to_text(data)[: self.max_characters].strip())

    def convert(self, text: str) -> str:
        return text


class CountryField(LenientCharField):
    def convert(self, text: str) -> str:
        return text.upper() if re.fullmatch(r"[A-Za-z]{2}", text) else ""


class LanguageField(LenientCharField):
    def convert(self, text: str) -> str:
        """Accept a BCP 47 tag, or the language and country of a locale such as de_DE.UTF-8."""
        tag = re.split(r"[.@]", text)[0].replace("_", "-")
        return tag if re.fullmatch(LANGUAGE_PATTERN, tag) else DEFAULT_LANGUAGE


class NameField(LenientCharField):
    def convert(self, text: str) -> str:
        return remove_invisible(text)


def to_text(value: Any) -> str:
    """Convert a JSON string or number to text that PostgreSQL can store; other values become empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return re.sub(r"[\x00\ud800-\udfff]", "", str(value))


class MomentField(serializers.DateTimeField):
    """An ISO 8601 date and time. Keeps its UTC offset, because the customer knows the shop's date."""

    default_error_messages = {"naive": "Add the UTC offset, as in “2026-11-22T10:00:00Z”."}

    def to_internal_value(self, value):
        if isinstance(value, str):
            value = re.sub(r"z$", "Z", value.strip().replace("\N{MINUS SIGN}", "-"))
            value = re.sub(r"([+-])(\d)(:?\d\d)?$", r"\g<1>0\2\3", value) if "T" in value.upper() else value
        return super().to_internal_value(value)

    def enforce_timezone(self, value):
        if value.tzinfo is None:
            self.fail("naive")
        try:
            value.astimezone(UTC)
        except OverflowError:
            self.fail("overflow")
        return value


class CustomerSerializer(OptionalFields):
    email = EmailField(max_length=254)
    first_name = NameField(max_characters=200)
    last_name = NameField(max_characters=200)
    company = NameField(max_characters=200)
    country = CountryField(max_characters=10, help_text="ISO 3166-1 alpha-2. Other values are ignored.")


class SubscriptionSerializer(OptionalFields):
    id = PlainCharField(max_length=64, validators=[validate_visible])
    type = serializers.ChoiceField(Subscription.Type.choices)
    period = serializers.RegexField(
        r"^P[1-9][0-9]{0,3}[YMWD]$",
        help_text="ISO 8601 duration with one unit, such as `P1Y`.",
        error_messages={"invalid": "Enter P, a number and one of Y, M, W or D, such as “P1Y”."},
    )
    parent_order = PlainCharField(
        max_length=64,
        default=None,
        allow_null=True,
        validators=[validate_visible],
        help_text="For renewals: the number of the subscription’s first order, or of the previous one.",
    )


class ItemSerializer(OptionalFields):
    item = PlainCharField(max_length=64, validators=[REFERENCE, validate_visible])
    product = LenientCharField(
        max_characters=MAX_OTHER_PRODUCT, help_text="SKU. Items with an unknown SKU are *not ours*."
    )
    quantity = serializers.IntegerField(
        min_value=-(10**9),
        max_value=10**9,
        help_text=f"At most {MAX_QUANTITY} units per order. 0 or less: *not ours*.",
    )
    total_price = PriceField(
        help_text="Total including quantity, VAT and discount, such as “59.98”. Negative: *not ours*."
    )
    subscription = SubscriptionSerializer(default=None, allow_null=True)

    def to_internal_value(self, data):
        if isinstance(data, Mapping):
            subscription = data.get("subscription")
            if isinstance(subscription, Mapping) and all(_is_empty(value) for value in subscription.values()):
                data = {**data, "subscription": None}
            if _read_sku(data) not in getattr(self.root, "products", ()):
                data = self._make_valid(data)
        return super().to_internal_value(data)

    def _make_valid(self, data: Mapping) -> dict:
        """Replace invalid values of an item that is *not ours*, so that it can't block the order."""
        quantity, price = to_text(data.get("quantity")), to_text(data.get("total_price"))
        subscription = data.get("subscription")
        return {
            **data,
            "quantity": quantity if re.fullmatch(r"-?\d{1,9}", quantity, re.ASCII) else 0,
            "total_price": price if re.fullmatch(PRICE_PATTERN, price) else "0",
            "subscription": subscription if SubscriptionSerializer(data=subscription).is_valid() else None,
        }


def _read_sku(item: Mapping) -> str:
    return to_text(item.get("product"))[:MAX_OTHER_PRODUCT].strip()


def _read_skus(items: list) -> set[str]:
    return {_read_sku(item) for item in items[:MAX_ITEMS] if isinstance(item, Mapping)} - {""}


class ParametersField(serializers.DictField):
    """Texts by name. Drops invalid names and values."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=LenientCharField(max_characters=MAX_PARAMETER), **kwargs)

    def to_internal_value(self, data):
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", str(name))}
            data = dict(list(data.items())[:MAX_ITEMS])
        return super().to_internal_value(data)


class PaymentSerializer(OptionalFields):
    """A payment as the shop reports it. Requires the `merchant` in its context; use `validate_payment`.

    The validated data contains the CheckoutPage, and for each item its Product, or None if it is *not ours*.
    """

    order = PlainCharField(max_length=64, validators=[REFERENCE, validate_visible])
    paid_at = MomentField()
    reinstated_at = MomentField(
        default=None,
        allow_null=True,
        help_text="Set this when you report the payment again after undoing a full refund.",
    )
    currency = PlainCharField(max_length=3, help_text="ISO 4217 alpha-3")
    checkout_page = PlainCharField(max_length=50, default="main", allow_null=True)
    language = LanguageField(
        max_characters=35, help_text="BCP 47 tag, or a locale such as de_DE. Defaults to English."
    )
    customer = CustomerSerializer()
    items = ItemSerializer(many=True, allow_empty=False, max_length=MAX_ITEMS)  # type: ignore[call-arg]
    additional_parameters = ParametersField(default=dict)
    test = serializers.BooleanField(
        default=None,
        allow_null=True,
        help_text="Whether this is a test. It can only repeat what the API key is for; omit it, or use it to be sure.",
    )

    def validate_test(self, test: bool | None) -> bool | None:
        for_tests = self.context["merchant"].is_test
        if test and not for_tests:
            raise serializers.ValidationError(LIVE_KEY)
        if test is False and for_tests:
            raise serializers.ValidationError(TEST_KEY)
        return test

    def validate_currency(self, code: str) -> str:
        if code not in DECIMALS:
            raise serializers.ValidationError(f"“{code}” isn’t an ISO 4217 currency code.")
        return code

    def validate_checkout_page(self, code: str) -> CheckoutPage:
        page = self.catalog.page
        if page is None or page.code != code:
            raise serializers.ValidationError(f"The checkout page “{code}” doesn’t exist.")
        return page

    def to_internal_value(self, data):
        # Read before the items are validated, because items that are *not ours* are validated leniently.
        reported = data if isinstance(data, Mapping) else {}
        items, page = reported.get("items"), to_text(reported.get("checkout_page")).strip()
        self.reported_currency = reported.get("currency")
        self.catalog = read_catalog(
            self.context["merchant"],
            page or str(self.fields["checkout_page"].default),
            _read_skus(items if isinstance(items, list) else []),
        )
        return super().to_internal_value(data)

    @property
    def products(self) -> dict[str, Product]:
        return self.catalog.products

    def validate_items(self, items: list[dict]) -> list[dict]:
        products = self.products
        sold = [item | {"product": products.get(item["product"]), "sku": item["product"]} for item in items]
        for item in sold:
            if item["quantity"] < 1 or Decimal(item["total_price"]) < 0:
                item["product"] = None
        errors = [self._errors(sold, index) for index in range(len(sold))]
        if any(errors):
            raise serializers.ValidationError(errors)
        return sold

    def _errors(self, items: list[dict], index: int) -> dict[str, Any]:
        item, before = items[index], items[:index]
        errors: dict[str, Any] = {}
        if item["item"] in {other["item"] for other in before}:
            errors["item"] = [f"The order contains item “{item['item']}” more than once."]
        ours_before = sum(other["quantity"] for other in before if other["product"])
        if item["product"] and item["quantity"] > MAX_QUANTITY - ours_before:
            errors["quantity"] = [f"An order can have at most {MAX_QUANTITY} units."]
        currency = self.reported_currency
        if item["product"] and isinstance(currency, str) and currency in DECIMALS:
            try:
                check_price(item["total_price"], currency)
            except serializers.ValidationError as error:
                errors["total_price"] = error.detail
        return errors


_kept = local()


def validate_payment(merchant: Merchant, reported: Any) -> dict[str, Any]:
    """Return the validated data of a reported payment. Raises ValidationError.

    A serializer copies its fields when it is created, which takes four times as long as validating. So each thread
    keeps one.
    """
    if not hasattr(_kept, "serializer"):
        _kept.serializer = PaymentSerializer(context={})
    serializer = _kept.serializer
    serializer.context["merchant"] = merchant
    validated: dict[str, Any] = serializer.run_validation({} if reported is None else reported)
    return validated


class RefundSerializer(OptionalFields):
    """A refund of the `order` in its context."""

    amount = PriceField(
        default=None, allow_null=True, help_text="In the order’s currency. Omit it to refund everything that is left."
    )
    reference = PlainCharField(
        max_length=64,
        default="",
        allow_blank=True,
        allow_null=True,
        validators=[validate_visible],
        help_text="The shop’s number of the refund. A refund with the same number isn’t recorded again.",
    )

    def validate_amount(self, amount: str | None) -> Decimal | None:
        if amount is None:
            return None
        check_price(amount, self.context["order"].currency)
        if Decimal(amount) <= 0:
            raise serializers.ValidationError("The amount must be more than zero.")
        return Decimal(amount)
