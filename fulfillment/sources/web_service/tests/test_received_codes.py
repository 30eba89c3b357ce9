"""Each code from a web service goes to one unit, whatever happens during the request."""

import socket
from threading import Thread
from urllib.parse import parse_qs

import pytest
from django.db import connection
from django.db.models.functions import Now

from fulfillment.actions import enter_codes
from fulfillment.engine import fulfill
from fulfillment.models import Fulfillment
from fulfillment.product_sources import add_source
from fulfillment.sources.web_service.models import ReceivedCode
from orders.models import ActivationCode, Order, OrderItem
from orders.services import refund
from outbound import address_guard, outgoing_requests
from outbound.address_guard import OutgoingRequestFailed
from outbound.models import OutgoingRequest


@pytest.fixture
def sold(make_product):
    return make_product(source=None, sku="PHOTO-PRO")


def respond_with(*codes):
    """Answer each request with the next item, and repeat the last one; a number is a status."""
    remaining = list(codes)

    def respond(received):
        answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        return (answer,) if isinstance(answer, int) else (200, {}, answer.encode())

    return respond


def codes_by_unit(item):
    return {code.unit: code.code for code in item.activation_codes.all()}


def all_due():
    Fulfillment.objects.filter(due_at__isnull=False).update(due_at=Now())


# Several sources


def test_the_web_service_supplies_what_the_pool_lacks(pay, work, sold, make_pool, make_service, receiver):
    add_source(sold, "pool", make_pool(1))
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with("CODE-0002\nCODE-0003")

    pay(sold, quantity=3)
    work()

    codes = codes_by_unit(OrderItem.objects.get())
    assert "KEY" in codes[1] and (codes[2], codes[3]) == ("CODE-0002", "CODE-0003")
    [request] = receiver.received
    assert parse_qs(request.body.decode())["Quantity"] == ["2"]


def test_the_pool_supplies_what_the_web_service_fails_to_deliver(
    pay, work, sold, make_pool, make_service, receiver, mailoutbox
):
    make_service(sold)
    add_source(sold, "pool", make_pool(3))
    receiver.respond = respond_with("CODE-0001", 503)

    pay(sold, quantity=3)
    work()
    work()

    codes = codes_by_unit(OrderItem.objects.get())
    assert codes[1] == "CODE-0001" and all("KEY" in codes[unit] for unit in (2, 3))
    assert Fulfillment.objects.get().status == "done"
    assert "".join(mail.body for mail in mailoutbox).count("KEY-") == 2


def test_a_code_entered_by_hand_doesnt_shift_the_codes_of_other_units(pay, work, sold, make_service, receiver):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with("CODE-A", 503, "CODE-A\nCODE-C")
    order = pay(sold, quantity=3)["order"]
    work()
    item = OrderItem.objects.get()
    enter_codes(item, {2: "BY-HAND"}, actor="Sam")

    for _ in range(2):
        all_due()
        work()

    assert codes_by_unit(item) == {1: "CODE-A", 2: "BY-HAND", 3: "CODE-C"}
    assert [parse_qs(request.body.decode())["Quantity"] for request in receiver.received] == [["3"], ["2"], ["2"]]
    assert Order.objects.get(number=order).items.get().fulfillment.status == "done"


def test_a_recorded_code_whose_unit_was_served_goes_to_another_unit(
    pay, sold, work, make_service, receiver, monkeypatch
):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with("CODE-A\nCODE-B", "CODE-A")
    pay(sold, quantity=2)
    item = OrderItem.objects.get()
    with monkeypatch.context() as patch:
        patch.setattr("fulfillment.engine.save", lambda *args, **options: 1 / 0)
        fulfill(item.fulfillment.pk)
    assert ReceivedCode.objects.count() == 2 and not codes_by_unit(item)

    enter_codes(item, {1: "BY-HAND"}, actor="Sam")
    all_due()
    work()

    assert codes_by_unit(item) == {1: "BY-HAND", 2: "CODE-A"}


# One code, one unit


