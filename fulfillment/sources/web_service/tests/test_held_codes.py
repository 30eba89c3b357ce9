"""A code that looks unlike a service's earlier codes is held until a person decides."""

import string
from base64 import b64encode, urlsafe_b64encode
from random import Random
from uuid import UUID

import pytest
from django.db import connection

from fulfillment.actions import CodeRefused, enter_codes, retry, retry_failed
from fulfillment.held_codes import refuse, release
from fulfillment.history import order_history
from fulfillment.models import Fulfillment, HeldCode
from fulfillment.personal_data import PersonalData
from fulfillment.product_sources import add_source
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.shapes import code_shapes, resembles
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderEvent, OrderItem
from orders.services import refund
from outbound.models import OutgoingRequest

ERROR = "ERROR: product unknown"


@pytest.fixture
def sold(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


def respond_with(*texts):
    remaining = list(texts)
    return lambda received: (
        200,
        {"Content-Type": "text/plain"},
        (remaining.pop(0) if len(remaining) > 1 else remaining[0]).encode(),
    )


@pytest.fixture
def sell_held_code(pay, work, sold, make_service, receiver, mailoutbox):
    """Sell units; return the first held code."""

    def sell_held_code(*answers, quantity=1, **fields):
        make_service(sold, **fields)
        receiver.respond = respond_with(*(answers or [ERROR]))
        pay(sold, quantity=quantity)
        work()
        return HeldCode.objects.first()

    return sell_held_code


def saved_codes():
    return [saved_codes.code for saved_codes in ActivationCode.objects.order_by("item", "unit")]


def test_an_error_sent_as_a_code_is_held_and_not_emailed(sell_held_code, mailoutbox):
    held = sell_held_code()

    fulfillment, outgoing_request = Fulfillment.objects.get(), OutgoingRequest.objects.get()
    assert (held.unit, held.code, saved_codes()) == (1, ERROR, [])
    assert fulfillment.status == "failed" and "releases it on the order page" in fulfillment.reason
    assert (outgoing_request.outcome, outgoing_request.answer) == ("fatal", ERROR)
    assert MerchantNotice.objects.get().kind == "source_failed"
    assert not any(ERROR in mail.body for mail in mailoutbox)


def test_a_held_code_is_not_requested_again(sell_held_code, work, receiver):
    held = sell_held_code(ERROR, "AAAA-1111")

    for _ in range(2):
        retry(OrderItem.objects.get(), actor="Sam")
        work()

    assert len(receiver.received) == 1
    assert HeldCode.objects.get().pk == held.pk and Fulfillment.objects.get().status == "failed"


def test_no_second_source_is_asked_for_a_unit_with_a_held_code(pay, work, sold, make_service, make_pool, receiver):
    make_service(sold)
    add_source(sold, "pool", make_pool(3))
    receiver.respond = respond_with(ERROR)

    pay(sold)
    work()

    assert saved_codes() == [] and HeldCode.objects.count() == 1


def test_a_released_code_is_emailed_and_similar_codes_are_not_held(
    sell_held_code, pay, work, sold, receiver, mailoutbox
):
    held = sell_held_code("horse-battery", "staple-tree")

    release(held, actor="Sam")
    work()
    pay(sold)
    work()

    assert saved_codes() == ["horse-battery", "staple-tree"]
    assert not HeldCode.objects.exists()
    assert ActivationCode.objects.earliest("pk").saved_by == "Sam"
    assert any("horse-battery" in mail.body for mail in mailoutbox)
    assert "horse" not in str(WebService.objects.get().known_shapes)


def test_a_rejected_code_is_requested_again_with_the_same_idempotency_key(sell_held_code, work, receiver):
    held = sell_held_code(ERROR, "AAAA-1111")

    refuse(held, actor="Sam")
    work()

    assert saved_codes() == ["AAAA-1111"]
    first, second = receiver.received
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    event = OrderEvent.objects.get(kind="refused")
    assert (event.happened_by, event.details) == ("Sam", {"unit": 1})


@pytest.mark.parametrize("decisions", [(release, release), (release, refuse), (refuse, release), (refuse, refuse)])
def test_a_held_code_can_be_decided_only_once(sell_held_code, decisions):
    held = sell_held_code()
    first, second = decisions

    stale = HeldCode(pk=held.pk, source=held.source, upstream=held.upstream, item=held.item, unit=1, code=held.code)

    first(held, actor="Sam")
    with pytest.raises(CodeRefused):
        second(stale, actor="Sam")

    assert len(saved_codes()) == (1 if first is release else 0)


def test_only_one_concurrent_decision_counts(transactional_db, sell_held_code, in_threads):
    held = sell_held_code()

    def decide(decision):
        try:
            decision(HeldCode.objects.select_related("upstream", "item__order").get(pk=held.pk), actor="Sam")
        except (CodeRefused, HeldCode.DoesNotExist):
            return
        finally:
            connection.close()

    in_threads(decide, [release, refuse] * 3, threads=4)

    refused = OrderEvent.objects.filter(kind="refused").count()
    assert (len(saved_codes()), refused) in {(1, 0), (0, 1)}
    assert not HeldCode.objects.exists()


def test_codes_received_with_a_held_code_are_saved(sell_held_code, work, receiver):
    held = sell_held_code(
        f"AAAA-1111\n{ERROR}\nCCCC-3333",
        "AAAA-1111\nBBBB-2222\nCCCC-3333",
        quantity=3,
        request_per="item",
        holds_list=True,
        known_shapes=sorted(code_shapes("XXXX-0000")),
    )
    assert held.unit == 2 and saved_codes() == ["AAAA-1111", "CCCC-3333"]

    refuse(held, actor="Sam")
    work()

    assert saved_codes() == ["AAAA-1111", "BBBB-2222", "CCCC-3333"]


def test_the_notice_links_to_the_order(sell_held_code, work, mailoutbox):
    sell_held_code()
    work()

    [notice] = [mail for mail in mailoutbox if "Release or reject" in mail.body]
    assert f"/orders/{Order.objects.get().number}/" in notice.body


def test_retrying_all_failed_items_skips_held_codes(sell_held_code):
    held = sell_held_code()

    assert retry_failed(held.upstream.itself, actor="Sam") == 0
    assert not OrderEvent.objects.exists()


def test_a_released_code_is_masked_in_the_log_and_listed_in_the_history(sell_held_code):
    held = sell_held_code()
    assert OutgoingRequest.objects.get().answer == ERROR

    release(held, actor="Sam")

    assert OutgoingRequest.objects.get().answer == "••••nown"
    lines = [(line.text, line.actor) for line in order_history(Order.objects.get())]
    assert ("Held code 1 for Program 1 released", "Sam") in lines


def test_releasing_a_code_requests_the_remaining_ones(sell_held_code, work, receiver):
    held = sell_held_code("horse-battery", "staple-tree", "horse-tree", quantity=3)

    release(held, actor="Sam")
    work()

    assert saved_codes() == ["horse-battery", "staple-tree", "horse-tree"]
    assert Fulfillment.objects.get().status == "done"


def test_a_code_that_another_order_has_cant_be_released(sell_held_code, pay, work, sold, receiver):
    release(sell_held_code("Ada Byron"), actor="Sam")
    WebService.objects.update(known_shapes=[])
    pay(sold)
    work()

    with pytest.raises(CodeRefused, match="already has it"):
        release(HeldCode.objects.get(), actor="Sam")

    assert saved_codes() == ["Ada Byron"]


def test_it_rejects_a_release_for_a_refunded_order_or_a_unit_with_a_code(sell_held_code):
    held = sell_held_code()
    enter_codes(held.item, {1: "BY-HAND"}, actor="Sam")
    with pytest.raises(CodeRefused, match="already has an activation code"):
        release(held, actor="Sam")

    refund(Order.objects.get(), actor="the shop")
    with pytest.raises(CodeRefused, match="deleted"):
        release(held, actor="Sam")


def test_holding_codes_can_be_switched_off(sell_held_code):
    assert sell_held_code(holds_unlike=False) is None
    assert saved_codes() == [ERROR]


def test_erasing_a_customer_deletes_held_codes(sell_held_code):
    sell_held_code()

    PersonalData(Order.objects.get().email).erase(actor="Sam")

    assert not HeldCode.objects.exists()


# Similarity of codes

CAPITALS = string.ascii_uppercase + string.digits


def random_code(random, alphabet, *lengths, mark="-"):
    return mark.join("".join(random.choices(alphabet, k=length)) for length in lengths)


KINDS = {
    "groups": lambda random: random_code(random, CAPITALS, 5, 5, 5, 5, 5),
    "short": lambda random: random_code(random, CAPITALS, 4),
    "letters": lambda random: random_code(random, string.ascii_uppercase, 3, 3),
    "small letters": lambda random: random_code(random, string.ascii_lowercase + string.digits, 8),
    "mixed letters": lambda random: random_code(random, string.ascii_letters, 12),
    "hexadecimal": lambda random: random.randbytes(16).hex(),
    "uuid": lambda random: str(UUID(int=random.getrandbits(128))),
    "base64": lambda random: b64encode(random.randbytes(10)).decode(),
    "base64 for addresses": lambda random: urlsafe_b64encode(random.randbytes(12)).decode(),
    "password": lambda random: random_code(random, string.ascii_letters + string.digits + "!$%&/()=?+*#-_.:,;", 12),
    "number": lambda random: str(random.randrange(10**5, 10**8)),
    "counter": lambda random: f"PRO-{random.randrange(1, 99999)}-{random_code(random, CAPITALS, 8)}",
    "person": lambda random: (
        f"{random.choice(['Ada Byron', 'Zoë van der Berg'])}-{random_code(random, CAPITALS, 4, 4)}7"
    ),
    "account": lambda random: (
        f"user={random.choice(['ada', 'charles.babbage'])}; password={random_code(random, CAPITALS, 9)}1"
    ),
    "words": lambda random: "-".join(random.choices(["horse", "battery", "staple", "tree"], k=4)),
    "link": lambda random: (
        f"https://vendor.example/d/{random_code(random, string.ascii_letters, random.choice([8, 20]))}"
    ),
    "document": lambda random: (
        f'{{"name": "Ada{" B." * random.randrange(4)}", "key": "{random_code(random, CAPITALS, 8)}"}}'
    ),
    "block": lambda random: (
        "-----BEGIN LICENSE-----\n" + random_code(random, CAPITALS, 60, 60, random.randrange(9, 60), mark="\n")
    ),
}
MESSAGES = [
    *(ERROR, "Error 404", "ERR_NO_PRODUCT", "Product 4711 is unknown", "No license available", "Sold out", "no key"),
    *("0", "-1", "404", "null", "OK", "success", "Internal Server Error", "403 Forbidden", "E1: not found"),
    *("Produkt unbekannt", "Fehler 17: ungültiger Schlüssel", "Erreur : produit inconnu", "Producto no encontrado"),
    *("Ошибка: товар не найден", "Rate limit exceeded (60 per minute)", "Bitte später erneut versuchen"),
    *(
        "ERROR404",
        "ERR1017",
        "NO_MORE_KEYS",
        "NOKEY",
        "PRODUCT_DISABLED",
        "MAINTENANCE",
        "license_server_offline_2026",
    ),
    *("Traceback (most recent call last):\nKeyError", "PHP Warning:  mysqli_connect()\nPHP Fatal error:  no key"),
    *("Fatal error: Uncaught Exception in /var/www/generator.php:12", "SQLSTATE[HY000] [2002] Connection refused"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_one_kind_resemble_each_other_and_no_message(kind):
    random = Random(kind)
    codes = [KINDS[kind](random) for _ in range(300)]

    for first in codes[:10]:
        known = code_shapes(first)
        assert [code for code in codes if not resembles(code, known)] == []
        assert [message for message in MESSAGES if resembles(message, known)] == []


@pytest.mark.parametrize(
    ("known", "code", "expected"),
    [
        ("AAAA-BBBB-7Q2M", "ABCD-EFGH-IJKL", True),  # no digit, by chance
        ("AAAA-BBBB-7Q2M", "AAAA-BBBB-7Q2MX", True),
        ("LIC-9", "LIC-10", True),
        ("LIC-9999999", "LIC-10000000000", True),
        ("dGhlIGtleQ7=dGhlIGtleQ7=", "dGhlI/tleQ7+dGhlIGtl-Q7-dGhlIGtleQ7=", True),
        ("https://vendor.example/d/1", "https://vendor.example/download/4711?x=y", True),
        ("Name: Ada\nKey: 1", "Name: Charles\nKey: 12", True),
        ("license=none key=123", "license=none key=456", True),
        ("AAAA-BBBB-7Q2M", ERROR, False),
        ("AAAA-BBBB-7Q2M", "ERROR-PROD-0404", False),
        ("AAAA-BBBB-7Q2M", "Product 4711 is unknown", False),
        ("AAAA-BBBB-7Q2M", "7", False),
        ("AAAA-BBBB-7Q2M", "x" * 5000, False),
        ("A7F3K2", "FAILED", False),
        ("A7F3K2", "null", False),
        ("ERR-AAAA-7Q2M-BBBB", "ERR-CCCC-81XX-DDDD", True),
        ("1234567890123456789012", "1234567890123456789", True),
        (
            "-----BEGIN KEY-----\nA1\n-----END KEY-----",
            "-----BEGIN KEY-----\n" + "A1\n" * 999 + "-----END KEY-----",
            True,
        ),
        ("A1B2C3D4", "MAINTAIN", True),
        ("Ada Byron 7001", "product unknown", False),
        ("Ada Byron 7001", "Product 4711 is unknown", False),
        ("aBcDeFgHiJkL", "Unauthorized", False),
        ("aB3dE6gHi9kL", "maintenance", False),
        ("7Q2M", "-1", False),
        ("7", "8", True),
        ("CODE-A", "not found", False),
    ],
)
def test_a_code_resembles_earlier_codes(known, code, expected):
    assert resembles(code, code_shapes(known)) == expected


@pytest.mark.parametrize(
    "code", ["AAAA-BBBB", "CODE-A", "7Q2M81", "ABcdeFGhi", "https://v.example/x", "Key:\nA B C 1\nD E F 2"]
)
def test_the_first_code_is_accepted(code):
    assert resembles(code, [])


@pytest.mark.parametrize(
    "code", [*MESSAGES, "Sorry", "no such product", "Product_not_found", "Fatal error:\nx", "17", "E1001"]
)
def test_the_first_code_is_held_if_it_reads_like_a_message(code):
    assert not resembles(code, [])
