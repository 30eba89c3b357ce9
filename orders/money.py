"""Storing amounts of money, and formatting them without a currency."""

from decimal import Decimal

from django.db import models
from iso4217 import Currency

# Decimals by ISO 4217 code; 2 for the few codes that define none, such as gold.
DECIMALS = {currency.code: 2 if currency.exponent is None else currency.exponent for currency in Currency}
CENT = Decimal("0.01")


class MoneyField(models.DecimalField):
    """An amount with up to four decimals, the maximum of any currency. Loaded values have at least two."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"max_digits": 16, "decimal_places": 4} | kwargs)

    def from_db_value(self, value, expression, connection):
        return value and trim(value)


def trim(amount: Decimal, decimals: int = 2) -> Decimal:
    """Remove trailing zeros, but keep at least this many decimals."""
    shortest = amount.normalize()
    exponent = shortest.as_tuple().exponent
    places = max(decimals, -exponent if isinstance(exponent, int) else 0)
    return amount.quantize(Decimal(1).scaleb(-places))


def plain_amount(amount: Decimal, currency: str) -> str:
    """Format an amount with the decimals of its currency: “5000” JPY, “59.98” EUR, “1.525” KWD."""
    return str(in_currency(amount, currency))


def in_currency(amount: Decimal, currency: str) -> Decimal:
    """Quantize to the decimals of the currency. An amount with more decimals keeps them, and at least two."""
    own = DECIMALS.get(currency, 2)
    shown = trim(amount, own)
    return shown if shown.as_tuple().exponent == -own else trim(amount)
