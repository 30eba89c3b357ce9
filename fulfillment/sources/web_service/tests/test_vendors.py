"""Misbehaving vendors: the receiver in examples/vendor, over HTTP."""

import base64
import json
import logging
import re
import socket
import sqlite3
from contextlib import closing, suppress
from datetime import timedelta
from json import JSONDecodeError
from pathlib import Path
from threading import Thread
from time import time
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from misbehave import BEHAVIORS, Misbehaving
from standardwebhooks import Webhook, WebhookVerificationError
from vendor import Vendor

from fulfillment.actions import retry
from fulfillment.models import Fulfillment
from fulfillment.product_sources import add_source
from fulfillment.sources.web_service import client as web_services
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.parameters import Subject
from notices.models import MerchantNotice
from orders.models import ActivationCode, OrderItem
from outbound import address_guard
from outbound.models import OutgoingRequest

SECRET = WebService.make_secret()
LONG_AGO = timedelta(days=2)


@pytest.fixture
def vendor(tmp_path, loopback_allowed):
    """The vendor's receiver; some of its paths misbehave."""
    server = Misbehaving(Vendor([SECRET], str(tmp_path / "codes.sqlite3")))
    Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def sold(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


@pytest.fixture
def make_vendor_service(vendor, make_service):
    """Make a web service at one of the vendor's paths."""

    def make_vendor_service(*products, path_suffix="", **fields):
        return make_service(*products, **{"url": vendor.url + path_suffix, "secret": SECRET, "timeout": 1} | fields)

    return make_vendor_service


def codes_at_vendor(vendor):
    """The codes that the vendor generated and stored."""
    with closing(sqlite3.connect(vendor.vendor.database)) as connection:
        return [code for (codes,) in connection.execute("SELECT codes FROM answers") for code in json.loads(codes)]


def saved_codes():
    return [code.code for code in ActivationCode.objects.order_by("item", "unit")]


def all_due():
    Fulfillment.objects.filter(due_at__isnull=False).update(due_at=Now())
    WebService.objects.exclude(probe_at=None).update(probe_at=Now())


# Misbehavior

TEMPORARY = {
    "hang": "127.0.0.1 didn’t answer within 1 seconds.",
    "drip": "127.0.0.1 didn’t answer within 1 seconds.",
    "500": "The service answered 500.",
    "503": "The service answered 503.",
    "429": "The service answered 429.",
    "429-date": "The service answered 429.",
    "close": "No answer from 127.0.0.1: connection closed without an answer.",
    "close-midway": "No answer from 127.0.0.1: connection closed before the answer was complete.",
    "no-http": "No answer from 127.0.0.1: the answer isn’t HTTP.",
    "too-few": "The answer has 1 of 2 codes.",
}
FATAL = {
    "404": "The service answered 404.",
    "page": "The answer is a web page instead of a code.",
    "plain-page": "The answer is a web page instead of a code.",
    "nothing": "Found no code in the answer.",
    "large": "The answer is longer than 64 KiB.",
    "no-utf-8": "The answer is not valid UTF-8.",
    "redirect": "The service answered 302, a redirect. We don’t follow redirects. Enter the final URL.",
    "echo": "The service answered 400.",
}


@pytest.mark.parametrize(("path_suffix", "error"), [*TEMPORARY.items(), *FATAL.items()])
def test_it_reports_each_misbehavior_and_recovers(
    pay, work, sold, make_vendor_service, vendor, mailoutbox, path_suffix, error
):
    service = make_vendor_service(sold, path_suffix=path_suffix, request_per="item", holds_list=True)
    temporary = path_suffix in TEMPORARY

    pay(sold, quantity=2)
    work()

    fulfillment, outgoing_request = Fulfillment.objects.get(), OutgoingRequest.objects.get()
    assert fulfillment.status == ("waiting" if temporary else "failed")
    assert outgoing_request.outcome == ("temporary" if temporary else "fatal")
    assert outgoing_request.error == error and error in fulfillment.reason
    assert outgoing_request.milliseconds is not None
    assert MerchantNotice.objects.count() == (0 if temporary else 1)
    assert saved_codes() == (codes_at_vendor(vendor)[:1] if path_suffix == "too-few" else [])

    vendor.is_mended = True
    if temporary:
        all_due()
    else:
        retry(OrderItem.objects.get(), actor="Sam")
    work()
    work()

    assert saved_codes() == codes_at_vendor(vendor) and len(set(saved_codes())) == 2
    assert Fulfillment.objects.get().status == "done"
    first, second = vendor.requests
    assert first[1]["idempotency-key"] == second[1]["idempotency-key"]
    mails = "".join(mail.body for mail in mailoutbox)
    assert [mails.count(code) for code in saved_codes()] == [1, 1]
    service.refresh_from_db()
    assert service.state == "healthy"


def test_every_misbehavior_is_tested():
    assert set(BEHAVIORS) == set(TEMPORARY) | set(FATAL) | {"same", "wrong-type", "hold"}


def test_a_vendor_that_refuses_connections_is_retried(pay, work, sold, make_vendor_service, vendor, loopback_allowed):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    service = make_vendor_service(sold, url=f"http://127.0.0.1:{port}/")

    pay(sold)
    work()

    assert OutgoingRequest.objects.get().error == "Can’t connect to 127.0.0.1: Connection refused."
    assert Fulfillment.objects.get().status == "waiting"
    WebService.objects.filter(pk=service.pk).update(url=vendor.url)
    all_due()
    work()
    assert saved_codes() == codes_at_vendor(vendor)


def test_a_code_with_a_wrong_content_type_is_accepted(pay, work, sold, make_vendor_service, vendor):
    make_vendor_service(sold, path_suffix="wrong-type")

    pay(sold)
    work()

    assert saved_codes() == codes_at_vendor(vendor)


def test_the_same_code_for_two_units_goes_to_one(pay, work, sold, make_vendor_service, vendor):
    make_vendor_service(sold, path_suffix="same")

    pay(sold, quantity=2)
    work()

    assert saved_codes() == ["SAME-SAME-0001"]
    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "failed"
    assert (
        "The service sent the code ••••0001 for unit 2, but unit 1 of order A0000000001 already has it."
        in fulfillment.reason
    )
    vendor.is_mended = True
    retry(OrderItem.objects.get(), actor="Sam")
    work()
    assert len(set(saved_codes())) == 2 and Fulfillment.objects.get().status == "done"


def test_a_name_that_resolves_to_an_internal_address_later_is_rejected(
    pay, work, sold, make_vendor_service, vendor, settings, dns
):
    settings.CALLOUT_NETWORKS = []
    dns("rebinding.example", ["93.184.216.34"], ["127.0.0.1"])
    url = f"https://rebinding.example:{vendor.server_port}/"
    address_guard.check(url)
    make_vendor_service(sold, url=url)

    pay(sold)
    work()

    assert not vendor.requests
    assert "rebinding.example isn’t on the public internet" in OutgoingRequest.objects.get().error
    assert OutgoingRequest.objects.get().outcome == "fatal"
    assert Fulfillment.objects.get().status == "failed"


TRICKS = [
    "2130706433",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "127.1",
    "0",
    "127.0.0.1.",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::1]",
    "[2001:0:5db8:d822:0:0:80ff:fffe]",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "93.184.216.34@127.0.0.1",
    "mixed.example",
    "169.254.169.254",
    "localhost.example",
    "[::1",
]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_address_trick_reaches_a_local_port(pay, work, make_product, merchant, dns, monkeypatch, scheme):
    dns("mixed.example", ["93.184.216.34", "127.0.0.1"])
    dns("localhost.example", ["127.0.0.1"])
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    listener.settimeout(0.1)
    port = listener.getsockname()[1]
    product = make_product(source=None)
    for number, trick in enumerate(TRICKS):
        service = WebService.objects.create(
            merchant=merchant, name=str(number), secret=SECRET, url=f"{scheme}://{trick}:{port}/", timeout=1
        )
        product.fulfillment_methods.all().delete()
        add_source(product, "web_service", service)
        pay(product)
        work()

    assert Fulfillment.objects.filter(status="failed").count() == len(TRICKS)
    assert OutgoingRequest.objects.filter(outcome="fatal", status_code=None).count() == len(TRICKS)
    with listener, pytest.raises(TimeoutError):
        listener.accept()


