"""The console: previews and tests of requests to a web service."""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from html import unescape
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from fulfillment.models import Fulfillment
from fulfillment.sources.web_service import console
from fulfillment.sources.web_service.console import MAX_TESTS_PER_MINUTE, sample, send_test, show
from fulfillment.sources.web_service.models import ReceivedCode, WebService
from merchants.models import Member
from orders.models import ActivationCode, Order
from outbound.models import OutgoingRequest
from outbound.signatures import sign
from portal.web_services.console import get_snippets
from runtime.tests.programs import need

pytestmark = pytest.mark.django_db(transaction=True)

EVERYTHING = list(console.CATALOG)
HOSTILE = 'it\'s $HOME `id` "quoted" \\ & = % ; | \n second line\t“ünï” 🔑 !bang {a,b} [1-9]'


@pytest.fixture
def manager(make_member, client):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def order(pay, make_product):
    pay(make_product(source=None, sku="PHOTO-PRO"), make_product(source=None), order="A1", quantity=2)
    return Order.objects.get()


def page_text(response):
    assert response.status_code == 200
    return unescape(re.sub(r"<[^>]+>", " ", response.content.decode()))


def address(service):
    return f"/web-services/{service.pk}/console/"


def verify(service, received):
    """Check the signature of the body, or of the query for a GET request."""
    content = received.body or urlsplit(received.path).query.encode()
    headers = received.headers
    expected = sign([service.secret], headers["webhook-id"], int(headers["webhook-timestamp"]), content)
    assert expected["webhook-signature"] in headers["webhook-signature"].split()


def test_it_shows_sample_data_for_the_whole_catalog_and_stores_nothing(manager, make_service, receiver):
    service = make_service(parameters=EVERYTHING)

    text = page_text(manager.get(address(service)))

    assert "Order=A0012345678&Item=4711&ID=PHOTO-PRO&Quantity=1&Unit=1&Order_sum=59.98&Currency=EUR" in text
    assert "Subscription_ID=S-77&Subscription_period=P1Y" in text and "referer12=spring-mail" in text
    assert service.secret.removeprefix("whsec_") not in text
    assert not receiver.received
    assert not OutgoingRequest.objects.exists() and not Order.objects.exists()


def test_the_examples_match_the_sample_data(make_service):
    service = make_service(parameters=EVERYTHING, format="json")
    subject = sample(service)

    sent = {name: parameter.value(subject) for name, parameter in console.CATALOG.items()}

    examples = {name: parameter.example for name, parameter in console.CATALOG.items()}
    # The catalog's example of Quantity is for a request per item.
    assert sent == examples | {"Quantity": "1"}


def test_it_previews_an_order_of_the_merchant(manager, make_service, order):
    service = make_service(parameters=["Order", "ID", "Email", "Quantity"], request_per="item", holds_list=True)

    text = page_text(manager.post(address(service), {"order": "A1", "show": ""}))
    assert "Order=A1&ID=PHOTO-PRO&Email=ada%40example.com&Quantity=2" in text

    assert "ID=SKU-2" in page_text(manager.post(address(service), {"order": "A1", "reference": "2", "show": ""}))
    for unknown in ({"order": "A2"}, {"order": "A1", "reference": "3"}, {"order": "a\0b"}):
        text = page_text(manager.post(address(service), unknown | {"show": ""}))
        assert "Request preview" not in text


def test_another_merchants_order_is_not_found(
    manager, make_service, pay, make_api, make_payment, make_product, outsider
):
    theirs = make_payment(make_product(merchant=outsider), order="THEIRS")
    assert make_api(outsider).post("/api/v1/payments/", theirs, format="json").status_code == 201

    text = page_text(manager.post(address(make_service()), {"order": "THEIRS", "show": ""}))

    assert "No order has this number" in text