@pytest.mark.parametrize("request_per", ["unit", "item"])
def test_a_code_of_another_order_is_not_issued_again(pay, work, sold, make_service, receiver, request_per):
    make_service(sold, request_per=request_per, holds_list=True)
    receiver.respond = respond_with("CODE-0001")

    first = pay(sold)["order"]
    work()
    pay(sold)
    work()

    assert ActivationCode.objects.get().item.order.number == first
    failed = Fulfillment.objects.get(status="failed")
    problem = f"The service sent the code •••• for unit 1, but unit 1 of order {first} already has it."
    assert OutgoingRequest.objects.latest("pk").error == problem
    assert failed.reason == f"Web service “Gen”: {problem}"


def test_only_one_of_several_concurrent_orders_gets_the_same_code(
    transactional_db, pay, sold, make_service, receiver, in_threads
):
    make_service(sold)
    receiver.respond = respond_with("CODE-0001")
    for _ in range(6):
        pay(sold)

    # Call `fulfill` directly: the slots per host would hide the race.
    pks = list(Fulfillment.objects.values_list("pk", flat=True))
    in_threads(fulfill, pks, threads=4)

    assert ActivationCode.objects.count() == 1
    assert sorted(Fulfillment.objects.values_list("status", flat=True)) == ["done"] + ["failed"] * 5


def test_repeated_codes_are_accepted_if_the_merchant_allows_them(pay, work, sold, make_service, receiver):
    make_service(sold, same_code_allowed=True)
    receiver.respond = respond_with("https://vendor.example/download")

    pay(sold, quantity=3)
    work()

    assert Fulfillment.objects.get().status == "done" and ActivationCode.objects.count() == 3


@pytest.fixture
def renew(make_payment, api, sold):
    """Report orders of one subscription."""

    def renew(number, parent=None, quantity=1, **fields):
        payment = make_payment(sold, order=number, quantity=quantity, **fields)
        payment["items"][0]["subscription"] = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": parent}
        assert api.post("/api/v1/payments/", payment, format="json").status_code == 201
        return OrderItem.objects.get(order__number=number)

    return renew


def test_a_renewal_may_repeat_the_codes_of_the_order_before(work, renew, sold, make_service, receiver):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with("CODE-1\nCODE-2", "CODE-1\nCODE-2", "CODE-2\nCODE-1")

    items = [renew("P", quantity=2)]
    work()
    items += [renew("R1", "P", quantity=2), renew("R2", "R1", quantity=2)]
    work()

    assert [codes_by_unit(item) for item in items[:2]] == [{1: "CODE-1", 2: "CODE-2"}] * 2
    assert codes_by_unit(items[2]) == {1: "CODE-2", 2: "CODE-1"}


@pytest.mark.parametrize("request_per", ["unit", "item"])
def test_a_renewal_cant_use_the_same_code_twice(work, renew, sold, make_service, receiver, request_per):
    make_service(sold, request_per=request_per, holds_list=True)
    receiver.respond = respond_with("CODE-1" if request_per == "unit" else "CODE-1\nCODE-1")
    renew("P")
    receiver.respond = respond_with("CODE-1")
    work()
    receiver.respond = respond_with("CODE-1" if request_per == "unit" else "CODE-1\nCODE-1")

    renewal = renew("R1", "P", quantity=2)
    work()

    assert codes_by_unit(renewal) == {1: "CODE-1"}
    assert renewal.fulfillment.status == "failed"


def test_two_items_of_one_subscription_order_cant_share_a_code(
    api, make_payment, work, sold, make_product, make_service, receiver
):
    make_service(for_all_products=True)
    receiver.respond = respond_with("CODE-1")
    payment = make_payment(sold, make_product(source=None))
    for item in payment["items"]:
        item["subscription"] = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": None}
    assert api.post("/api/v1/payments/", payment, format="json").status_code == 201

    work()

    assert ActivationCode.objects.count() == 1
    assert sorted(Fulfillment.objects.values_list("status", flat=True)) == ["done", "failed"]