# Requests and answers


@pytest.fixture
def signatures():
    """Return a function that checks whether standardwebhooks accepts a request."""

    def is_accepted(secret, headers, content):
        try:
            with suppress(JSONDecodeError):  # after verification, it parses the content as JSON
                Webhook(secret).verify(content, headers)
        except WebhookVerificationError:
            return False
        return True

    return is_accepted


@pytest.mark.parametrize("request_per", ["unit", "item"])
@pytest.mark.parametrize("answer", ["text", "json", "xml"])
@pytest.mark.parametrize("format", ["form", "json", "get"])
def test_the_vendor_understands_every_request_and_answer_format(
    pay, work, sold, make_vendor_service, vendor, signatures, format, answer, request_per
):
    vendor.vendor.answer = answer
    paths = {"text": ("body", ""), "json": ("json", "$.keys[*]"), "xml": ("xml", "answer/key")}
    kind, path = paths[answer]
    fields = {"format": format, "answer": kind, "path": path, "request_per": request_per, "holds_list": True}
    service = make_vendor_service(
        sold, url=vendor.url + "?shop=7", login="basic", username="ada", password="pass:wört", **fields
    )
    for position, (parameter, name) in enumerate([("Email", "kunde[mail]"), ("Order_sum", "sum")], 10):
        service.parameters.create(position=position, parameter=parameter, name=name)
    service.parameters.create(position=20, name="vendor", constant="Ünïcode & Söhne = 1")

    order = pay(sold, quantity=2)["order"]
    work()

    assert saved_codes() == codes_at_vendor(vendor) and len(set(saved_codes())) == 2
    assert len(vendor.requests) == (2 if request_per == "unit" else 1)
    for path, headers, body in vendor.requests:
        query = urlsplit(path).query
        sent = json.loads(body) if format == "json" else dict(parse_qsl(query if format == "get" else body.decode()))
        sent.pop("shop", None)
        assert list(sent) == ["Order", "Item", "ID", "Quantity", "kunde[mail]", "sum", "vendor"]
        assert sent["Order"] == order and sent["sum"] == "59.98" and sent["kunde[mail]"] == "ada@example.com"
        assert sent["vendor"] == "Ünïcode & Söhne = 1"
        assert base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode() == "ada:pass:wört"
        assert signatures(SECRET, headers, body)
        assert signatures(SECRET, headers, query.encode() if format == "get" else body)
        assert not signatures(SECRET, headers, b"something else")


