"""Fields of each resource, as the vendor's software reads and writes them.

On the wire, names are camelCase and values are strings. Unknown names are the vendor's custom properties.
"""

import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError as Refused
from django.db.models.functions import Now
from django.http import QueryDict
from django.utils import timezone
from rest_framework import serializers

from licensing.errors import IllegalOperation, Invalid, MalformedRequest
from licensing.models import (
    License,
    Licensee,
    LicenseeAlias,
    LicenseTemplate,
    LicenseType,
    LicensingModel,
    LicensingProduct,
    ProductModule,
    Token,
    Transaction,
)
from licensing.models.catalog import Currency
from merchants.numbers import MAX_NUMBER, validate_number
from vault.fingerprints import fingerprint

MAX_DISCOUNTS = 100
AMOUNT = r"([0-9]{1,10}(?:\.[0-9]{1,2})?)"
DISCOUNT = re.compile(rf"{AMOUNT}\s*;\s*([A-Z]{{3}})\s*;\s*{AMOUNT}\s*(%?)")


class DiscountsField(serializers.Field):
    """Discounts of a product: an amount or a percentage off, once an order's total reaches a price.

    Clients send each one as `totalPrice;currency;amount`, with % after a percentage, and read them as lists of
    properties. A single empty value removes all. Keywell stores them for the vendor's shop and doesn't apply them.
    """

    def to_internal_value(self, data: list[str]) -> list[dict[str, str]]:
        texts = [text.strip() for text in data if text.strip()]
        if len(texts) > MAX_DISCOUNTS:
            raise serializers.ValidationError(f"A product can have at most {MAX_DISCOUNTS} discounts.")
        return [read_discount(text) for text in texts]

    def to_representation(self, value: list[dict[str, str]]) -> Any:
        return value


def read_discount(text: str) -> dict[str, str]:
    match = DISCOUNT.fullmatch(text)
    if not match:
        shown = text[:50]
        raise serializers.ValidationError(
            f"“{shown}” doesn't match totalPrice;currency;amount, for example 100.00;EUR;5.00 or 100.00;EUR;10%."
        )
    total, currency, amount, percent = Decimal(match[1]), match[2], Decimal(match[3]), match[4]
    if currency not in Currency.values:
        raise serializers.ValidationError(f"“{currency}” isn't one of {', '.join(Currency.values)}.")
    if amount > (100 if percent else total):
        raise serializers.ValidationError(f"“{text}” takes off more than the total price.")
    name, value = ("amountPercent", f"{amount.normalize():f}") if percent else ("amountFix", f"{amount:.2f}")
    return {"totalPrice": f"{total:.2f}", "currency": currency, name: value}


def parent_field(source: str) -> serializers.CharField:
    """A read-only field of a parent object."""
    return serializers.CharField(source=source, read_only=True)


# Of a custom property, in characters.
MAX_NAME, MAX_VALUE = 255, 10_000
# PHP writes repeated fields as name[] and name[0].
REPEATED = re.compile(r"(\w+)(?:\[[0-9]*\])?", re.ASCII)


def camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


class WireDateTime(serializers.DateTimeField):
    """A datetime, a date (midnight UTC) or `now`."""

    def to_internal_value(self, value):
        if value == "now":
            return timezone.now()
        try:
            return datetime.combine(date.fromisoformat(value), time.min, UTC)
        except ValueError:
            return super().to_internal_value(value)

    def to_representation(self, value):
        return value


class EntitySerializer(serializers.ModelSerializer):
    number = serializers.CharField(required=False, max_length=MAX_NUMBER, validators=[validate_number])

    # Names that are ignored in requests: computed values and fields of parents.
    READ_ONLY = frozenset({"inUse", "vendorNumber", "productNumber"})
    # Fields that may be repeated.
    LISTS: frozenset[str] = frozenset()

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        model_field: WireDateTime
        for model_field, field in serializers.ModelSerializer.serializer_field_mapping.items()
        if field is serializers.DateTimeField
    }

    @classmethod
    def read(cls, form: QueryDict) -> dict[str, Any]:
        """Return the value of each field; for repeatable fields, a list of all values. Raises Invalid."""
        values: dict[str, Any] = {}
        for name, sent in form.lists():
            match = REPEATED.fullmatch(name)
            if match and match[1] in cls.LISTS:
                values.setdefault(match[1], []).extend(sent)
            elif len(set(sent)) > 1:
                raise Invalid(f"{name[:MAX_NAME]}: Send this field only once.")
            else:
                values[name] = sent[-1]
        return values

    def to_internal_value(self, data: dict[str, str]) -> dict[str, Any]:
        known = {camel(name): name for name in self.fields.keys()}  # noqa: SIM118 (no dictionary)
        stated: dict[str, str | None] = {known[name]: value for name, value in data.items() if name in known}
        # An empty value clears a nullable field.
        stated |= {name: None for name, value in stated.items() if value == "" and self.fields[name].allow_null}
        if stated.get("number") == "":
            del stated["number"]  # generate it, or keep the current one
        custom = {name: value for name, value in data.items() if name not in known and name not in self.READ_ONLY}
        values = super().to_internal_value(stated)
        if custom:
            values["properties"] = self._merge_properties(custom)
        return values

    def _merge_properties(self, custom: dict[str, str]) -> dict[str, str]:
        properties = dict(self.instance.properties) if self.instance else {}
        for name, value in custom.items():
            if len(name) > MAX_NAME or len(value) > MAX_VALUE:
                problem = f"Property names have at most {MAX_NAME} characters, values at most {MAX_VALUE}."
                raise serializers.ValidationError({name[:MAX_NAME]: [problem]})
            properties[name] = value
        return {name: value for name, value in properties.items() if value}

    def to_representation(self, instance) -> dict[str, Any]:
        stated = super().to_representation(instance)
        return instance.properties | {camel(name): value for name, value in stated.items() if value != ""}


