"""Amounts of money: how they are kept, and how they are written without their currency."""

from decimal import Decimal

from django.db import models
from iso4217 import Currency

# Minor units by ISO 4217 code; a few codes, such as that of gold, have none.
DECIMALS = {currency.code: 2 if currency.exponent is None else currency.exponent for currency in Currency}
CENT = Decimal("0.01")


class MoneyField(models.DecimalField):
    """An amount with up to four decimals, the most that a currency has; read with two or more."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"max_digits": 16, "decimal_places": 4} | kwargs)

    def from_db_value(self, value, expression, connection):
        return value and trim(value)


def trim(amount: Decimal, decimals: int = 2) -> Decimal:
    """The same amount without zeros at its end, down to this many decimals."""
    shortest = amount.normalize()
    exponent = shortest.as_tuple().exponent
    places = max(decimals, -exponent if isinstance(exponent, int) else 0)
    return amount.quantize(Decimal(1).scaleb(-places))


def plain_amount(amount: Decimal, currency: str) -> str:
    """An amount with its currency's own decimals: “5000” JPY, “59.98” EUR, “1.525” KWD."""
    return str(in_currency(amount, currency))


def in_currency(amount: Decimal, currency: str) -> Decimal:
    """An amount with its currency's own decimals; with two or more if it has more than these."""
    own = DECIMALS.get(currency, 2)
    shown = trim(amount, own)
    return shown if shown.as_tuple().exponent == -own else trim(amount)