def test_a_test_sends_a_real_request_and_changes_nothing_else(manager, make_service, receiver, order):
    item = order.items.first()
    service = make_service(item.product)
    before = Fulfillment.objects.values().get(item=item)
    receiver.respond = lambda received: (200, {"Content-Type": "text/plain", "Set-Cookie": "a=b"}, b"AAAA-BBBB-7Q2M")

    text = page_text(manager.post(address(service), {"order": "A1", "send": ""}))

    [received] = receiver.received
    assert received.headers["keywell-test"] == "true"
    assert received.headers["idempotency-key"].startswith("test_")
    assert parse_qs(received.body.decode())["Order"] == ["A1"]
    verify(service, received)
    assert "200, after 0.0" in text and "text/plain" in text and "Set-Cookie" not in text
    assert re.search(r"Code 1\s+••••7Q2M\s+found in the answer", text)
    assert "AAAA-BBBB-7Q2M" not in text

    outgoing_request = OutgoingRequest.objects.get()
    assert (outgoing_request.is_test, outgoing_request.outcome, outgoing_request.item, outgoing_request.answer) == (
        True,
        "ok",
        item,
        "••••7Q2M",
    )
    assert not ActivationCode.objects.exists() and not ReceivedCode.objects.exists()
    assert Fulfillment.objects.values().get(item=item) == before


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b'{"key": {"a": 1}}', "Couldn’t read a code. Expected text at $.key, but found an object."),
        (200, b"<html>Sorry</html>", "Couldn’t read a code. The answer isn’t JSON, but a web page."),
        (200, b"{}", "Couldn’t read a code. Found no code at $.key."),
        (503, b"", "Couldn’t read a code. The service answered 503. Body"),
        (404, b"no AAAA-BBBB-7Q2M", "Couldn’t read a code. The service answered 404."),
    ],
)
def test_it_shows_why_no_code_was_found(manager, make_service, receiver, status, body, reason):
    service = make_service(answer="json", path="$.key")
    receiver.respond = lambda received: (status, {}, body)

    text = " ".join(page_text(manager.post(address(service), {"send": ""})).split())

    assert reason in text and "BBBB" not in text
    assert ("retry later with the same ID" in text) == (status == 503)


def test_it_shows_where_it_found_the_codes(manager, make_service, receiver):
    service = make_service(answer="json", path="$.keys[*]", request_per="item", holds_list=True)
    receiver.respond = lambda received: (200, {}, b'{"keys": ["AAAA-BBBB-7Q2M", "short"]}')

    text = " ".join(page_text(manager.post(address(service), {"send": ""})).split())

    assert "Code 1 ••••7Q2M found at $.keys[*] Code 2 •••• found at $.keys[*]" in text
    assert "short" not in text


def test_tests_do_not_affect_the_circuit_breaker(make_service, receiver):
    service = make_service()
    receiver.respond = lambda received: (503, {}, b"")
    for _ in range(6):
        send_test(service, sample(service))
    service.refresh_from_db()
    assert (service.state, service.failures) == ("healthy", 0)

    WebService.objects.update(failures=5, failing_since="2026-01-01T00:00Z", paused_at="2026-01-01T00:00Z")
    receiver.respond = lambda received: (200, {}, b"AAAA-BBBB-7Q2M")
    send_test(service, sample(service))

    service.refresh_from_db()
    assert service.state == "paused"


def test_it_does_not_call_an_internal_address(manager, make_service, settings, receiver):
    settings.CALLOUT_NETWORKS = []
    service = make_service(url=receiver.url.replace("http:", "https:"))

    text = page_text(manager.post(address(service), {"send": ""}))

    assert "127.0.0.1 isn’t on the public internet" in text
    assert not receiver.received


def test_the_number_of_tests_per_minute_is_limited(manager, make_service, receiver):
    service = make_service()
    for _ in range(MAX_TESTS_PER_MINUTE):
        OutgoingRequest.objects.create(
            merchant=service.merchant, upstream=service, method="POST", url="x", is_test=True
        )

    text = page_text(manager.post(address(service), {"send": ""}))

    assert "10 tests per minute" in text
    assert not receiver.received


def test_only_one_test_runs_at_a_time(make_service, receiver, in_threads):
    service = make_service()
    receiver.respond = lambda received: (in_threads(lambda _: is_rejected(service), [None], 1) and 200, {}, b"AAAA")

    def is_rejected(service):
        with pytest.raises(console.TestRefused, match="in progress"):
            send_test(service, sample(service))
        return True

    assert send_test(service, sample(service)).codes is not None
    assert len(receiver.received) == 1