@pytest.mark.parametrize("format", ["form", "get"])
def test_signatures_are_valid_before_during_and_after_a_rotation(
    pay, work, sold, make_vendor_service, vendor, signatures, format
):
    service = make_vendor_service(sold, format=format)
    old = service.secret

    def is_accepted(secret):
        pay(sold)
        work()
        path, headers, body = vendor.requests[-1]
        return signatures(secret, headers, body or path.partition("?")[2].encode())

    assert is_accepted(old)
    service.rotate()
    vendor.vendor.secrets = [service.secret]
    assert is_accepted(old) and is_accepted(service.secret)
    WebService.objects.update(rotated_at=timezone.now() - LONG_AGO)
    assert is_accepted(service.secret) and not is_accepted(old)
    assert len(saved_codes()) == 5


def test_a_token_is_sent_as_a_bearer_token(pay, work, sold, make_vendor_service, vendor):
    make_vendor_service(sold, login="bearer", password="tok-123")

    pay(sold)
    work()

    assert vendor.requests[0][1]["authorization"] == "Bearer tok-123"


def test_a_token_that_is_invalid_in_a_header_is_never_shown(pay, work, sold, make_vendor_service, vendor, caplog):
    caplog.set_level(logging.DEBUG)
    make_vendor_service(sold, login="bearer", password="tok-123\nX-Evil: 1")

    pay(sold)
    work()

    assert not vendor.requests
    assert "is empty or has characters that a header can’t hold" in Fulfillment.objects.get().reason
    assert "tok-123" not in caplog.text


