import socket
import ssl
from datetime import datetime
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fulfillment.product_sources import add_source
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.parameters import DEFAULTS
from outbound.tests.receiver import Receiver


@pytest.fixture
def loopback_allowed(settings):
    """Allow requests to loopback."""
    settings.CALLOUT_NETWORKS = [ip_network("127.0.0.0/8")]


@pytest.fixture
def receiver(loopback_allowed):
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def dns(monkeypatch):
    """Set what a name resolves to: each lookup uses the next list of addresses, and the last one repeats."""
    names: dict[str, list[list[str]]] = {}
    original_getaddrinfo = socket.getaddrinfo

    def getaddrinfo(host, port, *, type):
        answers = names.get(host, [[host]])
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        numeric = {"type": type, "flags": socket.AI_NUMERICHOST}
        return [entry for address in addresses for entry in original_getaddrinfo(address, port, **numeric)]

    def resolve(name, *answers):
        names[name] = list(answers)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return resolve


@pytest.fixture
def make_service(merchant, receiver):
    """Make a web service at the receiver's URL and add it as a source of the given products."""

    def make(*products, merchant=merchant, parameters=DEFAULTS, name="Gen", **fields):
        fields = {"url": receiver.url, "secret": WebService.make_secret()} | fields
        service = WebService.objects.create(merchant=merchant, name=name, **fields)
        for position, parameter in enumerate(parameters, 1):
            service.parameters.create(position=position, parameter=parameter, name=parameter)
        for product in products:
            add_source(product, "web_service", service)
        return service

    return make


@pytest.fixture
def tls(tmp_path):
    """An SSL context and certificate file for shop.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2100, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "shop.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, file