def test_a_renewal_that_waits_for_a_license_uses_no_probe(work, renew, sold, make_service, receiver, monkeypatch):
    service = make_service(sold, parameters=["Order", "Key_last_renew"])
    receiver.respond = respond_with(404)
    renew("P")
    work()
    type(service).objects.update(paused_at=Now(), probe_at=Now(), failures=5)

    renew("R1", "P")
    work()

    assert "Waiting for the license of order P" in Fulfillment.objects.get(item__order__number="R1").reason
    assert type(service).objects.filter(probe_at__lte=Now()).exists()
    assert len(receiver.received) == 1


# Changes during a request


@pytest.mark.parametrize("fields", [{}, {"sends_itself": True}])
def test_a_refund_during_the_request_leaves_no_code(
    transactional_db, pay, sold, make_service, receiver, fields, mailoutbox
):
    make_service(sold, **fields)

    def refund_during_request(received):
        refund(Order.objects.get(), actor="the shop")
        connection.close()
        return 200, {}, b"CODE-0001"

    receiver.respond = refund_during_request
    pay(sold)

    fulfill(Fulfillment.objects.get().pk)

    fulfillment = Fulfillment.objects.get()
    assert not ActivationCode.all_codes.exists() and not mailoutbox
    assert (fulfillment.status, fulfillment.due_at) == ("pending", None)
    assert fulfillment.reason == "The order is deleted."


def test_codes_entered_during_the_request_stay(transactional_db, pay, sold, make_service, receiver):
    make_service(sold)

    def enter_during_request(received):
        enter_codes(OrderItem.objects.get(), {1: "BY-HAND"}, actor="Sam")
        connection.close()
        return 200, {}, b"CODE-0001"

    receiver.respond = enter_during_request
    pay(sold)

    fulfill(Fulfillment.objects.get().pk)

    assert codes_by_unit(OrderItem.objects.get()) == {1: "BY-HAND"}
    assert Fulfillment.objects.get().status == "done"


def test_a_vendor_that_sends_codes_itself_is_retried_until_it_answers_200(
    pay, work, sold, make_service, receiver, mailoutbox
):
    make_service(sold, sends_itself=True)
    receiver.respond = respond_with(503, "anything, also a page")

    pay(sold, quantity=2)
    work()
    assert Fulfillment.objects.get().status == "waiting"
    all_due()
    work()

    fulfillment = Fulfillment.objects.get()
    assert (fulfillment.status, fulfillment.sent_by_vendor) == ("done", True)
    assert parse_qs(receiver.received[0].body.decode())["Quantity"] == ["2"]
    assert not mailoutbox and not ActivationCode.objects.exists()


# How answers are read


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"temporary_pattern": "(?i)try again"}, "Please TRY AGAIN in a minute"),
        ({"temporary_pattern": "(a+)+$"}, "a" * 50_000 + "!"),
        ({"temporary_pattern": "(unclosed"}, "CODE-0001"),
    ],
)
def test_an_answer_that_matches_the_merchants_pattern_is_temporary(
    pay, work, sold, make_service, receiver, fields, answer
):
    make_service(sold, **fields)
    receiver.respond = respond_with(answer)

    pay(sold)
    work()

    if fields["temporary_pattern"] == "(a+)+$":  # finds nothing, in linear time
        assert OutgoingRequest.objects.get().error == f"The code has {len(answer):,} characters. The limit is 10,000."
    else:
        assert OutgoingRequest.objects.get().outcome == "temporary"
        assert "temporary error pattern" in OutgoingRequest.objects.get().error
        assert Fulfillment.objects.get().status == "waiting"


