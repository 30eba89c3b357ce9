import pytest

from api.tests.factories import make_api, pay
from fulfillment.tests.factories import make_product
from merchants.models import Product
from orders.models import Order, OtherItem
from orders.search import Kind, find
from pools.imports import import_keys
from pools.tests.factories import make_pool


def make_rows(merchant):
    pool = make_pool(merchant, name="Photo")
    import_keys(pool, ["AAAA-BBBB-CCCC-7Q2M", "AAAA-BBBB-CCCC-8X9Y"], actor="test")
    ada = {"email": "Ada@Example.com", "first_name": "Ada", "last_name": "Byron", "company": "Engines Ltd"}
    bob = {"email": "bob.100%@bob.example", "first_name": "Bob", "last_name": "O_Neil"}
    api = make_api(merchant)
    for sku, name, order, customer in (
        ("PHOTO-PRO", "Program 1", "A0012345678", ada),
        ("PHOTO-LITE", "Program 2", "B0000000099", bob),
    ):
        pay(api, make_product(merchant, pool=pool, sku=sku, name=name), order=order, customer=customer)


@pytest.fixture
def orders(merchant):
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
        ("aaaa-bbbb-cccc-7q2m", Kind.SIMILAR),
        ("AAAABBBBCCCC7Q2M", Kind.SIMILAR),
        ("aaaa bbbb cccc 7q2m", Kind.SIMILAR),
        ("AAAA–BBBB–CCCC–7Q2M.", Kind.SIMILAR),
        ("AAAA-BBBB-\u200bCCCC-7Q2M", Kind.SIMILAR),
        ("7Q2M", Kind.ENDING),
        ("7q2m", Kind.ENDING),
        ("••••7Q2M", Kind.ENDING),
        ("C7Q2M", Kind.ENDING),
        ("cc7q2m", Kind.ENDING),
        ("CCCC-7Q2M", Kind.ENDING),
        ("BCCCC7Q2M", Kind.ENDING),
        ("photo-pro", Kind.SKU),
        ("ADA@example.com", Kind.EMAIL),
        ("<ada@example.com>", Kind.EMAIL),
        ("Ada Byron <ada@example.com>", Kind.EMAIL),
        ("mailto:ada@example.com", Kind.EMAIL),
        ("“ada@example.com”,", Kind.EMAIL),
        ("From: ada@example.com.", Kind.EMAIL),
        ("\ufeffada@example.com\u00a0", Kind.EMAIL),
        ("ada\u200b@example.com", Kind.EMAIL),
        ("mailto:ada@example.com?subject=My%20license", Kind.EMAIL),
        ("License key: AAAA-BBBB-CCCC-7Q2M", Kind.SIMILAR),
        ("Key=aaaabbbbcccc7q2m", Kind.SIMILAR),
        ("BBBB-CCCC-7Q2M", Kind.ENDING),
        ("１２３４５６７８", Kind.NUMBER),
        ("A 0012345678", Kind.NUMBER),
        ("a-0012-345678", Kind.NUMBER),
        ("order A0012345678", Kind.NUMBER),
        ('"A0012345678"', Kind.NUMBER),
        ("A0012345678.", Kind.NUMBER),
        ("(#A0012345678)", Kind.NUMBER),
        ("A00\u200b12345678", Kind.NUMBER),
        ("\u00a0A0012345678\u00a0", Kind.NUMBER),
        ("Byron, Ada", Kind.CUSTOMER),
        ("byron ada", Kind.CUSTOMER),
        ("BYRON\u00a0ADA", Kind.CUSTOMER),
        ("“Byron”", Kind.CUSTOMER),
        ("engines byron", Kind.CUSTOMER),
        ("@example", Kind.CUSTOMER),
        ("byron", Kind.CUSTOMER),
        ("Ada Byron", Kind.CUSTOMER),
        ("engines", Kind.CUSTOMER),
        ("ada@exmaple.com", Kind.OTHER_DOMAIN),
        ("Ada Byron <ADA@example.org>", Kind.OTHER_DOMAIN),
    ],
)
def test_it_finds_an_order_by(orders, text, kind):
    found = find(orders, text)

    assert list(found) == [kind]
    assert numbers(found[kind]) == ["A0012345678"]