def test_a_waiting_renewal_has_no_request_yet(manager, make_service, make_product, api, make_payment):
    product = make_product(source=None)
    service = make_service(product, parameters=["Key_last_renew"])
    payment = make_payment(product, order="R1")
    payment["items"][0]["subscription"] = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": "P"}
    api.post("/api/v1/payments/", payment, format="json")

    text = page_text(manager.post(address(service), {"order": "R1", "send": ""}))

    assert "This item can’t be requested yet. Waiting for a report of order P" in text


def test_secrets_repeated_in_a_redirect_are_masked_even_if_they_look_like_words(manager, make_service, receiver):
    service = make_service(login="bearer", password="opensesame")
    receiver.respond = lambda received: (302, {"Location": "/sign-in?opensesame"}, b"")

    text = page_text(manager.post(address(service), {"send": ""}))

    assert "/sign-in?••••" in text and "opensesame" not in text


@pytest.mark.parametrize("login", ["none", "basic", "bearer"])
def test_neither_the_page_nor_the_log_contains_secrets(manager, make_service, receiver, login):
    fields = {"login": login, "username": "ada's $USER", "password": "pass-4711-word"}
    service = make_service(parameters=["Key_first_renew", "Key_last_renew"], **fields)
    service.parameters.create(position=9, name="token", constant="constant-4711-secret", is_secret=True)
    service.rotate()
    receiver.respond = lambda received: (200, {}, repr(received).encode())

    response = manager.post(address(service), {"send": ""})

    stored = "".join(OutgoingRequest.objects.values_list("sent", flat=True)) + "".join(
        OutgoingRequest.objects.values_list("answer", flat=True)
    )
    text = page_text(response)
    for secret in (*service.live_secrets(), "pass-4711-word", "constant-4711-secret", "AAAA-BBBB-CCCC"):
        assert secret.removeprefix("whsec_") not in text + stored
        assert secret.encode() not in decoded_base64(text)
    assert "Licenses and secret constants show as ••••" in text
    assert ("Replace PASSWORD with the real one" in text) == (login != "none")
    # The service itself gets the real values.
    assert parse_qs(receiver.received[0].body.decode())["token"] == ["constant-4711-secret"]


def decoded_base64(text):
    parts = re.findall(r"(?:[A-Za-z0-9+/]{4}){3,}={0,2}", text)
    return b"\n".join(b64decode(part + "=" * (-len(part) % 4)) for part in parts)


@pytest.mark.parametrize("format", ["form", "json", "get"])
@pytest.mark.parametrize("login", ["none", "basic", "bearer"])
def test_the_curl_command_works_in_a_shell_with_hostile_values(make_service, receiver, order, format, login):
    Order.objects.update(
        first_name=HOSTILE, company="'; touch /tmp/owned; '", additional_parameters={"referer1": "@/etc/passwd"}
    )
    order.refresh_from_db()
    item = order.items.earliest("pk")
    parameters = ["First_name", "Company", "referer1", "Order"]
    service = make_service(
        parameters=parameters,
        format=format,
        login=login,
        username=HOSTILE.partition("\n")[0].replace(":", ""),
        password="x",
    )
    service.parameters.create(position=0, name="at[]", constant="@/etc/passwd")

    preview = show(service, console.from_item(service, item))
    need("curl")
    result = subprocess.run(["sh", "-c", preview.curl], capture_output=True, timeout=20)

    assert result.returncode == 0, result.stderr
    [received] = receiver.received
    verify(service, received)
    query = urlsplit(received.path).query if format == "get" else received.body.decode()
    values = json.loads(query) if format == "json" else dict(parse_qsl(query, keep_blank_values=True))
    assert values["First_name"] == HOSTILE and values["at[]"] == values["referer1"] == "@/etc/passwd"
    assert received.headers["keywell-test"] == "true"
    assert received.headers["user-agent"] == "Keywell"
    authorization = received.headers.get("authorization", "")
    if login == "basic":
        assert b64decode(authorization.removeprefix("Basic ")).decode() == f"{service.username}:PASSWORD"
    else:
        assert authorization == ("Bearer PASSWORD" if login == "bearer" else "")