@pytest.mark.parametrize(
    ("fields", "content_type", "answer", "codes"),
    [
        ({"answer": "json", "path": "$.a[0]['k-1']"}, "text/html", '{"a": [{"k-1": 4711}]}', ["4711"]),
        ({"answer": "json", "path": "keys", "holds_list": True}, "", '{"keys": ["C-1", "C-2"]}', ["C-1", "C-2"]),
        ({"answer": "json", "path": "$[*].k", "holds_list": True}, "", '[{"k": "C-1"}, {"k": "C-2"}]', ["C-1", "C-2"]),
        (
            {"answer": "xml", "path": "r/i/@code", "holds_list": True},
            "",
            "<r><i code='C-1'/><i code='C-2'/></r>",
            ["C-1", "C-2"],
        ),
        ({"answer": "xml", "path": "//k"}, "text/plain", '<r xmlns="urn:x"><a><k> C-1\n</k></a></r>', ["C-1"]),
        (
            {"answer": "xml", "path": "i[@n='a/b']/k"},
            "text/xml",
            "<r><i n='a'><k>C-1</k></i><i n='a/b'><k>C-2</k></i></r>",
            ["C-2"],
        ),
        ({"answer": "xml", "path": "k"}, "text/xml; charset=iso-8859-1", "<r><k>Ü-1</k></r>", ["Ü-1"]),
        ({"holds_list": True}, "text/plain", "\r\n C-1 \r\n\r\nC-2", ["C-1", "C-2"]),
        ({}, "text/plain", "one\nlicense\n", ["one\nlicense"]),
    ],
)
def test_it_finds_codes_at_the_configured_path(
    pay, work, sold, make_service, receiver, fields, content_type, answer, codes
):
    make_service(sold, request_per="item", **fields)
    charset = "iso-8859-1" if "iso" in content_type else "utf-8"
    receiver.respond = lambda received: (200, {"Content-Type": content_type}, answer.encode(charset))

    pay(sold, quantity=len(codes))
    work()

    assert list(codes_by_unit(OrderItem.objects.get()).values()) == codes


@pytest.mark.parametrize(
    ("fields", "answer", "error"),
    [
        ({"answer": "json", "path": "$.key"}, "<html>", "The answer isn’t JSON, but a web page."),
        ({"answer": "json", "path": "$.key"}, "[" * 60_000, "The answer isn’t JSON."),
        ({"answer": "json", "path": "$.key"}, '{"key": null}', "Expected text at $.key, but found nothing."),
        ({"answer": "json", "path": "$.key"}, '{"key": true}', "Expected text at $.key, but found true or false."),
        (
            {"answer": "json", "path": "$.key"},
            '{"key": {"k": "CODE"}}',
            "Expected text at $.key, but found an object.",
        ),
        ({"answer": "json", "path": "$.key"}, '{"key": "  "}', "Found no code at $.key."),
        (
            {"answer": "json", "path": "$.key"},
            '{"key": "\\ud800"}',
            "The code contains unprintable characters.",
        ),
        (
            {"answer": "json", "path": "$.key"},
            '{"key": "a\\u0000b"}',
            "The code contains unprintable characters.",
        ),
        (
            {"answer": "json", "path": "$.keys"},
            '{"keys": ["C-1", "C-2"]}',
            "Expected one code, but the answer has 2. Allow several codes in the settings?",
        ),
        (
            {"answer": "json", "path": "$..key"},
            '{"key": "C-1"}',
            "Enter a JSON path such as $.license.key, $.keys[*] or $.items[0]['key'].",
        ),
        ({"answer": "xml", "path": "r/k"}, "not XML", "The answer isn’t XML."),
        (
            {"answer": "xml", "path": "r/k["},
            "<r><k/></r>",
            "Enter an XML path such as license/key, //key, item[2]/key or item/@code.",
        ),
        (
            {"answer": "xml", "path": "r/k[0]"},
            "<r><k/></r>",
            "Enter an XML path such as license/key, //key, item[2]/key or item/@code.",
        ),
        (
            {"answer": "xml", "path": "r/k"},
            '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r><k>&x;</k></r>',
            "The answer is XML that declares entities, which we don’t accept.",
        ),
        ({"answer": "xml", "path": "r/k"}, "<r><j>C-1</j></r>", "Found no code at r/k."),
    ],
)
def test_the_error_says_why_there_is_no_code(pay, work, sold, make_service, receiver, fields, answer, error):
    make_service(sold, **fields)
    receiver.respond = respond_with(answer)

    pay(sold)
    work()

    assert OutgoingRequest.objects.get().error == error
    assert OutgoingRequest.objects.get().outcome == "fatal"
    assert Fulfillment.objects.get().status == "failed"
    assert not ActivationCode.objects.exists()


