"""Shops that repeat their events as the real ones do, while the installation is down for ten minutes or more.

    .venv/bin/python -m faults.outage [--seconds-per-minute S]

Prints what became of each sale: taken at which attempt, fetched from the API, or lost. WooCommerce without API
keys, Lemon Squeezy without one (its API has a fixed address) and Gumroad lose it, as the connections' pages say.
"""

import argparse
import hmac
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from benchmarks.harness import install, installation, run_script
from runtime.tests.installation import free_port, wait_until
from shops.tests.senders import SECRET, make_order, sign

OUTAGE = 10  # minutes
HOUR, DAY = 60, 24 * 60


@dataclass
class Sender:
    """A shop, with the minutes between its attempts and whether it repeats when it can't even connect."""

    kind: str
    body: dict
    signature: Callable[[bytes], dict[str, str]]
    delays: Sequence[float]
    repeats_lost_connections: bool = True
    options: dict[str, str] = field(default_factory=dict)
    url: str = ""
    outcome: str = ""

    def send(self) -> bool | None:
        """Send the event. Return whether it was accepted; None if there was no connection."""
        body = json.dumps(self.body).encode()
        headers = {"Content-Type": "application/json"} | self.signature(body)
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url, body, headers), timeout=10) as answer:
                return answer.status in {200, 202}
        except urllib.error.HTTPError:
            return False
        except OSError:
            return None

    def run(self, minute: float) -> None:
        for number, delay in enumerate([0, *self.delays], start=1):
            time.sleep(delay * minute)
            accepted = self.send()
            if accepted:
                self.outcome = f"taken at attempt {number}"
                return
            if accepted is None and not self.repeats_lost_connections:
                break
        self.outcome = f"given up after {number} attempts"


def sign_woocommerce(body: bytes) -> dict[str, str]:
    return {"X-WC-Webhook-Signature": sign(body)}


def sign_stripe(body: bytes) -> dict[str, str]:
    at = int(time.time())
    return {"Stripe-Signature": f"t={at},v1={hmac.digest(SECRET.encode(), f'{at}.'.encode() + body, 'sha256').hex()}"}


def sign_paddle(body: bytes) -> dict[str, str]:
    at = int(time.time())
    return {"Paddle-Signature": f"ts={at};h1={hmac.digest(SECRET.encode(), f'{at}:'.encode() + body, 'sha256').hex()}"}


def make_senders(store: str) -> list[Sender]:
    access = {"store": store, "consumer_key": "ck_1", "consumer_secret": "cs_1"}
    session = {"id": "cs_1", "object": "checkout.session", "payment_status": "paid", "currency": "eur"}
    return [
        Sender("woocommerce", make_order(), sign_woocommerce, []),
        Sender("woocommerce", make_order(id=728, number="728"), sign_woocommerce, [], options=access),
        Sender(
            "shopify", {"id": 1}, lambda body: {"X-Shopify-Hmac-SHA256": sign(body)}, [1, 2, 5, 10, 20, 40, HOUR, 90]
        ),
        Sender(
            "stripe",
            {
                "id": "evt_1",
                "type": "checkout.session.completed",
                "livemode": True,
                "created": 1,
                "data": {"object": session},
            },
            sign_stripe,
            [1, 5, 30, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR],
        ),
        Sender(
            "paddle",
            {"event_id": "evt_1", "event_type": "transaction.completed", "data": {}},
            sign_paddle,
            [1] * 20 + [5] * 40,
        ),
        Sender(
            "fastspring",
            {"events": [{"id": "e1", "type": "order.completed", "live": True, "data": {}}]},
            lambda body: {"X-FS-Signature": sign(body)},
            [HOUR, 2 * HOUR, 4 * HOUR],
        ),
        Sender(
            "lemonsqueezy",
            {"meta": {"event_name": "order_created"}, "data": {"id": "1"}},
            lambda body: {"X-Signature": sign(body, form="hex")},
            [5 / 60, 25 / 60, 125 / 60],
        ),
        Sender("gumroad", {"sale_id": "1"}, lambda body: {}, [1, 3, 10], repeats_lost_connections=False),
    ]


CONNECT = """
import json
from merchants.models import Merchant
from shops.connecting import connect
merchant = Merchant.objects.live().order_by("pk")[0]
for kind, secret, options in json.loads({senders!r}):
    print(connect(merchant, kind, secret=secret, values=options).url)
"""
STORED = """
from shops.models import Connection
print(*(connection.events.count() for connection in Connection.objects.order_by("pk")))
"""
FETCH = """
from datetime import timedelta
from django.utils import timezone
from shops.catching_up import request
from shops.models import CatchUp, Connection
for connection in Connection.objects.filter(catches_up=True):
    request(connection, timezone.now() - timedelta(days=1))
"""
FETCHED = "from shops.models import CatchUp; print(CatchUp.objects.filter(ended_at=None).count())"


class Store(BaseHTTPRequestHandler):
    """The orders of a WooCommerce store."""

    def do_GET(self) -> None:
        orders = [make_order(id=728, number="728")] if "page=1" in self.path else []
        body = json.dumps(orders).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def serve_store() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds-per-minute", type=float, default=0.6)
    minute = parser.parse_args().seconds_per_minute
    senders = make_senders(serve_store())
    with installation() as (keywell, sink):
        settings = {"CALLOUT_NETWORKS": "127.0.0.0/8"}
        install(keywell, sink)
        described = json.dumps([[sender.kind, SECRET, sender.options] for sender in senders])
        for sender, url in zip(senders, run_script(keywell, CONNECT.format(senders=described)).split(), strict=True):
            sender.url = f"http://127.0.0.1:{keywell.port}{urlsplit(url).path}"
        keywell.stop()
        threads = [threading.Thread(target=sender.run, args=[minute], daemon=True) for sender in senders]
        for thread in threads:
            thread.start()
        time.sleep(OUTAGE * minute)
        keywell.start(**settings)
        for thread in threads:
            thread.join()
        before = run_script(keywell, STORED).split()
        run_script(keywell, FETCH)
        wait_until(lambda: run_script(keywell, FETCHED) == "0")
        after = run_script(keywell, STORED).split()
    return report(zip(senders, before, after, strict=True))


def report(results: Iterator[tuple[Sender, str, str]]) -> int:
    lost = []
    for sender, before, after in results:
        found = "stored" if before != "0" else "fetched from its API" if after != "0" else "lost"
        access = " with API keys" if sender.options else ""
        print(f"{sender.kind}{access}: {sender.outcome}, {found}")
        if found == "lost":
            lost.append(sender.kind)
    return 0 if lost == ["woocommerce", "lemonsqueezy", "gumroad"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
