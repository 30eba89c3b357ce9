"""Events of PayPal: captures, payments of subscriptions, refunds and disputes. Signed with a certificate."""

import json
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from uuid import uuid4
from zlib import crc32

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from orders.models import Order, OrderItem, Subscription
from pools.models import LicenseKey
from shops.kinds import KINDS, paypal
from shops.models import Event
from shops.tests.api_server import FakeApi
from shops.tests.factories import emails, post, process_due

pytestmark = pytest.mark.django_db

WEBHOOK_ID = "1JE4291016473214C"
CERTIFICATE = "/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"


def make_capture(**fields):
    return {
        "id": "42311647XV020574X",
        "status": "COMPLETED",
        "amount": {"currency_code": "EUR", "value": "47.60"},
        "final_capture": True,
        "custom_id": "shop 1",
        "create_time": "2026-11-22T17:28:08Z",
        "supplementary_data": {"related_ids": {"order_id": "5O190127TN364715T"}},
        "links": [{"href": "https://api.paypal.com/v2/checkout/orders/5O190127TN364715T", "rel": "up"}],
    } | fields


def make_order(**unit):
    return {
        "id": "5O190127TN364715T",
        "status": "COMPLETED",
        "payer": {
            "name": {"given_name": "Ada", "surname": "Byron"},
            "email_address": "ada@example.com",
            "payer_id": "QYR5Z8XDVJNXQ",
            "address": {"country_code": "GB"},
        },
        "purchase_units": [
            {
                "reference_id": "default",
                "amount": {"currency_code": "EUR", "value": "47.60"},
                "items": [make_item()],
                "payments": {"captures": [{"id": "42311647XV020574X"}]},
            }
            | unit
        ],
    }


def make_item(**fields):
    return {
        "name": "Photo Pro",
        "sku": "PHOTO-PRO",
        "quantity": "2",
        "unit_amount": {"currency_code": "EUR", "value": "20.00"},
        "tax": {"currency_code": "EUR", "value": "3.80"},
    } | fields


def make_list(**fields):
    """The payments of a subscription, in a list of its API."""
    payment = {
        "id": "8JM78613GN123456S",
        "status": "COMPLETED",
        "amount_with_breakdown": {"gross_amount": {"currency_code": "USD", "value": "9.99"}},
        "time": "2026-11-22T17:28:08Z",
    }
    return {"transactions": [payment | fields]}


def make_refund(**fields):
    capture = "https://api.paypal.com/v2/payments/captures/42311647XV020574X"
    return {
        "id": "1Y107995YT783435V",
        "status": "COMPLETED",
        "amount": {"currency_code": "EUR", "value": "47.60"},
        "links": [
            {"href": "https://api.paypal.com/v2/payments/refunds/1Y107995YT783435V", "rel": "self"},
            {"href": capture, "rel": "up"},
        ],
    } | fields


def make_payment(**fields):
    """A payment of a subscription, in the shape of API version 1."""
    return {
        "id": "8JM78613GN123456S",
        "state": "completed",
        "billing_agreement_id": "I-PE7JWXKGVN0R",
        "amount": {"total": "9.99", "currency": "USD"},
        "create_time": "2026-11-22T17:28:08Z",
    } | fields


def make_dispute(**fields):
    return {
        "dispute_id": "PP-D-1",
        "update_time": "2026-11-29T10:00:00Z",
        "disputed_transactions": [{"seller_transaction_id": "42311647XV020574X"}],
        "dispute_outcome": {"outcome_code": "RESOLVED_SELLER_FAVOUR"},
    } | fields


def make_subscription():
    return {
        "id": "I-PE7JWXKGVN0R",
        "plan_id": "P-5ML4271244454362WXNWU5NQ",
        "quantity": "1",
        "subscriber": {
            "email_address": "ada@example.com",
            "name": {"given_name": "Ada", "surname": "Byron"},
            "shipping_address": {"address": {"country_code": "US"}},
        },
        "plan": {
            "product_id": "PHOTO-PRO",
            "name": "Photo Pro, monthly",
            "billing_cycles": [
                {"tenure_type": "TRIAL", "frequency": {"interval_unit": "DAY", "interval_count": 14}},
                {"tenure_type": "REGULAR", "frequency": {"interval_unit": "MONTH", "interval_count": 1}},
            ],
        },
    }