# Proxies


@pytest.fixture
def proxy():
    """A proxy on loopback that records requests and refuses to connect."""
    server = socket.create_server(("127.0.0.1", 0))
    requests = []

    def serve():
        connection, _ = server.accept()
        with connection:
            requests.append(connection.recv(65536).decode())
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], requests
    server.close()


def test_a_proxy_gets_an_ip_address_instead_of_a_host_name(merchant, settings, proxy, monkeypatch):
    port, requests = proxy
    settings.CALLOUT_PROXY = f"http://ada:s%C3%A9cret@127.0.0.1:{port}"
    endpoint = (socket.AF_INET, ("93.184.216.34", 443))
    monkeypatch.setattr(address_guard, "_look_up", lambda host, port, timeout: [endpoint])

    with pytest.raises(OutgoingRequestFailed, match="Can’t connect to vendor.example: Tunnel connection failed: 403"):
        outgoing_requests.call(merchant, "GET", "https://vendor.example/", headers={}, timeout=5)

    assert requests[0].startswith("CONNECT 93.184.216.34:443 HTTP/1.")
    assert "vendor.example" not in requests[0]
    assert "Proxy-Authorization: Basic " in requests[0]
    assert "cret" not in OutgoingRequest.objects.get().error


def test_internal_addresses_bypass_the_proxy(merchant, receiver, settings):
    settings.CALLOUT_PROXY = "http://127.0.0.1:9"

    assert outgoing_requests.call(merchant, "GET", receiver.url, headers={}, timeout=5).status_code == 200


def test_the_error_pattern_is_matched_in_the_charset_of_the_answer(pay, work, sold, make_service, receiver):
    make_service(sold, temporary_pattern="Ошибка")
    content_type = {"Content-Type": "text/plain; charset=windows-1251"}
    receiver.respond = lambda received: (200, content_type, "Ошибка 7".encode("windows-1251"))

    pay(sold)
    work()

    assert Fulfillment.objects.get().reason == "Web service “Gen”: The answer matches the temporary error pattern."
    assert OutgoingRequest.objects.get().answer == "Ошибка 7"


# Codes in a different order


def test_a_code_that_a_unit_already_has_may_come_in_another_place(pay, work, sold, make_service, receiver):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with("CODE-A", "CODE-B\nCODE-A")
    pay(sold, quantity=2)

    work()
    all_due()
    work()

    assert codes_by_unit(OrderItem.objects.get()) == {1: "CODE-A", 2: "CODE-B"}
    assert Fulfillment.objects.get().status == "done"


def test_codes_recorded_by_a_dead_worker_may_come_in_another_place(
    pay, work, sold, make_service, receiver, monkeypatch
):
    make_service(sold, request_per="item", holds_list=True)
    receiver.respond = respond_with("CODE-A\nCODE-B", "CODE-B\nCODE-A")
    pay(sold, quantity=2)
    item = OrderItem.objects.get()
    with monkeypatch.context() as patch:
        patch.setattr("fulfillment.engine.save", lambda *args, **options: 1 / 0)
        fulfill(item.fulfillment.pk)

    all_due()
    work()

    assert codes_by_unit(item) == {1: "CODE-A", 2: "CODE-B"}


def test_repeated_links_are_assigned_in_any_order(pay, work, sold, make_service, receiver):
    make_service(sold, request_per="item", holds_list=True, same_code_allowed=True)
    receiver.respond = respond_with("LINK-A\nLINK-A", "LINK-B\nLINK-A\nLINK-A")
    pay(sold, quantity=3)

    work()
    all_due()
    work()

    assert codes_by_unit(OrderItem.objects.get()) == {1: "LINK-A", 2: "LINK-A", 3: "LINK-B"}