class ProductSerializer(EntitySerializer):
    discount = DiscountsField(source="discounts", required=False)

    class Meta:
        model = LicensingProduct
        fields = [
            *("number", "active", "name", "version", "description", "licensing_info", "licensee_auto_create"),
            *("vat_mode", "clear_mark_on_validation", "discount"),
        ]

    READ_ONLY = frozenset({"inUse", "vendorNumber"})
    LISTS = frozenset({"discount"})

    def to_representation(self, instance):
        # The view adds discounts as lists of the item.
        return {name: value for name, value in super().to_representation(instance).items() if name != "discount"}


class ProductModuleSerializer(EntitySerializer):
    product_number = parent_field("product.number")

    class Meta:
        model = ProductModule
        fields = [
            *("number", "active", "name", "licensing_model", "max_checkout_validity", "yellow_threshold"),
            *("red_threshold", "node_secret_mode", "product_number"),
        ]

    def validate(self, attrs):
        model = attrs.get("licensing_model", getattr(self.instance, "licensing_model", None))
        validity = attrs.get("max_checkout_validity", getattr(self.instance, "max_checkout_validity", None))
        if model == LicensingModel.FLOATING and not validity:
            raise serializers.ValidationError(
                {"max_checkout_validity": "A Floating module needs this value, in seconds."}
            )
        return attrs


class TermsSerializer(EntitySerializer):
    price = serializers.DecimalField(max_digits=12, decimal_places=2, min_value=0, required=False, allow_null=True)
    grace_period = serializers.BooleanField(required=False, allow_null=True)

    def to_internal_value(self, data):
        # Clients of Quota and Node-Locked modules call it quota.
        return super().to_internal_value({"quantity": data["quota"]} | data if "quota" in data else data)

    def validate(self, attrs):
        price, currency = (attrs.get(name, getattr(self.instance, name, None)) for name in ("price", "currency"))
        # The messages that the Java client knows.
        if price and not currency:
            raise MalformedRequest("'price' field must be accompanied with the 'currency' field")
        if currency and price is None:
            raise MalformedRequest("'currency' field can not be used without the 'price' field")
        return attrs

    def to_representation(self, instance):
        stated = super().to_representation(instance)
        if instance.price is not None:
            # The Java client ignores a price without a currency, even 0.
            stated |= {"price": instance.price, "currency": instance.currency or Currency.EUR.value}
        return stated


# The field that each license type requires.
VOLUME = {
    LicenseType.TIMEVOLUME: "time_volume",
    LicenseType.FLOATING: "max_sessions",
    LicenseType.QUANTITY: "quantity",
}


class LicenseTemplateSerializer(TermsSerializer):
    product_module_number = parent_field("module.number")
    product_module_name = parent_field("module.name")

    class Meta:
        model = LicenseTemplate
        fields = [
            *("number", "active", "name", "license_type", *LicenseTemplate.TERMS, "automatic", "hide_licenses"),
            *("product_module_number", "product_module_name"),
        ]

    def validate(self, attrs):
        attrs = super().validate(attrs)
        license_type = attrs.get("license_type", getattr(self.instance, "license_type", None))
        volume = VOLUME.get(license_type)
        if volume and attrs.get(volume, getattr(self.instance, volume, None)) is None:
            raise IllegalOperation(
                f"License template of type '{license_type}' must have property '{camel(volume)}' specified."
            )
        return attrs