def test_a_fragment_is_not_sent(pay, work, sold, make_vendor_service, vendor):
    make_vendor_service(sold, url=vendor.url + "#top", format="get")

    pay(sold)
    work()

    assert parse_qs(urlsplit(vendor.requests[0][0]).query)["ID"] == ["PHOTO-PRO"]
    assert len(saved_codes()) == 1


# The example vendor


@pytest.fixture
def ask_kit(vendor, sold, pay, merchant):
    """Send requests to the example vendor without a network."""
    pay(sold)
    service = WebService.objects.create(merchant=merchant, name="Kit", secret=SECRET, url="https://vendor.example/")
    service.parameters.create(position=1, parameter="Quantity", name="Quantity")

    def ask(message_id="req_1", is_test=False, content=None, **headers):
        request = web_services.build_request(
            service, Subject(OrderItem.objects.get(), [1]), message_id, is_test=is_test
        )
        given = {name.lower(): value for name, value in (request.headers | headers).items()}
        return vendor.vendor.respond("", given, content or request.body)

    return ask


def test_the_kit_repeats_a_code_for_the_same_request_even_after_a_restart(ask_kit, vendor):
    status, _, first = ask_kit()
    vendor.vendor = Vendor([SECRET], vendor.vendor.database)

    assert status == 200
    assert ask_kit()[2] == first != ask_kit("req_2")[2]


def test_the_kit_makes_one_code_for_concurrent_duplicates(ask_kit, vendor, in_threads):
    headers = {"idempotency-key": "req_1"}

    answers = in_threads(lambda _: vendor.vendor.find_codes(headers, {"Quantity": "1"})[0], range(20), threads=20)

    assert len(set(answers)) == len(codes_at_vendor(vendor)) == 1


def test_the_kit_rejects_forged_and_old_requests(ask_kit, vendor):
    assert ask_kit(content=b"Quantity=900")[0] == 401
    old = {"webhook-timestamp": str(int(time()) - 301)}
    assert ask_kit(**old)[::2] == (401, b"The timestamp is too old, or the clocks differ.")
    vendor.vendor.secrets = [WebService.make_secret()]
    assert ask_kit()[0] == 401
    assert not codes_at_vendor(vendor)


def test_the_kit_accepts_several_secrets_and_signatures(ask_kit, vendor):
    vendor.vendor.secrets = [WebService.make_secret(), SECRET]
    assert ask_kit()[0] == 200


def test_the_kit_answers_a_test_without_a_real_code(ask_kit, vendor):
    assert ask_kit(is_test=True)[2] == b"TEST-0001"
    assert not codes_at_vendor(vendor)


# The documentation


@pytest.mark.parametrize("format", ["form", "json", "get"])
def test_the_documented_check_accepts_only_genuine_requests(pay, work, sold, make_vendor_service, vendor, format):
    page = (Path(__file__).parents[4] / "docs/web-services.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)```", page, re.S)
    namespace: dict = {}
    exec(snippet, namespace)
    verify = namespace["verify"]
    service = make_vendor_service(sold, url=vendor.url + "?shop=7", format=format)
    service.rotate()

    pay(sold)
    work()

    path, headers, body = vendor.requests[0]
    content = body or path.partition("?")[2].encode()
    assert verify(SECRET, headers, content) and verify(service.secret, headers, content)
    assert not verify(SECRET, headers, content + b"0")
    assert not verify(WebService.make_secret(), headers, content)
    late = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    assert not verify(SECRET, late, content)
    assert not verify(SECRET, {}, content) and not verify(SECRET, headers | {"webhook-signature": "v1,ü"}, content)
