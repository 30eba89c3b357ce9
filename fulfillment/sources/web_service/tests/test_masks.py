"""Requests and answers are stored, with codes and secrets masked."""

import base64
import json
import logging
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest

from fulfillment.engine import fulfill
from fulfillment.models import Fulfillment
from fulfillment.sources.web_service import client as web_services
from fulfillment.sources.web_service.parameters import Subject
from orders.models import ActivationCode, OrderItem
from outbound.masking import mask_answer
from outbound.models import OutgoingRequest
from outbound.outgoing_requests import Answer

CODES = [
    "AAAA-BBBB-CCCC-7Q2M",
    "<license id='7'>R&D \"Größe\" 4F7A/99Q2</license>",
    "line one: K7\nline two: \\n9 \\ / 🔑 end",
    "A1B2",
]


@pytest.fixture
def sold(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


def stored_text(caplog):
    rows = [value for row in OutgoingRequest.objects.values() for value in row.values()]
    return "\n".join(map(str, [*rows, *Fulfillment.objects.values_list("reason", flat=True), caplog.text]))


def as_character_references(code):
    return "".join(f"&#x{ord(character):x};" for character in code)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(
    ("fields", "format_answer"),
    [
        ({}, lambda code: f"  {code}\n"),
        ({"answer": "json", "path": "$.key"}, lambda code: json.dumps({"key": code})),
        ({"answer": "json", "path": "$.key"}, lambda code: json.dumps({"key": code, "raw": code}, ensure_ascii=False)),
        (
            {"answer": "json", "path": "$.key"},
            lambda code: json.dumps({"key": code}).replace("/", r"\/").replace("A", r"\u0041"),
        ),
        ({"answer": "xml", "path": "key"}, lambda code: f"<a><key>{escape(code)}</key></a>"),
        ({"answer": "xml", "path": "key"}, lambda code: f"<a><key>{as_character_references(code)}</key></a>"),
        ({"answer": "xml", "path": "key"}, lambda code: f"<a><key><![CDATA[{code}]]></key></a>"),
        (
            {"answer": "xml", "path": "key"},
            lambda code: f"<a><key><b>{escape(code[:2])}</b>{escape(code[2:])}</key></a>",
        ),
    ],
    ids=["body", "json", "json, raw", "json, escaped", "xml", "xml, entities", "cdata", "xml, spread"],
)
def test_a_received_code_is_stored_only_with_the_order(
    pay, work, sold, make_service, receiver, caplog, fields, format_answer, code
):
    caplog.set_level(logging.DEBUG)
    make_service(sold, **fields)
    receiver.respond = lambda received: (200, {}, format_answer(code).encode())

    pay(sold)
    work()

    assert ActivationCode.objects.get().code == code
    stored = stored_text(caplog)
    for part in (code, format_answer(code).strip(), *code.splitlines(), as_character_references(code)):
        assert part not in stored
    assert "••••" in OutgoingRequest.objects.get().answer


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "utf-7", ""])
def test_a_code_is_masked_in_every_character_set(pay, work, sold, make_service, receiver, charset):
    make_service(sold)
    content_type = f"text/plain; charset={charset}" if charset else "text/plain"
    answer = "AAAA-BBBB-CCCC-7Q2M".encode(charset or "utf-16-le")
    receiver.respond = lambda received: (200, {"Content-Type": content_type}, answer)

    pay(sold)
    work()

    assert ActivationCode.objects.exists() == bool(charset)
    assert OutgoingRequest.objects.get().answer == "••••7Q2M"


@pytest.mark.parametrize(
    "answer",
    [
        '{"code": "AAAA-BBBB-CCCC-7Q2M"}',
        '{"code": "AAAA-BBBB-CCCC-7Q2M"',
        "Your key: 4F7A9 / ABCDEFGHJK / AB12C-XY / 4F7A 99Q2 7Q2M 1234 / ABCD.EFGH.JKLM",
        r'{"code": "\u0041\u0041\u0041\u0041\u0042\u0043\u0044\u0045\u0046\u0031"}',
    ],
)
def test_a_code_that_was_not_found_is_masked_too(pay, work, sold, make_service, receiver, answer):
    make_service(sold, answer="json", path="$.key")
    receiver.respond = lambda received: (200, {}, answer.encode())

    pay(sold)
    work()

    stored = OutgoingRequest.objects.get()
    assert stored.outcome == "fatal"
    for part in ("AAAA", "BBBB", "4F7A", "ABCDEF", "AB12C", "99Q2", "EFGH", "0041", "ABCD"):
        assert part not in stored.answer


