"""A merchant's own mail account: it is tested before it is saved, its secrets stay hidden, and it must be public."""

import ipaddress
import json
import socket
import ssl
from datetime import timedelta
from time import monotonic
from types import SimpleNamespace

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.mail import EmailMessage
from django.db import connection
from django.utils import timezone
from requests import Response

from delivery import tasks
from delivery.link_requests import request_mail
from delivery.models import Delivery, LinkRequest
from delivery.models.deliveries import ALL
from fulfillment.pool_notices import PoolLow, notify_pool
from merchants.models import Member
from outbound import address_guard, mail, mail_servers
from outbound.mail import MailError, send_email
from outbound.models import MailAccount
from portal.emails.forms import MailServerForm
from runtime.tests.installation import free_port
from runtime.tests.sink import Sink
from work.models import CALLOUTS

# A server with implicit TLS warns, because it doesn't know that it uses TLS.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

PAGE = "/emails/server/"
PASSWORD = "a long password"


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """The TLS contexts of a local server, and of a client that trusts it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    start, loopback = timezone.now(), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([loopback]), True).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return SimpleNamespace(server=server, client=ssl.create_default_context(cafile=file))


@pytest.fixture
def make_server(tls, settings, monkeypatch):
    """Start a local mail server with a login, and allow connections to it."""
    settings.CALLOUT_NETWORKS = [ipaddress.ip_network("127.0.0.0/8")]
    monkeypatch.setattr(address_guard, "TLS", tls.client)
    started = []

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"northlight", PASSWORD.encode()), handled=False)

    def make(security="starttls"):
        sink = Sink(free_port())
        secured = {"ssl_context": tls.server} if security == "tls" else {"tls_context": tls.server}
        controller = Controller(
            sink,
            hostname="127.0.0.1",
            port=sink.port,
            authenticator=authenticate,
            auth_required=security != "none",
            auth_require_tls=security == "starttls",
            require_starttls=security == "starttls",
            **(secured if security != "none" else {}),
        )
        # The controller's own first connection doesn't use TLS.
        controller._trigger_server = lambda: socket.create_connection(("127.0.0.1", sink.port)).close()  # type: ignore[method-assign]
        controller.start()
        monkeypatch.setattr(MailServerForm.base_fields["port"], "choices", [(sink.port, sink.port)])
        started.append(controller)
        return sink

    yield make
    for controller in started:
        controller.stop()


@pytest.fixture
def manager(make_member, client):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def form_data(server, **fields):
    return {
        "kind": "smtp",
        "sender": "licenses@northlight.example",
        "host": "127.0.0.1",
        "port": server.port if server else 587,
        "security": "starttls",
        "user_name": "northlight",
        "password": PASSWORD,
    } | fields


def save(client, server, **fields):
    return client.post(PAGE, form_data(server, **fields))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_saving_sends_a_test_mail_through_it(manager, make_server, security):
    server = make_server(security)

    assert save(manager, server, security=security).status_code == 302

    (message,) = server.messages
    assert message["To"] == "manager-sam@northlight.example"
    assert message["From"] == "licenses@northlight.example"
    assert MailAccount.objects.get().saved_by.startswith("Sam")


def test_emails_to_customers_use_it_and_notices_do_not(manager, make_server, pay, product, work, mailoutbox, merchant):
    server = make_server()
    save(manager, server)
    pay(product)
    request_mail(merchant, "ada@example.com", language="en", source="192.0.2.1")
    merchant.pools.update(notified="low")
    notify_pool(merchant.pools.get(), PoolLow, available=10)
    work()
    manager.post("/emails/texts/all/en/test/", {"subject": "Yours", "body": "{KEY}"})

    _, *mails = server.messages
    assert [mail["To"] for mail in mails] == ["ada@example.com", "ada@example.com", "manager-sam@northlight.example"]
    assert {mail["From"] for mail in mails} == {"Northlight <licenses@northlight.example>"}
    assert Delivery.objects.get().status == "sent"
    assert [message.to for message in mailoutbox] != [] and all("ada" not in str(one.to) for one in mailoutbox)


def test_emails_of_another_merchant_do_not_use_it(
    manager, make_server, outsider, make_product, make_api, make_payment, work
):
    server = make_server()
    save(manager, server)
    payment = make_payment(make_product(merchant=outsider))
    make_api(outsider).post("/api/v1/payments/", payment, format="json")
    work()

    assert len(server.messages) == 1
    assert Delivery.objects.get().status == "sent"


def rejected_text(response):
    assert response.status_code == 200
    assert not MailAccount.objects.exists()
    return response.content.decode()


def test_a_wrong_password_is_not_saved(manager, make_server):
    text = rejected_text(save(manager, make_server(), password="another password"))

    assert "The test e-mail failed, so nothing was saved. The mail server rejected the login: 535" in text
    assert "another password" not in text


def test_a_server_without_tls_is_not_saved(manager, make_server):
    server = make_server("none")

    assert "STARTTLS" in rejected_text(save(manager, server))
    assert server.messages == []


def test_a_server_with_an_untrusted_certificate_is_not_saved(manager, make_server, monkeypatch):
    server = make_server()
    monkeypatch.setattr(address_guard, "TLS", ssl.create_default_context())

    assert "CERTIFICATE_VERIFY_FAILED" in rejected_text(save(manager, server))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_it_does_not_connect_to_a_server_inside_our_network(manager, make_server, settings, security):
    server = make_server(security)
    settings.CALLOUT_NETWORKS = []

    assert "isn’t on the public internet" in rejected_text(save(manager, server, security=security))
    assert server.messages == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_the_test_email_to_a_slow_server_times_out(manager, make_server, monkeypatch, security):
    server = make_server(security)
    server.delay = 5
    monkeypatch.setattr(mail, "TEST_TIMEOUT", 0.5)
    started = monotonic()

    assert "The test e-mail failed, so nothing was saved. The mail server disconnected" in rejected_text(
        save(manager, server, security=security)
    )
    assert monotonic() - started < 4


def test_an_email_to_a_slow_server_times_out_and_may_have_been_accepted(manager, make_server):
    server = make_server()
    save(manager, server)
    server.delay = 5

    with (
        pytest.raises(MailError) as caught,
        send_email(EmailMessage(to=["ada@example.com"]), MailAccount.objects.get(), timeout=0.5),
    ):
        pass

    assert caught.value.may_have_arrived


def test_connecting_has_its_own_timeout(manager, make_server, monkeypatch):
    requests = []
    connect = address_guard.connect

    def record_timeout(host, port, timeout):
        requests.append(timeout)
        return connect(host, port, timeout)

    monkeypatch.setattr(address_guard, "connect", record_timeout)
    server = make_server()
    server.delay = 0.3
    monkeypatch.setattr(mail_servers, "CONNECT_TIMEOUT", 0.2)

    assert save(manager, server).status_code == 302
    assert requests == [0.2]


@pytest.mark.django_db(transaction=True)
def test_only_one_test_email_is_sent_at_a_time(manager, make_server, in_threads):
    server = make_server()
    server.delay = 1

    answers = in_threads(lambda _: save(manager, server).status_code, range(2), threads=2)

    assert sorted(answers) == [200, 302] and len(server.messages) == 1


def test_an_unreachable_server_is_retried_only_after_a_pause(manager, make_server, pay, product, work, settings):
    save(manager, make_server())
    settings.CALLOUT_NETWORKS = []
    for _ in range(3):
        pay(product)

    work()

    assert Delivery.objects.filter(attempts=1).count() == 1
    assert not Delivery.objects.due().exists()


def test_its_emails_run_in_their_own_queue(manager, make_server, pay, product, merchant, monkeypatch):
    requests = []
    monkeypatch.setattr("work.tasks.publish", lambda task, pk, queue: requests.append((task, queue)))
    save(manager, make_server())
    pay(product)
    request_mail(merchant, "ada@example.com", language="en", source="192.0.2.1")

    tasks.deliver(ALL)
    tasks.send_links(LinkRequest.objects.get().pk)

    assert Delivery.objects.get().attempts == LinkRequest.objects.get().attempts == 0
    assert requests == [(LinkRequest.TASK, CALLOUTS)]
    monkeypatch.setattr("work.tasks.get_queue", lambda task: CALLOUTS)
    tasks.deliver(merchant.pk)
    tasks.send_links(LinkRequest.objects.get().pk)
    assert Delivery.objects.get().status == "sent" and LinkRequest.objects.get().due_at is None


def test_the_merchants_name_is_quoted_correctly(manager, provider, merchant, pay, product, work):
    merchant.name = 'Nördlicht "Софт", Ltd.'
    merchant.save()
    save(manager, None, kind="postmark", password="key-of-northlight")
    pay(product)
    work()

    sender = json.loads(provider.requests[-1][1]["data"])["From"]
    assert sender == '"Nördlicht \\"Софт\\", Ltd." <licenses@northlight.example>'


def test_the_sender_may_have_an_international_domain(manager, make_server):
    server = make_server()

    assert save(manager, server, sender="shop@bücher.example").status_code == 302
    assert server.messages[0]["From"] == "shop@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "fields",
    [
        {"port": "22"},
        {"port": ""},
        {"host": ""},
        {"host": "smtp.example.com/x"},
        {"host": "user@smtp.example.com"},
        {"user_name": ""},
        {"password": ""},
        {"password": "paßwort"},
        {"security": "none"},
        {"sender": "nobody"},
        {"sender": "a@b.example\r\nBcc: eve@example.com"},
        {"kind": "amazon_ses"},
        {"kind": "postmark", "password": ""},
        {"kind": "postmark", "tracking_secret": "no colon"},
        {"kind": "sendgrid", "tracking_secret": "no key"},
        {"kind": "mailgun", "tracking_secret": "schlüssel"},
    ],
    ids=str,
)
def test_it_does_not_try_invalid_settings(manager, make_server, fields, monkeypatch):
    server = make_server()
    monkeypatch.setattr("requests.Session.request", lambda *args, **options: pytest.fail("asked the provider"))

    assert 'role="alert"' in rejected_text(save(manager, server, **fields))
    assert server.messages == []


def test_secrets_are_not_shown_and_are_encrypted_in_the_database(manager, make_server):
    save(manager, make_server(), tracking_secret="user:webhook-secret")

    page = manager.get(PAGE).content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM outbound_mailaccount")
        stored = bytes(cursor.fetchone()[0])
    for secret in (PASSWORD, "webhook-secret"):
        assert secret not in page and secret.encode() not in stored
    assert MailAccount.objects.get().password == PASSWORD


def test_an_empty_password_keeps_the_saved_one(manager, make_server):
    server = make_server()
    save(manager, server)

    assert save(manager, server, password="", sender="shop@northlight.example").status_code == 302
    account = MailAccount.objects.get()
    assert (account.password, account.sender) == (PASSWORD, "shop@northlight.example")


@pytest.mark.parametrize("changed", ["host", "port", "user_name", "kind"])
def test_a_saved_password_is_not_sent_to_another_server(manager, make_server, changed, monkeypatch):
    first = make_server()
    save(manager, first)
    second = make_server()
    monkeypatch.setattr("requests.Session.request", lambda *args, **options: pytest.fail("asked the provider"))
    other = {"host": "127.0.0.2", "port": second.port, "user_name": "eve", "kind": "postmark"}
    monkeypatch.setattr(
        MailServerForm.base_fields["port"], "choices", [(one.port, one.port) for one in (first, second)]
    )

    response = save(manager, first, password="", **{changed: other[changed]})

    assert "Enter the password or API key." in response.content.decode()
    assert (len(first.messages), second.messages) == (1, [])


def test_a_failed_test_email_keeps_the_saved_account(manager, make_server):
    server = make_server()
    save(manager, server)

    response = save(manager, server, password="wrong", sender="shop@northlight.example")

    account = MailAccount.objects.get()
    assert (account.password, account.sender) == (PASSWORD, "licenses@northlight.example")
    assert "come from licenses@northlight.example" in response.content.decode()


def test_returning_to_keywells_server_deletes_the_account(manager, make_server, pay, product, work, mailoutbox):
    server = make_server()
    save(manager, server)
    manager.post(f"{PAGE}remove/")
    pay(product)
    work()

    assert not MailAccount.objects.exists()
    assert [message.to for message in mailoutbox] == [["ada@example.com"]]


def test_a_rejected_login_queues_emails_and_notifies_once(
    manager, make_server, pay, product, work, merchant, mailoutbox
):
    server = make_server()
    save(manager, server)
    account = MailAccount.objects.get()
    account.keep(password="changed there", tracking_secret="")
    account.save()
    pay(product)
    pay(product)
    work()
    work()

    assert {delivery.status for delivery in Delivery.objects.all()} == {"queued"}
    (notice,) = mailoutbox
    assert "rejects Keywell’s login" in notice.subject and "535" in notice.body
    assert "rejects our login" in manager.get("/attention/").content.decode()

    save(manager, server)
    Delivery.objects.update(due_at="2026-01-01T00:00:00Z")
    work()

    assert {delivery.status for delivery in Delivery.objects.all()} == {"sent"}
    assert "rejects our login" not in manager.get("/attention/").content.decode()


# Providers


class FakeApi:
    """A fake API of a provider. It records the requests."""

    def __init__(self):
        self.requests = []
        self.status = 200

    def request(self, session, method, url, **options):
        self.requests.append((url, options, session.headers))
        answer = {
            "MessageID": "b7bc2f4a",
            "ErrorCode": 0,
            "Message": "OK",
            "To": options.get("to"),
            "id": "<b7bc2f4a@mg>",
            "message": "Queued. Thank you.",
        }
        response = Response()
        response.status_code, response._content, response.url = self.status, json.dumps(answer).encode(), url
        return response


@pytest.fixture
def provider(monkeypatch):
    api = FakeApi()
    monkeypatch.setattr("requests.Session.request", lambda session, **options: api.request(session, **options))
    return api


@pytest.mark.parametrize(
    "kind, url",
    [
        ("mailgun", "https://api.mailgun.net/v3/northlight.example/messages"),
        ("mailgun_eu", "https://api.eu.mailgun.net/v3/northlight.example/messages"),
        ("sendgrid", "https://api.sendgrid.com/v3/mail/send"),
        ("postmark", "https://api.postmarkapp.com/email"),
    ],
)
@pytest.mark.filterwarnings("ignore:django-anymail has dropped official support for SendGrid")
def test_a_provider_is_called_at_its_own_url_with_the_merchants_key(manager, provider, settings, kind, url):
    settings.ANYMAIL = {
        f"{provider}_API_URL": "https://eve.example/" for provider in ("MAILGUN", "SENDGRID", "POSTMARK")
    } | {"MAILGUN_SENDER_DOMAIN": "eve.example"}

    save(manager, None, kind=kind, password="key-of-northlight")

    ((requests, options, headers),) = provider.requests
    assert requests == url
    assert "key-of-northlight" in str(options) + str(headers)
    account = MailAccount.objects.get()
    assert (account.kind, account.host, account.port) == (kind, "", None)


def test_a_key_that_the_provider_rejects_is_not_saved(manager, provider):
    provider.status = 401

    text = rejected_text(save(manager, None, kind="mailgun", password="key-of-northlight"))

    assert "401" in text and "key-of-northlight" not in text
