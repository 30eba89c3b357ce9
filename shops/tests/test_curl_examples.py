"""The requests that the pages in docs/shops show for curl, as they are printed there."""

import re
import subprocess
from decimal import Decimal

import pytest
from django.conf import settings

from orders.models import Order
from runtime.tests.programs import need
from shops.kinds import KINDS
from shops.tests.factories import process_due

TOOLS = ("bash", "curl", "openssl")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def tools():
    need(*TOOLS)


@pytest.mark.parametrize("kind", ["shopify", "fastspring", "lemonsqueezy", "noventiq", "standard_webhooks"])
def test_the_example_is_a_sale(kind, make_connection, make_product, live_server, settings):
    settings.BASE_URL = live_server.url
    make_product(sku="PHOTO-PRO")
    make_product(sku="6")
    made_up = {} if KINDS[kind].makes_secret else {"secret": "a secret"}
    shop = make_connection(kind, **{"secret": ""} | made_up)

    output = subprocess.run(["bash", "-c", read_example(shop)], capture_output=True, text=True, check=True).stdout
    process_due()

    assert "200 OK" in output
    order = Order.objects.get()
    assert (order.total(), order.codes().count()) == (Decimal("59.50"), 1)


def read_example(shop):
    """The last script on the page, with the connection's URL and secret."""
    page = (settings.BASE_DIR / "docs" / "shops" / f"{shop.kind}.md").read_text()
    script = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)[-1]
    return re.sub("URL=.*", f"URL={shop.url} SECRET='{shop.secret}'", script, count=1)