def test_the_curl_command_with_masked_values_is_signed_too(make_service, receiver):
    service = make_service(parameters=["Key_last_renew", "Order"])

    preview = show(service, sample(service))
    need("curl")
    subprocess.run(["sh", "-c", preview.curl], check=True, capture_output=True, timeout=20)

    assert preview.is_masked
    verify(service, receiver.received[0])
    assert parse_qs(receiver.received[0].body.decode())["Key_last_renew"] == ["••••DDDD"]


def run_python(code):
    return subprocess.run(["python3", "-c", code], capture_output=True, text=True, timeout=20)


def run_node(code):
    return subprocess.run(["node", "-e", code], capture_output=True, text=True, timeout=20)


def run_php(code):
    return subprocess.run(["php"], input=code, capture_output=True, text=True, timeout=20)


RUNNERS = {
    "Python": (run_python, "print(verify(SECRET, HEADERS, CONTENT.encode()))", "{name} = {value}\n"),
    "Node": (run_node, "console.log(verify(SECRET, HEADERS, Buffer.from(CONTENT)))", "const {name} = {value};\n"),
    "PHP": (
        run_php,
        "echo verify(SECRET, json_decode(HEADERS, true), CONTENT) ? 'true' : 'false';",
        "const {name} = {value};\n",
    ),
}
INSTALLED = ["Python", *(language for language in ("Node", "PHP") if shutil.which(language.lower()))]


@pytest.mark.parametrize("language", INSTALLED)
def test_the_verification_snippets_work(make_service, language):
    service = make_service(parameters=["Order", "First_name"], format="json")
    service.rotate()
    request = show(service, sample(service)).request
    good = {name.lower(): value for name, value in request.headers.items()}
    content = request.body.decode()
    old = sign([service.secret], "id", int(good["webhook-timestamp"]) - 400, request.body)
    current, previous = service.live_secrets()
    run, call, constant = RUNNERS[language]

    def is_valid(secret, headers, content):
        values = {"SECRET": secret, "HEADERS": headers, "CONTENT": content}
        if language == "PHP":
            values["HEADERS"] = json.dumps(headers)
        constants = "".join(constant.format(name=name, value=json.dumps(value)) for name, value in values.items())
        result = run(f"{get_snippets()[language]}\n{constants}{call}")
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.strip().lower()

    assert is_valid(current, good, content) == "true"
    assert is_valid(previous, good, content) == "true"
    assert is_valid(WebService.make_secret(), good, content) == "false"
    assert is_valid(current, good, content + " ") == "false"
    assert is_valid(current, old, content) == "false"
    assert is_valid(current, good | {"webhook-id": "test_other"}, content) == "false"
    assert is_valid(current, good | {"webhook-signature": "v1,ü v1, v2"}, content) == "false"
    # Anybody can send anything to a public URL. The snippets must not crash.
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert is_valid(current, {other: value for other, value in good.items() if other != name}, content) == "false"
    for timestamp in ("", "now", "9" * 5000):
        assert is_valid(current, good | {"webhook-timestamp": timestamp}, content) == "false"


def test_secrets_repeated_in_the_answer_are_masked(manager, make_service, receiver):
    service = make_service(login="bearer", password="token-of-the-merchant-4711")
    receiver.respond = lambda received: (401, {}, f"Denied: {received.headers['authorization']}".encode())

    text = page_text(manager.post(address(service), {"send": ""}))

    assert "Denied: Bearer ••••" in text and "token-of-the-merchant" not in text


def test_it_reports_a_token_that_is_invalid_in_a_header(manager, make_service):
    service = make_service(login="bearer", password="two\nlines")

    text = page_text(manager.post(address(service), {"show": ""}))

    assert "The token of “Gen” is empty or has characters that a header can’t hold." in text


def test_each_test_has_its_own_id(manager, make_service, receiver):
    service = make_service()

    for _ in range(2):
        manager.post(address(service), {"send": ""})

    assert len({received.headers["idempotency-key"] for received in receiver.received}) == 2