def make_event(topic, resource):
    return {
        "id": f"WH-{topic}-{resource.get('id')}",
        "event_version": "1.0",
        "create_time": "2026-11-22T17:28:10Z",
        "event_type": topic,
        "resource": resource,
    }


class Signer:
    """Signs as PayPal does, and publishes its certificate."""

    def __init__(self, url):
        self.url = url
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate = make_certificate(self.key)

    def headers(self, body, *, webhook_id=WEBHOOK_ID, **changed):
        message, time = str(uuid4()), "2026-11-22T17:28:10Z"
        text = f"{message}|{time}|{webhook_id}|{crc32(body)}"
        signature = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return {
            "PayPal_Transmission_Id": message,
            "PayPal_Transmission_Time": time,
            "PayPal_Transmission_Sig": b64encode(signature).decode(),
            "PayPal_Cert_Url": self.url,
            "PayPal_Auth_Algo": "SHA256withRSA",
        } | changed


def make_certificate(key):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "messageverificationcerts.paypal.com")])
    now = datetime.now(UTC)
    number, tomorrow = x509.random_serial_number(), now + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), number, now, tomorrow)
    signed = builder.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def signer():
    return Signer("")


@pytest.fixture
def api(receiver, signer, monkeypatch):
    api = FakeApi(receiver)
    signer.url = api.url + CERTIFICATE
    monkeypatch.setattr(paypal, "_keys", {})
    monkeypatch.setattr(paypal, "_failures", {})
    monkeypatch.setattr(KINDS["paypal"], "hosts", {"live": api.url, "sandbox": f"{api.url}/sandbox"})
    pattern = re.compile(paypal.CERTIFICATE.replace(r"\.paypal\.com", api.url))
    monkeypatch.setattr(KINDS["paypal"], "certificates", {"live": pattern, "sandbox": pattern})
    api.answers |= {
        CERTIFICATE: signer.certificate,
        "/v1/oauth2/token": {"access_token": "A21AA", "token_type": "Bearer"},
        "/v2/checkout/orders/5O190127TN364715T": make_order(),
        "/v2/payments/captures/42311647XV020574X": make_capture(),
        "/v2/payments/refunds/1Y107995YT783435V": make_refund(),
        "/v1/billing/subscriptions/I-PE7JWXKGVN0R": make_subscription(),
        "/v1/billing/subscriptions/I-PE7JWXKGVN0R/transactions": make_list(),
        "/v1/customer/disputes/PP-D-1": make_dispute(),
    }
    return api


@pytest.fixture
def connect(make_connection, api):
    access = {"webhook_id": WEBHOOK_ID, "client_id": "AeA1QI", "client_secret": "EL1tVx"}
    return lambda **values: make_connection("paypal", values=access | values)


@pytest.fixture
def shop(connect):
    return connect()


@pytest.fixture
def photo(make_product):
    return make_product(sku="PHOTO-PRO")


@pytest.fixture
def send(signer):
    def send(shop, topic, resource, **headers):
        body = json.dumps(make_event(topic, resource)).encode()
        response = post(shop, body, **signer.headers(body, **headers))
        process_due()
        return response

    return send


@pytest.fixture
def sell(api, send):
    def sell(shop, **fields):
        capture = make_capture(**fields)
        api.answers[f"/v2/payments/captures/{capture['id']}"] = capture
        return send(shop, "PAYMENT.CAPTURE.COMPLETED", capture)

    return sell


@pytest.fixture
def take_back(api, send):
    def take_back(shop, topic="PAYMENT.CAPTURE.REFUNDED", **fields):
        refund = make_refund(**fields)
        api.answers[f"/v2/payments/refunds/{refund['id']}"] = refund
        return send(shop, topic, refund)

    return take_back


def test_a_capture_gets_its_licenses(shop, api, photo, sell):
    assert sell(shop, invoice_id="A-1").status_code == 200

    order = Order.objects.get()
    assert (order.number, order.email, order.country) == ("A-1", "ada@example.com", "GB")
    assert (order.first_name, order.last_name) == ("Ada", "Byron")
    assert order.codes().count() == 2
    assert order.total() == Decimal("47.60")
    assert emails() == ["ada@example.com"]
    login, *questions = api.received[1:]
    assert login.headers["authorization"] == "Basic " + b64encode(b"AeA1QI:EL1tVx").decode()
    assert login.body == b"grant_type=client_credentials"
    assert {question.headers["authorization"] for question in questions} == {"Bearer A21AA"}


