"""Tests that share a module's rows (see conftest.py) don't affect each other."""

import pytest

from merchants.models import Merchant

pytestmark = pytest.mark.django_db


def make_rows(merchant):
    merchant.products.create(sku="SHARED", name="Shared")


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_starts_from_the_same_rows(turn, outsider):
    merchant = Merchant.objects.get(slug="northlight")
    assert [product.sku for product in merchant.products.all()] == ["SHARED"]

    merchant.products.update(sku="CHANGED")
    merchant.products.create(sku="MORE", name="More")
