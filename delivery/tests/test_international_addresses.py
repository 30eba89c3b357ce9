"""Customers with international e-mail addresses get their licenses, or the merchant gets a notice with the reason."""

import pytest

from delivery.models import Delivery
from fulfillment.personal_data import PersonalData
from merchants.addresses import to_ascii_domain, validate_international
from notices.models import MerchantNotice
from orders.models import Order
from runtime.tests.installation import free_port
from runtime.tests.sink import Sink

VALID = [
    "ada@example.com",
    "zoë@example.com",
    "用户@例子.广告",
    "дмитрий@почта.рф",
    "info@bücher.example",
    "info@straße.example",
    "o'hara+shop@example.co.uk",
    "ada@xn--bcher-kva.example",
]
INVALID = [
    "",
    "ada",
    "@example.com",
    "ada@",
    "a da@example.com",
    "z ë@example.com",
    "zoë\u200b@example.com",
    "zo\u202eë@example.com",
    "zoë@example",
    "zoë.@example.com",
    "zoë\n@example.com",
    "zoë@exam\u200bple.c\u202eom",
    "a@" + "ä" * 62 + ".com",
    "zoë@" + ".".join(["ä" * 20] * 20),
    "zoë@example.com\nBcc: eve@example.com",
]


@pytest.mark.parametrize("address", VALID)
def test_it_accepts_a_valid_address_everywhere(api, make_payment, product, support, address):
    payment = make_payment(product)
    payment["customer"]["email"] = address
    response = api.post("/api/v1/payments/", payment, format="json")
    order = Order.objects.get()

    assert response.status_code == 201
    assert (order.email, response.json()["email"]) == (address, address)
    order_url = f"/orders/{order.number}/address/"
    for correct in (
        lambda address: api.put(f"/api/v1{order_url}", {"email": address}, format="json"),
        lambda address: support.post(order_url, {"email": address}),
    ):
        assert correct("other@example.com").status_code in {200, 302}
        assert correct(address).status_code in {200, 302}
        order.refresh_from_db()
        assert order.email == address
    assert api.get("/api/v1/orders/", {"email": address}).json()["results"]
    assert order.number in support.post("/orders/", {"search": address}, follow=True).content.decode()


@pytest.mark.parametrize("address", INVALID, ids=ascii)
def test_it_rejects_an_invalid_address_everywhere(api, make_payment, product, support, pay, address):
    payment = make_payment(product)
    payment["customer"]["email"] = address
    assert api.post("/api/v1/payments/", payment, format="json").json()["errors"][0]["pointer"] == "#/customer/email"

    number = pay(product)["order"]
    assert api.put(f"/api/v1/orders/{number}/address/", {"email": address}, format="json").status_code == 400
    support.post(f"/orders/{number}/address/", {"email": address})
    assert Order.objects.get().email == "ada@example.com"


def test_it_converts_a_domain_to_its_dns_form():
    assert to_ascii_domain("info@bücher.example") == "info@xn--bcher-kva.example"
    # IDNA 2008. With IDNA 2003 the e-mail would go to strasse.example, which belongs to someone else.
    assert to_ascii_domain("info@straße.example") == "info@xn--strae-oqa.example"
    assert to_ascii_domain("Info@Example.COM") == "Info@Example.COM"
    validate_international("zoë@bücher.example")


@pytest.mark.parametrize(
    "stored, searched",
    [
        ("info@bücher.example", "info@xn--bcher-kva.example"),
        ("info@xn--bcher-kva.example", "INFO@bücher.example"),
        ("info@bücher.example", "info@BÜCHER.example"),
    ],
)
def test_it_finds_a_domain_in_either_spelling(buy, client, merchant, work, mailoutbox, stored, searched):
    buy(stored)
    assert Order.objects.with_email(searched).exists()
    assert not Order.objects.with_email("other@bücher.example").exists()

    client.post(f"/lost/{merchant.slug}/", {"email": searched})
    work()
    assert [mail.to for mail in mailoutbox] == [["info@xn--bcher-kva.example"]] * 2

    assert PersonalData(searched).erase(actor="test")["orders"] == 1
    assert Order.objects.get().email == Delivery.objects.get().recipient == ""


@pytest.fixture
def make_sink(settings):
    """Start a local mail server that the installation sends its e-mail through."""
    started = []

    def make(**fields):
        sink = Sink(free_port(), **fields)
        sink.start()
        started.append(sink)
        settings.EMAIL_BACKEND = "outbound.mail_servers.InstallationServer"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        return sink

    yield make
    for sink in started:
        sink.stop()


@pytest.fixture
def buy(api, make_payment, product, work):
    """Buy a product with this address, send the e-mail, and return the delivery and the response to the payment."""

    def buy(address):
        payment = make_payment(product)
        payment["customer"]["email"] = address
        answer = api.post("/api/v1/payments/", payment, format="json").json()
        work()
        return Delivery.objects.get(), answer

    return buy


@pytest.mark.parametrize("smtputf8", [True, False])
@pytest.mark.parametrize("domain", ["bücher.example", "straße.example", "例子.广告"])
def test_an_international_domain_works_with_every_mail_server(make_sink, buy, smtputf8, domain):
    sink = make_sink(smtputf8=smtputf8)
    delivery, _ = buy(f"info@{domain}")

    assert delivery.status == "sent"
    assert sink.recipients == [to_ascii_domain(f"info@{domain}")]


@pytest.mark.parametrize("address", ["zoë@example.com", "用户@例子.广告"])
def test_an_international_mailbox_works_if_the_server_supports_it(make_sink, buy, address):
    sink = make_sink(smtputf8=True)
    delivery, _ = buy(address)

    assert delivery.status == "sent"
    assert sink.recipients == [to_ascii_domain(address)]
    (message,) = sink.messages
    assert str(message["To"]) == to_ascii_domain(address)
    assert "-KEY-" in message.get_body(("plain",)).get_content()


def test_a_delivery_to_an_unsupported_mailbox_fails_with_a_reason(make_sink, buy, api):
    sink = make_sink(smtputf8=False)
    delivery, answer = buy("zoë@example.com")

    assert delivery.status == "failed" and delivery.attempts == 1
    assert "international characters" in delivery.reason
    assert sink.recipients == ["owner@northlight.example"]  # gets the notice
    assert answer["items"][0]["activation_codes"][0]["code"]
    assert MerchantNotice.objects.get(kind="delivery_failed").subject == delivery
    (code,) = api.get(f"/api/v1/orders/{answer['order']}/").json()["items"][0]["activation_codes"]
    assert (code["delivery"], code["delivery_reason"]) == ("failed", delivery.reason)


def test_a_rejected_mailbox_does_not_block_the_next_email(make_sink, buy, pay, product, work):
    sink = make_sink(smtputf8=False)
    buy("zoë@example.com")
    pay(product)
    work()

    assert sink.recipients.count("ada@example.com") == 1
