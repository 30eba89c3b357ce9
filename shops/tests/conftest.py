import json

import pytest

from shops.tests import factories
from shops.tests.factories import post, process_due, sign


@pytest.fixture
def make_connection(merchant):
    return lambda kind, merchant=merchant, **fields: factories.make_connection(merchant, kind, **fields)


@pytest.fixture
def shop(make_connection):
    return make_connection("woocommerce")


@pytest.fixture
def send():
    """Send an order as WooCommerce does. Processes it, unless it is left for later."""

    def send(shop, order, *, later=False):
        body = json.dumps(order).encode()
        response = post(shop, body, X_WC_Webhook_Topic="order.updated", X_WC_Webhook_Signature=sign(body))
        if not later:
            process_due()
        return response

    return send