@pytest.mark.parametrize("text", ["12345678 99", "A0012345678, B0000000099", "99;12345678", "99\n12345678"])
def test_it_finds_several_orders_by_their_numbers(orders, text):
    assert numbers(find(orders, text)[Kind.NUMBER]) == ["A0012345678", "B0000000099"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "A1",
        "ad",
        "Q2M",
        "AAAA-BBBB",
        "AAAA-BBBB-CCCC-7Q2",
        "PHOTO",
        "%",
        "____",
        "D7Q2M",
        "#",
        "…",
        "Byron, Bob",
        "<>",
        "B 99 1",
        "B 0012345678 1",
        "B 0000000099 unknown 7",
        "100%@bob.exmaple",  # only ends like bob.100%
    ],
)
def test_it_finds_nothing_by(orders, text):
    assert find(orders, text) == {}


@pytest.mark.parametrize("text", ["100%", "o_neil"])
def test_wildcards_of_the_database_match_only_themselves(orders, text):
    assert numbers(find(orders, text)[Kind.CUSTOMER]) == ["B0000000099"]


def test_one_text_can_match_several_kinds(orders):
    Order.objects.filter(number="B0000000099").update(last_name="7Q2M")

    assert list(find(orders, "7q2m")) == [Kind.ENDING, Kind.CUSTOMER]


def test_it_searches_only_the_given_orders(orders, outsider):
    assert find(Order.objects.filter(merchant=outsider), "A0012345678") == {}


def test_it_does_not_find_the_sku_of_another_merchant(orders, outsider):
    Product.objects.create(merchant=outsider, sku="THEIRS", name="Theirs")

    assert find(orders, "THEIRS") == {}


@pytest.mark.parametrize(("text", "queries"), [("A0012345678", 2), ("7Q2M", 2), ("a long text of words", 2)])
def test_it_takes_few_queries(orders, django_assert_num_queries, text, queries):
    with django_assert_num_queries(queries):
        find(orders, text)


def test_a_license_match_comes_before_a_number_match(orders, pay, make_product, make_pool):
    pool = make_pool()
    import_keys(pool, ["SN0012345678"], actor="test")
    pay(make_product(pool=pool), order="C1")

    found = find(orders, "SN0012345678")

    assert next(iter(found)) == Kind.LICENSE
    assert numbers(found[Kind.LICENSE]) == ["C1"]


@pytest.mark.parametrize("name", ["Γιώργος", "İbrahim", "王芳"])
def test_it_finds_a_name_in_any_script(orders, name):
    Order.objects.filter(number="B0000000099").update(last_name=name)

    assert numbers(find(orders, name)[Kind.CUSTOMER]) == ["B0000000099"]


ACCENTS = {
    "Zoë": ["zoe", "ZOE", "zoë", "Zoe\u0308"],
    "Zoe\u0308": ["zoe", "zoë"],
    "Müller": ["muller", "MÜLLER"],
    "Łukasz": ["lukasz"],
    "Strauß": ["strauss", "strauß"],
    "Артём": ["артем", "АРТЁМ"],
    "Ana\u200bMaria": ["anamaria"],
    "De\u00a0Vries": ["de vries", "vries"],
    "O'Hara": ["ohara", "O’HARA", "o´hara", "o hara"],
    "O’Hara": ["ohara", "o'hara"],
    "D´Angelo": ["dangelo", "d'angelo"],
    "Müßig": ["muessig", "müssig", "mussig"],
    "Muessig": ["müssig", "mussig", "essig"],
    "Jørgensen": ["joergensen", "jorgensen"],
    "Haakon": ["håkon", "hakon"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in ACCENTS.items() for text in texts])
def test_accents_and_invisible_characters_do_not_matter(orders, name, text):
    Order.objects.filter(number="B0000000099").update(last_name=name)

    assert numbers(find(orders, text)[Kind.CUSTOMER]) == ["B0000000099"]