def test_other_goods_and_shipping_get_no_license(shop, api, photo, sell):
    mug = make_item(sku="MUG", name="Mug", quantity="1", unit_amount={"value": "10.00"}, tax=None)
    api.answers["/v2/checkout/orders/5O190127TN364715T"] = make_order(items=[make_item(), mug])
    sell(shop, amount={"currency_code": "EUR", "value": "60.00"})

    order = Order.objects.get()
    assert (order.codes().count(), order.total()) == (2, Decimal("60.00"))
    assert Event.objects.get().waits_for == ["MUG"]


@pytest.mark.parametrize("source", ["custom_id", "description"])
def test_an_order_without_items_is_named_by_its_text(shop, api, photo, sell, source):
    api.answers["/v2/checkout/orders/5O190127TN364715T"] = make_order(items=None, **{source: "PHOTO-PRO"})
    sell(shop)

    order = Order.objects.get()
    assert (order.codes().count(), order.total()) == (1, Decimal("47.60"))


def test_without_access_to_the_api_a_sale_is_parked(connect, photo, sell):
    sell(connect(client_id="", client_secret=""), custom_id="PHOTO-PRO")

    event = Event.objects.get()
    assert event.cause == "access"
    assert "client ID" in event.reason


@pytest.mark.parametrize(("currency", "value"), [("JPY", "900"), ("KWD", "5.120")])
def test_amounts_are_decimals(shop, api, photo, sell, currency, value):
    items = [make_item(quantity="1", unit_amount={"value": value}, tax=None)]
    api.answers["/v2/checkout/orders/5O190127TN364715T"] = make_order(items=items)
    sell(shop, amount={"currency_code": currency, "value": value})

    order = Order.objects.get()
    assert (order.currency, order.total()) == (currency, Decimal(value))


def test_a_pending_capture_is_parked_until_it_is_paid(shop, photo, sell):
    sell(shop, status="PENDING")

    assert Event.objects.get().cause == "unpaid"


def test_sales_of_the_sandbox_become_test_orders(connect, merchant, api, photo, sell):
    api.answers |= {f"/sandbox{path}": answer for path, answer in api.answers.items()}
    sell(connect(environment="sandbox"))

    assert Order.objects.get().merchant.live == merchant


def test_each_payment_of_a_subscription_is_an_order(shop, api, photo, send):
    for reference in ("8JM78613GN123456S", "8JM78613GN123457S"):
        api.answers["/v1/billing/subscriptions/I-PE7JWXKGVN0R/transactions"] = make_list(id=reference)
        send(shop, "PAYMENT.SALE.COMPLETED", make_payment(id=reference))

    subscription = Subscription.objects.get()
    assert (subscription.reference, subscription.period) == ("I-PE7JWXKGVN0R", "P1M")
    assert subscription.order_items.count() == Order.objects.count() == 2
    assert emails() == ["ada@example.com"] * 2
    question = next(request.path for request in api.received if "/transactions" in request.path)
    assert question.endswith("?start_time=2026-11-21T17%3A28%3A08Z&end_time=2026-11-23T17%3A28%3A08Z")


@pytest.mark.parametrize("listed", [{"id": "ANOTHER"}, {"status": "PENDING"}, {"status": "DECLINED"}])
def test_a_payment_that_its_subscription_does_not_list_as_paid_is_parked(shop, api, photo, send, listed):
    api.answers["/v1/billing/subscriptions/I-PE7JWXKGVN0R/transactions"] = make_list(**listed)
    send(shop, "PAYMENT.SALE.COMPLETED", make_payment())

    assert Event.objects.get().state == "parked"


def test_a_refunded_payment_of_a_subscription_is_found(shop, api, photo, send):
    send(shop, "PAYMENT.SALE.COMPLETED", make_payment())
    amount = {"total": "-9.99", "currency": "USD"}
    refund = {"id": "R1", "state": "completed", "sale_id": "8JM78613GN123456S", "amount": amount}
    api.answers["/v1/payments/refund/R1"] = refund
    send(shop, "PAYMENT.SALE.REFUNDED", refund)

    assert Order.objects.get().status == "deleted"


@pytest.mark.parametrize("topic", ["PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED"])
def test_a_full_refund_puts_the_keys_into_quarantine(shop, photo, sell, take_back, topic):
    sell(shop)
    take_back(shop, topic)

    assert Order.objects.get().status == "deleted"
    assert LicenseKey.objects.filter(withdrawn_because="refunded").count() == 2


