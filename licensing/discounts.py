"""Discounts of a product: an amount or a percentage off, once an order's total reaches a price.

Clients send each as `totalPrice;currency;amount`, with % after a percentage, and read them as lists of properties.
We keep them for the vendor's shop and don't apply them.
"""

import re
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from licensing.models.catalog import Currency

MAX_DISCOUNTS = 100
AMOUNT = r"([0-9]{1,10}(?:\.[0-9]{1,2})?)"
DISCOUNT = re.compile(rf"{AMOUNT}\s*;\s*([A-Z]{{3}})\s*;\s*{AMOUNT}\s*(%?)")


class DiscountsField(serializers.Field):
    """All discounts; a single empty one removes them."""

    def to_internal_value(self, data: list[str]) -> list[dict[str, str]]:
        texts = [text.strip() for text in data if text.strip()]
        if len(texts) > MAX_DISCOUNTS:
            raise serializers.ValidationError(f"A product has at most {MAX_DISCOUNTS} discounts.")
        return [read_discount(text) for text in texts]

    def to_representation(self, value: list[dict[str, str]]) -> Any:
        return value


def read_discount(text: str) -> dict[str, str]:
    match = DISCOUNT.fullmatch(text)
    if not match:
        shown = text[:50]
        raise serializers.ValidationError(
            f"“{shown}” is not totalPrice;currency;amount, such as 100.00;EUR;5.00 or 100.00;EUR;10%."
        )
    total, currency, amount, percent = Decimal(match[1]), match[2], Decimal(match[3]), match[4]
    if currency not in Currency.values:
        raise serializers.ValidationError(f"“{currency}” is not one of {', '.join(Currency.values)}.")
    if amount > (100 if percent else total):
        raise serializers.ValidationError(f"“{text}” takes off more than the whole price.")
    name, value = ("amountPercent", f"{amount.normalize():f}") if percent else ("amountFix", f"{amount:.2f}")
    return {"totalPrice": f"{total:.2f}", "currency": currency, name: value}