PUNCTUATED = {
    "K/77": ["K77", "k 77", "k/77", "K-77", "77", "order k/77"],
    "A-2024/0001": ["A20240001", "a 2024 0001", "a-2024-0001", "2024/0001"],
    "gid://shopify/Order/5551234": ["gid%3A%2F%2Fshopify%2FOrder%2F5551234", "5551234", "gid://shopify/order/5551234"],
}


@pytest.mark.parametrize(
    ("number", "text"), [(number, text) for number, texts in PUNCTUATED.items() for text in texts]
)
def test_punctuation_in_numbers_does_not_matter(orders, number, text):
    Order.objects.filter(number="B0000000099").update(number=number)

    assert numbers(find(orders, text)[Kind.NUMBER]) == [number]


def test_a_number_that_contains_another_number_finds_only_its_own_order(orders):
    Order.objects.filter(number="A0012345678").update(number="2024")
    Order.objects.filter(number="B0000000099").update(number="A-2024/0001")

    assert numbers(find(orders, "a 2024 0001")[Kind.NUMBER]) == ["A-2024/0001"]
    assert find(orders, "a 2024 1") == {}


@pytest.mark.parametrize("text", ["A 12345678, B 99", "A-0012345678\nB-99", "Orders A0012345678; B0000000099"])
def test_separated_numbers_can_contain_spaces(orders, text):
    assert numbers(find(orders, text)[Kind.NUMBER]) == ["A0012345678", "B0000000099"]


def test_it_finds_orders_by_the_sku_of_an_item_that_is_not_ours(orders):
    OtherItem.objects.create(
        order=orders.get(number="B0000000099"), reference="9", product="T-SHIRT", quantity=1, total_price=1
    )

    assert numbers(find(orders, "T-SHIRT")[Kind.SKU]) == ["B0000000099"]


@pytest.mark.parametrize("number", ["1001", "#1001"])
@pytest.mark.parametrize("text", ["1001", "#1001", "“#1001”", "order #1001"])
def test_a_number_sign_does_not_matter(orders, number, text):
    Order.objects.filter(number="B0000000099").update(number=number)

    assert numbers(find(orders, text)[Kind.NUMBER]) == [number]


PEM = "-----BEGIN LICENSE-----\n{}\n{}\n-----END LICENSE-----"
LINE_BREAK_CHANGES = {
    "unchanged": lambda text: text,
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "spaces for line breaks": lambda text: text.replace("\n", " "),
    "no line breaks": lambda text: text.replace("\n", ""),
    "spaces around": lambda text: f"  {text}\n\n",
}


@pytest.fixture
def long_licenses(pay, make_product, make_pool):
    """Two orders with licenses of four lines and 5,000 characters, which differ only in the middle."""
    texts = [PEM.format("A" * 2450 + part, "B" * 2450) for part in ("XXXX1111", "YYYY2222")]
    pool = make_pool()
    import_keys(pool, texts, actor="test")
    product = make_product(pool=pool)
    for number in ("L1", "L2"):
        pay(product, order=number)
    return texts


@pytest.mark.parametrize("change_line_breaks", LINE_BREAK_CHANGES.values(), ids=LINE_BREAK_CHANGES)
def test_it_finds_a_long_multi_line_license(long_licenses, change_line_breaks):
    for number, text in zip(("L1", "L2"), long_licenses, strict=True):
        found = find(Order.objects.all(), change_line_breaks(text))

        assert len(found) == 1 and {Kind.LICENSE, Kind.SIMILAR} & found.keys()
        assert [numbers(orders) for orders in found.values()] == [[number]]


def test_it_distinguishes_licenses_that_differ_only_in_case(pay, make_product, make_pool):
    pool = make_pool()
    import_keys(pool, ["abcd-EFGH-1234", "ABCD-efgh-1234"], actor="test")
    product = make_product(pool=pool)
    for number in ("L1", "L2"):
        pay(product, order=number)

    assert {kind: numbers(found) for kind, found in find(Order.objects.all(), "ABCD-efgh-1234").items()} == {
        Kind.LICENSE: ["L2"]
    }
    assert numbers(find(Order.objects.all(), "abcd-efgh-1234")[Kind.SIMILAR]) == ["L1", "L2"]
