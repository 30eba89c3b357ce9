import pytest

from shops.tests import factories


@pytest.fixture
def make_connection(merchant):
    return lambda kind, merchant=merchant, **fields: factories.make_connection(merchant, kind, **fields)


@pytest.fixture
def shop(make_connection):
    return make_connection("woocommerce")


@pytest.fixture
def send():
    return factories.send_order