def test_words_and_values_that_we_sent_stay_readable():
    answer = (
        "Unknown product PHOTO-PRO, order A0012345678: UNKNOWN_PRODUCT, licenseKey missing. Réessayez s’il vous plaît"
    )

    assert mask_answer(answer, [], shown="Order=A0012345678&ID=PHOTO-PRO") == answer


@pytest.mark.parametrize("format", ["form", "json", "get"])
def test_earlier_licenses_sent_with_a_renewal_are_masked(
    pay, work, sold, make_service, receiver, api, make_payment, format
):
    make_service(sold, format=format, parameters=["Order", "Key_first_renew", "Key_last_renew"])
    receiver.respond = lambda received: (200, {}, b"AAAA-BBBB-CCCC-7Q2M")
    for number, parent in (("P", None), ("R", "P")):
        payment = make_payment(sold, order=number)
        payment["items"][0]["subscription"] = {"id": "S", "type": "AR", "period": "P1Y", "parent_order": parent}
        assert api.post("/api/v1/payments/", payment, format="json").status_code == 201
        work()

    sent = OutgoingRequest.objects.latest("pk").sent
    assert sent.count("••••7Q2M") == 2 and "CCCC" not in sent


@pytest.mark.parametrize("format", ["form", "json", "get"])
@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_secrets_repeated_in_an_answer_are_masked(pay, work, sold, make_service, receiver, caplog, format, login):
    caplog.set_level(logging.DEBUG)
    password, constant = "correct.horse.battery", "open sesame & more"
    service = make_service(sold, format=format, login=login, username="ada", password=password)
    service.parameters.create(position=9, name="token", constant=constant, is_secret=True)

    def echo(received):
        echoed = f"{received.path} {received.headers} {service.secret} {password} {constant} ".encode() + received.body
        return 400, {}, echoed

    receiver.respond = echo
    pay(sold)
    work()

    [request] = receiver.received
    assert quote_plus(constant) in request.path + request.body.decode() or constant in request.body.decode()
    stored = stored_text(caplog)
    encoded_login = base64.b64encode(f"ada:{password}".encode()).decode()
    for secret in (password, constant, quote_plus(constant), encoded_login, service.secret, service.secret[6:]):
        assert secret not in stored
    assert "token" in OutgoingRequest.objects.get().sent and "••••" in OutgoingRequest.objects.get().sent.replace(
        "%E2%80%A2", "•"
    )


def test_an_internal_error_is_recorded_without_the_code(pay, sold, make_service, receiver, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    make_service(sold, password="correct.horse.battery", login="basic")
    receiver.respond = lambda received: (200, {}, b"AAAA-BBBB-CCCC-7Q2M")
    monkeypatch.setattr(web_services, "mask_answer", lambda *args, **options: 1 / 0)
    pay(sold)

    fulfill(Fulfillment.objects.get().pk)

    outgoing_request, fulfillment = OutgoingRequest.objects.get(), Fulfillment.objects.get()
    assert (outgoing_request.status_code, outgoing_request.outcome) == (200, "temporary")
    assert outgoing_request.error.startswith("Something went wrong on our side (reference ")
    assert (fulfillment.status, fulfillment.reason) == ("waiting", outgoing_request.error)
    assert "ZeroDivisionError" in caplog.text
    for secret in ("7Q2M", "correct.horse"):
        assert secret not in stored_text(caplog)


@pytest.mark.parametrize("piece", ["ab-", "aB", "AAA ", "&", "\\", "<", "a1-"])
def test_a_hostile_answer_does_not_keep_the_worker_busy(piece):
    """A backtracking pattern would take far too long."""
    code = "AAAA-BBBB-CCCC-7Q2M"

    assert code not in mask_answer(piece * 20_000 + "1 " + code, [code])


def test_thousands_of_codes_do_not_keep_the_worker_busy():
    codes = [f"{number:x}" for number in range(0x1000, 0x1000 + 12_000)]

    # Searching the whole answer for each code would take seconds.
    assert mask_answer("\n".join(codes), codes) == "••••"


def test_repr_contains_no_secrets(sold, make_service, pay):
    service = make_service(sold, format="get", login="bearer", password="correct.horse", parameters=["Email"])
    pay(sold)
    item = OrderItem.objects.get()
    request = web_services.build_request(service, Subject(item, [1]), "req_1")
    reading = web_services.Reading(service, 1, request, codes=["AAAA-BBBB-CCCC-7Q2M"])
    answer = Answer(200, {}, b"AAAA-BBBB-CCCC-7Q2M")

    printed = f"{request!r} {reading!r} {answer!r}"

    for secret in ("correct.horse", "ada", "7Q2M", service.secret):
        assert secret not in printed