class AliasesField(serializers.Field):
    """A JSON array, a comma-separated string, or repeated fields."""

    def to_internal_value(self, data):
        data = data[0] if len(data) == 1 else data
        if isinstance(data, str) and data.startswith("["):
            try:
                data = json.loads(data)
                json.dumps(data, ensure_ascii=False).encode()  # fails for lone surrogates
            except (ValueError, RecursionError) as error:
                raise serializers.ValidationError("This isn't a JSON array.") from error
        aliases = data.split(",") if isinstance(data, str) else data
        texts = [alias.strip() if isinstance(alias, str) else alias for alias in aliases]
        for text in (text for text in texts if text != ""):
            try:
                validate_number(text)
            except Refused as error:
                raise serializers.ValidationError(error.messages) from error
            if not isinstance(text, str) or len(text) > MAX_NUMBER:
                raise serializers.ValidationError(f"An alias is a string of at most {MAX_NUMBER} characters.")
        return list(dict.fromkeys(text for text in texts if text))

    def to_representation(self, value):
        texts = [alias.text for alias in value.all()]
        return json.dumps(texts) if texts else ""


class LicenseeSerializer(EntitySerializer):
    aliases = AliasesField(required=False)
    product_number = parent_field("product.number")

    class Meta:
        model = Licensee
        fields = ["number", "active", "name", "marked_for_transfer", "aliases", "product_number"]

    LISTS = frozenset({"aliases"})

    def validate(self, attrs):
        merchant = self.context["merchant"]
        others = Licensee.objects.filter(merchant=merchant)
        if self.instance:
            others = others.exclude(pk=self.instance.pk)
        for name in ("number", "aliases"):
            given = attrs.get(name) or []
            for text in [given] if isinstance(given, str) else given:
                if others.with_number(text).exists():
                    raise serializers.ValidationError({name: "Another licensee already has this number or alias."})
        return attrs

    def update(self, instance, validated_data):
        aliases = validated_data.pop("aliases", None)
        instance = super().update(instance, validated_data)
        if aliases is not None:
            set_aliases(instance, aliases)
        return instance


def set_aliases(licensee: Licensee, aliases: list[str]) -> None:
    """Replace the licensee's aliases."""
    wanted = {fingerprint(alias): alias for alias in aliases}
    licensee.aliases.exclude(fingerprint__in=wanted).delete()
    known = {bytes(alias.fingerprint) for alias in licensee.aliases.all()}
    for text in (text for mark, text in wanted.items() if mark not in known):
        LicenseeAlias.objects.create(merchant_id=licensee.merchant_id, licensee=licensee, text=text)


class LicenseSerializer(TermsSerializer):
    licensee_number = parent_field("licensee.number")
    license_template_number = parent_field("template.number")
    license_type = parent_field("template.license_type")
    product_module_number = parent_field("template.module.number")

    class Meta:
        model = License
        fields = [
            *("number", "active", "name", *License.TERMS, "start_date", "used_quantity", "parent_feature"),
            *("licensee_number", "license_template_number", "license_type", "product_module_number"),
        ]
        extra_kwargs = {"name": {"required": False}}

    READ_ONLY = EntitySerializer.READ_ONLY | {"transactionNumber"}

    def to_internal_value(self, data):
        # Clients send parentfeature and read parentFeature.
        return super().to_internal_value({"parentFeature" if n == "parentfeature" else n: v for n, v in data.items()})

    def validate(self, attrs):
        # Without a price or currency, a new license gets its template's.
        return super().validate(attrs) if self.instance or {"price", "currency"} & attrs.keys() else attrs

    def to_representation(self, instance):
        stated = super().to_representation(instance)
        if instance.quantity is None:
            del stated["usedQuantity"]
        return stated


class TokenSerializer(EntitySerializer):
    number = None  # type: ignore[assignment]
    vendor_number = parent_field("merchant.slug")
    licensee_number = parent_field("licensee.number")

    class Meta:
        model = Token
        fields = [
            *("number", "active", "token_type", "name", "api_key_role", "expiration_time"),
            *("vendor_number", "licensee_number"),
        ]
        read_only_fields = ["number", "expiration_time"]


class TransactionSerializer(EntitySerializer):
    licensee_number = parent_field("licensee.number")
    datecreated = WireDateTime(source="created_at", read_only=True)
    dateclosed = WireDateTime(source="closed_at", read_only=True)

    class Meta:
        model = Transaction
        fields = ["number", "active", "status", "source", "licensee_number", "datecreated", "dateclosed"]

    READ_ONLY = EntitySerializer.READ_ONLY | {"dateCreated", "dateClosed", "licenseTransactionJoin"}

    def validate(self, attrs):
        if attrs.get("status") == Transaction.Status.CLOSED and not (self.instance and self.instance.closed_at):
            attrs["closed_at"] = Now()
        return attrs