def test_a_partial_refund_is_recorded_once(shop, photo, sell, take_back):
    sell(shop)
    for topic in ("PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED"):
        take_back(shop, topic, amount={"currency_code": "EUR", "value": "10.00"})

    order = Order.objects.get()
    assert (order.status, order.left_to_refund()) == ("paid", Decimal("37.60"))


def test_a_dispute_that_the_seller_wins_gives_the_keys_back(shop, photo, sell, send):
    sell(shop)
    send(shop, "PAYMENT.CAPTURE.REVERSED", make_refund())
    send(shop, "CUSTOMER.DISPUTE.RESOLVED", make_dispute())

    assert Order.objects.get().status == "paid"


def test_a_refund_before_the_sale_waits_for_it(shop, photo, sell, take_back):
    take_back(shop, amount={"currency_code": "EUR", "value": "10.00"})
    assert Event.objects.get().cause == "no_sale"

    sell(shop, status="PARTIALLY_REFUNDED")

    assert Order.objects.get().left_to_refund() == Decimal("37.60")


def test_a_payment_that_was_refunded_by_now_gets_no_license(shop, photo, sell):
    sell(shop, status="REFUNDED")

    assert Event.objects.get().state == "ignored"


# Confirming. The signature covers the headers, but only a checksum of the body.


@pytest.fixture
def forge(signer):
    """Send a body of its own with the headers of a message that PayPal signed for another one."""

    def forge(shop, seen, headers, topic, resource):
        body = match_checksum(json.dumps(make_event(topic, resource)).encode(), crc32(seen))
        response = post(shop, body, **headers)
        process_due()
        return response

    return forge


def match_checksum(body, wanted):
    """Append spaces and tabs, so that the CRC-32 is the wanted one. It is linear in each bit."""
    padded = body + b" " * 64
    rest = crc32(padded) ^ wanted
    basis: dict[int, tuple[int, int]] = {}
    for index in range(64):
        changed = bytearray(padded)
        changed[len(body) + index] = ord("\t")
        value, mask = crc32(changed) ^ crc32(padded), 1 << index
        while value and (known := basis.setdefault(value.bit_length(), (value, mask))) != (value, mask):
            value, mask = value ^ known[0], mask ^ known[1]
    chosen = 0
    while rest:
        value, mask = basis[rest.bit_length()]
        rest, chosen = rest ^ value, chosen ^ mask
    return body + bytes(ord("\t") if chosen >> index & 1 else ord(" ") for index in range(64))


def test_a_signed_message_counts_only_once(shop, photo, signer, forge):
    seen = json.dumps(make_event("PAYMENT.CAPTURE.COMPLETED", make_capture())).encode()
    headers = signer.headers(seen)
    post(shop, seen, **headers)

    assert forge(shop, seen, headers, "PAYMENT.CAPTURE.REFUNDED", make_refund()).status_code == 200
    assert [event.topic for event in Event.objects.all()] == ["PAYMENT.CAPTURE.COMPLETED"]


@pytest.mark.parametrize(
    ("topic", "resource"),
    [
        ("PAYMENT.CAPTURE.COMPLETED", make_capture(id="FORGED")),
        ("PAYMENT.CAPTURE.COMPLETED", make_capture(id="../captures/42311647XV020574X")),
        ("PAYMENT.SALE.COMPLETED", make_payment(id="FORGED")),
        ("PAYMENT.SALE.COMPLETED", make_payment(billing_agreement_id="FORGED")),
        ("PAYMENT.CAPTURE.REFUNDED", make_refund(id="FORGED")),
        ("CUSTOMER.DISPUTE.RESOLVED", make_dispute(dispute_id="FORGED")),
    ],
)
def test_a_forged_event_is_parked(shop, photo, sell, signer, forge, topic, resource):
    sell(shop)
    headers = signer.headers(b"seen, but never delivered")
    forge(shop, b"seen, but never delivered", headers, topic, resource)

    assert Event.objects.filter(state="parked").count() == 1
    assert Order.objects.get().status == "paid"


def test_forged_amounts_products_and_customers_are_not_read(shop, photo, signer, forge):
    headers = signer.headers(b"seen")
    free = make_capture(amount={"currency_code": "JPY", "value": "1"}, custom_id="VIDEO-PRO", invoice_id="MINE")
    free["supplementary_data"] = {"related_ids": {"order_id": "ANOTHER"}}
    forge(shop, b"seen", headers, "PAYMENT.CAPTURE.COMPLETED", free)

    order = Order.objects.get()
    assert (order.total(), order.currency, order.number) == (Decimal("47.60"), "EUR", "42311647XV020574X")


