"""The subscription on the order page."""

import pytest

from orders.models import Subscription
from portal.orders.tests.conftest import text

pytestmark = pytest.mark.django_db


def test_it_shortens_a_long_subscription_to_the_nearby_orders(support, renew, django_assert_max_num_queries):
    renew(*(f"A{number}" for number in range(1, 41)), parent="OLD")

    with django_assert_max_num_queries(15):
        page = text(support.get("/orders/A20/"))

    shown = page.partition("every year: ")[2]
    assert shown.startswith("OLD (not reported) → A1 → 13 more → A15 → A16 →")
    assert "A19 → this → A21 → A22 → A23 → A24 → A25 → 15 more 1 of 1" in shown
    first, last = (text(support.get(f"/orders/{number}/")).partition("every year: ")[2] for number in ("A1", "A40"))
    assert first.startswith("OLD (not reported) → this → A2 →") and "A11 → 29 more" in first
    assert "A1 → 28 more → A30 →" in last and "A39 → this" in last


def test_it_shows_periods_in_words(support, renew):
    renew("A1")
    for period, expected in [("P1M", "every month"), ("P3M", "every 3 months"), ("P30D", "every 30 days")]:
        Subscription.objects.update(period=period)
        assert f"renews automatically {expected}: this (first)" in text(support.get("/orders/A1/"))
