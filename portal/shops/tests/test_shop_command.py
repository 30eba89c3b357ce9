"""`manage shop add` connects a shop from a terminal or a script."""

import json

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from orders.models import Order
from shops.kinds import KINDS
from shops.models import Connection
from shops.tests.factories import post, process_due
from shops.tests.senders import make_order, sign

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(merchant, capsys):
    """Run the command and return the lines that it printed."""

    def run(*arguments):
        call_command("shop", "add", *arguments, "--merchant", merchant.slug)
        return capsys.readouterr().out.splitlines()

    return run


def test_it_prints_a_url_and_a_secret_that_work(run, merchant, make_product):
    make_product(sku="PHOTO-PRO")

    url, secret = run("woocommerce")

    shop = merchant.connections.get()
    assert (url, secret, shop.name) == (shop.url, shop.secret, "WooCommerce")
    body = json.dumps(make_order()).encode()
    assert post(shop, body, X_WC_Webhook_Signature=sign(body, secret)).status_code == 200
    process_due()
    assert Order.objects.get().codes().count() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_url_comes_first_whatever_the_shop_needs(run, merchant, kind):
    url, _ = run(kind)

    assert url == merchant.connections.get().url


def test_it_says_where_to_enter_the_shops_secret(merchant, capsys):
    call_command("shop", "add", "stripe", "--merchant", merchant.slug)

    shop, printed = merchant.connections.get(), capsys.readouterr()
    assert printed.out == f"{shop.url}\n\n"
    assert f"signing secret at {settings.BASE_URL}/shops/{shop.pk}/start/" in printed.err


def test_it_can_connect_several_shops_of_a_kind(run, merchant):
    run("lemonsqueezy")
    run("Lemon-Squeezy")

    names = ["Lemon Squeezy", "Lemon Squeezy 2"]
    assert list(merchant.connections.order_by("pk").values_list("name", flat=True)) == names
    assert merchant.checkout_pages.filter(code__in=["lemonsqueezy", "lemonsqueezy-2"]).count() == 2


def test_it_takes_a_name_a_secret_and_options(run):
    options = ["--set", "paid_status=completed", "--set", "consumer_key=ck_1"]

    _, secret = run("woocommerce", "--name", "Main shop", "--secret", "theirs\n", *options)

    shop = Connection.objects.get()
    assert (secret, shop.name, shop.options) == ("theirs", "Main shop", {"paid_status": "completed"})
    assert json.loads(shop.credentials) == {"consumer_key": "ck_1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unknown"], "“unknown” isn’t a kind of shop. Choose one of woocommerce, shopify"),
        (["woocommerce", "--set", "paid_status"], "write OPTION=VALUE"),
        (["woocommerce", "--set", "nothing=1"], "This kind has paid_status"),
        (["woocommerce", "--set", "paid_status=never"], "--set paid_status: Select a valid choice."),
        (["woocommerce", "--name", "x" * 101], "--name: Ensure this value has at most 100 characters"),
    ],
)
def test_it_explains_what_is_wrong(run, arguments, message):
    with pytest.raises(CommandError, match=message):
        run(*arguments)

    assert not Connection.objects.exists()


def test_a_name_is_used_once(run):
    run("woocommerce", "--name", "Main shop")

    with pytest.raises(CommandError, match="--name: Another shop has this name."):
        run("woocommerce", "--name", "Main shop")


def test_the_merchant_must_exist(merchant, sandbox):
    for slug in ("nobody", sandbox.slug):
        with pytest.raises(CommandError, match="there is no merchant"):
            call_command("shop", "add", "woocommerce", "--merchant", slug)
