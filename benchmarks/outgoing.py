"""Compares outgoing requests per second, and their CPU time, with a bare `requests.Session`, to a TLS receiver."""

import argparse
import importlib
import multiprocessing
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.apps import apps
from django.conf import settings

from benchmarks.harness import database
from benchmarks.results import record
from runtime.tests.installation import free_port, wait_until

CALLS = 300  # per round
BODY, HEADERS = b'{"order": "W-1"}' * 20, {"Content-Type": "application/json"}


class ReceiverHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "23")
        self.end_headers()
        self.wfile.write(b"AAAAA-BBBBB-CCCCC-DDDDD")

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outgoing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    options = parser.parse_args()
    with database() as folder:
        settings.CALLOUT_NETWORKS = [ip_network("127.0.0.0/8")]
        pem, port = make_certificate(folder / "receiver.pem"), free_port()
        # In a separate process, so its CPU time doesn't count.
        receiver = multiprocessing.get_context("spawn").Process(target=receive, args=(pem, port), daemon=True)
        receiver.start()
        try:
            compare(f"https://127.0.0.1:{port}/codes", pem, options.rounds)
        finally:
            receiver.terminate()


def receive(pem: Path, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", port), ReceiverHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def compare(url: str, pem: Path, rounds: int) -> None:
    outgoing_requests = importlib.import_module("outbound.outgoing_requests")
    importlib.import_module("outbound.address_guard").TLS.load_verify_locations(pem)
    merchant = apps.get_model("merchants.Merchant").objects.create(name="Benchmark", slug="benchmark")
    session = requests.Session()
    session.trust_env, session.verify = False, str(pem)

    def call() -> int:
        return int(outgoing_requests.call(merchant, "POST", url, body=BODY, headers=HEADERS, timeout=10).status_code)

    def floor() -> int:
        return session.post(url, data=BODY, headers=HEADERS, timeout=10, allow_redirects=False).status_code

    wait_until(lambda: answers(floor))
    measured = [(measure(floor), measure(call)) for _ in range(rounds)]
    for number, (what, unit) in enumerate([("outgoing requests", "per second"), ("CPU per outgoing request", "ms")]):
        pairs = [(called[number], bare[number]) for bare, called in measured]
        record(what, pairs, unit=unit, baseline="a bare requests.Session", digits=1)


def answers(call: Callable[[], int]) -> bool:
    try:
        return call() == 200
    except requests.ConnectionError:
        return False


def measure(call: Callable[[], int]) -> tuple[float, float]:
    """Return calls per second, and our CPU time per call in milliseconds."""
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(CALLS):
        assert call() == 200
    return CALLS / (time.perf_counter() - start), 1000 * (time.process_time() - cpu) / CALLS


def make_certificate(file: Path) -> Path:
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(pem))
    return file


if __name__ == "__main__":
    main()
