import pytest

from merchants.models import Product
from orders.models import Order
from orders.search import Kind, find
from pools.imports import import_keys


@pytest.fixture
def orders(pay, make_product, make_pool):
    pool = make_pool()
    import_keys(pool, ["AAAA-BBBB-CCCC-7Q2M", "AAAA-BBBB-CCCC-8X9Y"], by="test")
    ada = {"email": "Ada@Example.com", "first_name": "Ada", "last_name": "Byron", "company": "Engines Ltd"}
    bob = {"email": "bob.100%@bob.example", "first_name": "Bob", "last_name": "O_Neil"}
    pay(make_product(pool=pool, sku="PHOTO-PRO"), order="A0012345678", customer=ada)
    pay(make_product(pool=pool, sku="PHOTO-LITE"), order="B0000000099", customer=bob)
    return Order.objects.all()


def numbers(found):
    return sorted(order.number for order in found)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("A0012345678", Kind.NUMBER),
        ("12345678", Kind.NUMBER),
        (" a0012345678 ", Kind.NUMBER),
        ("#12345678", Kind.NUMBER),
        ("AAAA-BBBB-CCCC-7Q2M", Kind.LICENSE),
        ("7Q2M", Kind.ENDING),
        ("7q2m", Kind.ENDING),
        ("••••7Q2M", Kind.ENDING),
        ("photo-pro", Kind.SKU),
        ("ADA@example.com", Kind.EMAIL),
        ("@example", Kind.CUSTOMER),
        ("byron", Kind.CUSTOMER),
        ("Ada Byron", Kind.CUSTOMER),
        ("engines", Kind.CUSTOMER),
    ],
)
def test_an_order_is_found_by(orders, text, kind):
    found = find(orders, text)

    assert list(found) == [kind]
    assert numbers(found[kind]) == ["A0012345678"]


@pytest.mark.parametrize("text", ["12345678 99", "A0012345678, B0000000099", "99;12345678", "99\n12345678"])
def test_several_numbers_find_as_many_orders(orders, text):
    assert numbers(find(orders, text)[Kind.NUMBER]) == ["A0012345678", "B0000000099"]


@pytest.mark.parametrize(
    "text", ["", "  ", "A1", "ad", "Q2M", "AAAA-BBBB", "AAAA-BBBB-CCCC-7Q2", "PHOTO", "%", "____"]
)
def test_nothing_is_found_by(orders, text):
    assert find(orders, text) == {}


@pytest.mark.parametrize("text", ["100%", "o_neil"])
def test_what_means_something_to_the_database_means_itself(orders, text):
    assert numbers(find(orders, text)[Kind.CUSTOMER]) == ["B0000000099"]


def test_a_text_of_several_kinds_is_all_of_them(orders):
    Order.objects.filter(number="B0000000099").update(last_name="7Q2M")

    assert list(find(orders, "7q2m")) == [Kind.ENDING, Kind.CUSTOMER]


def test_only_the_given_orders_are_searched(orders, outsider):
    assert find(Order.objects.filter(merchant=outsider), "A0012345678") == {}


def test_an_sku_of_another_merchant_finds_nothing_of_it(orders, outsider):
    Product.objects.create(merchant=outsider, sku="THEIRS", name="Theirs")

    assert find(orders, "THEIRS") == {}


def test_it_takes_two_queries(orders, django_assert_num_queries):
    with django_assert_num_queries(2):
        find(orders, "12345678")


def test_a_license_text_comes_before_the_number_in_it(orders, pay, make_product, make_pool):
    pool = make_pool()
    import_keys(pool, ["SN0012345678"], by="test")
    pay(make_product(pool=pool), order="C1")

    found = find(orders, "SN0012345678")

    assert next(iter(found)) == Kind.LICENSE
    assert numbers(found[Kind.LICENSE]) == ["C1"]


@pytest.mark.parametrize("name", ["Γιώργος", "İbrahim", "王芳"])
def test_a_name_in_any_script_is_found(orders, name):
    Order.objects.filter(number="B0000000099").update(last_name=name)

    assert numbers(find(orders, name)[Kind.CUSTOMER]) == ["B0000000099"]
