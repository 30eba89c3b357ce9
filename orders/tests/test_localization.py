from decimal import Decimal

import pytest
from babel import Locale

from orders.localization import format_money


@pytest.mark.parametrize(
    ("currency", "language", "expected"),
    [
        ("EUR", "de", "59,98 €"),
        ("KWD", "en", "KWD 59.980"),
        ("KWD", "de", "59,980 KWD"),
        ("CHF", "en", "CHF 59.98"),
        ("USD", "en", "$59.98"),
        ("CAD", "en", "CA$59.98"),
    ],
)
def test_letters_and_digits_of_an_amount_are_separated(currency, language, expected):
    assert format_money(Decimal("59.98"), currency, Locale(language)).replace("\xa0", " ") == expected