def test_an_order_without_the_capture_is_parked(shop, api, photo, sell):
    api.answers["/v2/checkout/orders/5O190127TN364715T"] = make_order(payments={"captures": [{"id": "ANOTHER"}]})
    sell(shop)

    assert Event.objects.get().state == "parked"


def test_each_capture_of_an_order_is_a_sale(shop, api, photo, make_product, sell):
    make_product(sku="VIDEO-PRO")
    second = {"items": [make_item(sku="VIDEO-PRO")], "payments": {"captures": [{"id": "SECOND"}]}}
    order = make_order()
    order["purchase_units"].append(second)
    api.answers["/v2/checkout/orders/5O190127TN364715T"] = order
    for capture in ("42311647XV020574X", "SECOND"):
        sell(shop, id=capture)

    skus = [item.product.sku for item in OrderItem.objects.order_by("pk")]
    assert (Order.objects.count(), skus) == (2, ["PHOTO-PRO", "VIDEO-PRO"])


def test_a_part_of_an_order_that_is_paid_in_two_captures_is_sold_once(shop, api, photo, sell):
    parts = {"captures": [{"id": "FIRST"}, {"id": "SECOND"}]}
    api.answers["/v2/checkout/orders/5O190127TN364715T"] = make_order(payments=parts)
    for capture in ("FIRST", "SECOND"):
        sell(shop, id=capture, amount={"currency_code": "EUR", "value": "23.80"})

    assert Order.objects.get().codes().count() == 2


# Receiving


def test_the_checksum_of_the_reference():
    assert crc32(b'{"hello":"world"}') == 3624485329


def test_the_certificate_is_fetched_once(shop, api, send):
    for number in range(3):
        send(shop, "CHECKOUT.ORDER.APPROVED", {"id": str(number)})

    assert [request.path for request in api.received] == [CERTIFICATE]


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook_id": "WEBHOOK_ID"},
        {"PayPal_Transmission_Id": "another"},
        {"PayPal_Transmission_Sig": "AAAA"},
        {"PayPal_Transmission_Sig": "no base64"},
        {"PayPal_Auth_Algo": "SHA1withRSA"},
    ],
)
def test_a_wrong_signature_is_rejected(shop, send, changed):
    assert send(shop, "PAYMENT.CAPTURE.COMPLETED", make_capture(), **changed).status_code == 401
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://evil.example/v1/notifications/certs/CERT-1",
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/CERT-1/../../x",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?next=x",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    ],
)
def test_a_certificate_elsewhere_is_not_fetched(shop, signer, monkeypatch, receiver, url):
    monkeypatch.undo()

    assert post(shop, b"{}", **signer.headers(b"{}", PayPal_Cert_Url=url)).status_code == 401
    assert not receiver.received


def test_paypals_certificates_are_known():
    known = paypal.PayPal.certificates
    for host in ("api.paypal.com", "api-m.paypal.com"):
        assert known["live"].fullmatch(f"https://{host}{CERTIFICATE}")
    for host in ("api.sandbox.paypal.com", "api-m.sandbox.paypal.com"):
        assert known["sandbox"].fullmatch(f"https://{host}{CERTIFICATE}")


def test_paypal_repeats_an_event_whose_certificate_was_out_of_reach(shop, api, photo, sell):
    api.answers[CERTIFICATE] = 503
    assert sell(shop).status_code == 503
    assert not Event.objects.exists()


def test_a_certificate_out_of_reach_is_asked_for_once_a_minute(shop, api, photo, sell, signer, monkeypatch):
    for number in range(5):
        assert post(shop, b"{}", **signer.headers(b"{}", PayPal_Cert_Url=f"{signer.url}{number}")).status_code == 503
    assert len(api.received) == 1

    monkeypatch.setattr(paypal, "monotonic", lambda: monotonic() + paypal.CERTIFICATE_PAUSE)
    assert sell(shop).status_code == 200


@pytest.mark.parametrize("certificate", [b"no certificate", make_certificate(ec.generate_private_key(ec.SECP256R1()))])
def test_another_certificate_verifies_nothing(shop, api, sell, certificate):
    api.answers[CERTIFICATE] = certificate

    assert sell(shop).status_code in {401, 503}
    assert not Event.objects.exists()
