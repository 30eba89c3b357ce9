"""The requests that the pages in docs/shops show for curl, as they are printed there."""

import re
import subprocess
from decimal import Decimal

import pytest
from django.conf import settings

from orders.models import Order
from runtime.tests.programs import need
from shops.kinds import KINDS
from shops.tests.dialects import SECRETS
from shops.tests.factories import process_due

TOOLS = ("bash", "curl", "openssl")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def tools():
    need(*TOOLS)


TOTALS = {
    "woocommerce": "29.99",
    "shopify": "59.50",
    "stripe": "47.60",
    "paddle": "23.80",
    "fastspring": "59.50",
    "lemonsqueezy": "59.50",
    "noventiq": "59.50",
    "standard_webhooks": "59.50",
    "generic": "29.99",
}
# In the order of the page.
ANSWERING = ["fastspring_request", "twocheckout", "paypro", "noventiq_request", "plain"]


@pytest.mark.parametrize(("kind", "total"), TOTALS.items())
def test_the_example_is_a_sale(kind, total, make_connection, make_product, live_server, settings):
    settings.BASE_URL = live_server.url
    make_product(sku="PHOTO-PRO")
    make_product(sku="6")
    shop = make_connection(kind, secret="" if KINDS[kind].makes_secret else "a secret")

    output = run_example(shop, kind)
    process_due()

    assert "200 OK" in output
    order = Order.objects.get()
    assert (order.total(), order.codes().count()) == (Decimal(total), 1)


@pytest.mark.parametrize(("number", "kind"), list(enumerate(ANSWERING)))
def test_the_example_is_answered_with_the_license(number, kind, make_connection, make_product, live_server, settings):
    settings.BASE_URL = live_server.url
    make_product(sku="PHOTO-PRO")
    shop = make_connection(kind, secret=SECRETS.get(kind, "a secret"))

    output = run_example(shop, "answering", number)

    assert str(Order.objects.get().codes().get().code) in output


def run_example(shop, page, number=0):
    """Run a script on the page, with the connection's URL and secret."""
    text = (settings.BASE_DIR / "docs" / "shops" / f"{page}.md").read_text()
    script = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[number]
    script = re.sub("URL=.*", "", script, count=1).replace("https://keywell.example.com/in/…/", shop.url)
    script = f"URL={shop.url} SECRET='{shop.secret}'\n{script}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
