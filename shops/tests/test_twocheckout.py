"""2Checkout's requests to a dynamic list of codes."""

import hmac

import pytest

from orders.models import Order
from pools.imports import import_keys
from pools.tests.factories import make_pool
from shops.tests.dialects import FORM, ask_twocheckout, read_xml, sign_length_prefixed
from shops.tests.factories import post
from shops.tests.senders import SECRET

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(make_connection):
    return make_connection("twocheckout")


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


def test_the_customer_and_the_product_are_read(shop, photo):
    ask_twocheckout(shop, order="11224053")

    order = Order.objects.get()
    assert (order.number, order.email, order.company) == ("11224053:PHOTO-PRO", "ada@example.com", "Engines Ltd")
    assert (order.first_name, order.last_name, order.country) == ("Ada", "Byron", "")


def test_orders_and_products_are_never_mixed_up(shop, make_product):
    for sku in ("B", "1-B"):
        make_product(sku=sku)
    first, second = (
        ask_twocheckout(shop, order=order, product=product) for order, product in [("A-1", "B"), ("A", "1-B")]
    )

    assert first.content != second.content


def test_products_are_also_known_by_their_id(shop, make_product):
    make_product(sku="4711")

    assert ask_twocheckout(shop, product="").status_code == 200


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha3_256"])
def test_the_merchant_chooses_the_algorithm(shop, photo, algorithm):
    assert ask_twocheckout(shop, algorithm=algorithm).status_code == 200


def test_a_signature_may_be_in_a_field_of_its_algorithm(shop, photo):
    values = ["1001", "PHOTO-PRO", "Ünal"]
    code = sign_length_prefixed(values, algorithm="sha3_256")
    body = f"REFNO=1001&PCODE=PHOTO-PRO&LASTNAME=%C3%9Cnal&SIGNATURE_SHA3_256={code}&HASH="

    assert post(shop, body.encode(), FORM).status_code == 200


def test_lengths_are_counted_as_in_the_documentation():
    # https://knowledgecenter.2checkout.com, the example of the API's login.
    text = "".join(f"{len(value)}{value}" for value in ("AVANGATE", "2010-05-13 12:12:12"))
    assert text == "8AVANGATE192010-05-13 12:12:12"
    assert hmac.new(b"SECRET_KEY", text.encode(), "md5").hexdigest() == "bf763db7d333e9c3038698cf59ada3e6"
    assert sign_length_prefixed(["AVANGATE", "2010-05-13 12:12:12"], "SECRET_KEY", "md5") == (
        "bf763db7d333e9c3038698cf59ada3e6"
    )


def test_codes_are_escaped(shop, make_product):
    pool = make_pool(shop.merchant)
    import_keys(pool, ["<A&B>-1"], actor="test")
    make_product(sku="PHOTO-PRO", pool=pool)

    response = ask_twocheckout(shop)
    assert b"<Code>&lt;A&amp;B&gt;-1</Code>" in response.content
    assert read_xml(response) == ["<A&B>-1"]


@pytest.mark.parametrize("code", ["", "0" * 64, sign_length_prefixed(["PHOTO-PRO", "1001"], SECRET)])
def test_a_wrong_hash_is_rejected(shop, photo, code):
    assert post(shop, f"REFNO=1001&PCODE=PHOTO-PRO&HASH={code}".encode(), FORM).status_code == 401
