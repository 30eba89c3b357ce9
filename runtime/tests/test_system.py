"""The whole of it, as it runs: what `run.py` starts, asked over HTTP, sending to a mail server on loopback."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import redis
import requests
import schemathesis
from dateutil.relativedelta import relativedelta
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from outbound.models.signed import Signed
from runtime.supervisor import die_with_parent
from runtime.tests.installation import PROJECT, TIMEOUT, free_port, wait_until

MAKE_PRODUCT = """
from fulfillment.product_sources import add_source
from merchants.models import Merchant, Product
from pools.models import LicensePool
merchant = Merchant.objects.get()
product = Product.objects.create(merchant=merchant, sku="{sku}", name="{sku}")
pool = LicensePool.objects.create(merchant=merchant, name="{sku}", threshold=10)
add_source(product, "pool", pool)
"""

# A product for each way to ask the vendor of examples/vendor.
MAKE_SERVICES = """
from fulfillment.product_sources import add_source
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.parameters import add_defaults
from merchants.models import Merchant, Product
merchant = Merchant.objects.get()
for sku, fields in {ways}.items():
    product = Product.objects.create(merchant=merchant, sku=sku, name=sku)
    service = WebService.objects.create(merchant=merchant, name=sku, secret="{secret}", **fields)
    add_defaults(service)
    service.parameters.filter(parameter="Order").update(name="order_no")
    add_source(product, "web_service", service)
"""
# Two products of the shop whose licenses are made in our own service: a licensee for each unit, and one for all.
MAKE_LICENSES = """
from fulfillment.product_sources import add_source
from licensing.models import LicensingProduct, Role, Token
from merchants.models import Merchant, Product
merchant = Merchant.objects.get()
licensed = LicensingProduct.objects.create(merchant=merchant, number="P-SYSTEM", name="Photo")
for name, model, type, terms in (
    ("SUB", "Subscription", "TIMEVOLUME", {"time_volume": 1, "time_volume_period": "MONTH"}),
    ("PPU", "PayPerUse", "QUANTITY", {"quantity": 100}),
    ("FEATURE", "MultiFeature", "FEATURE", {}),
):
    module = licensed.modules.create(merchant=merchant, number=f"M-{name}", name=name, licensing_model=model)
    module.templates.create(merchant=merchant, number=f"T-{name}", name=name, license_type=type, **terms)
keys = [
    Token.objects.create(merchant=merchant, token_type="APIKEY", api_key_role=role)
    for role in (Role.OPERATION, Role.LICENSEE)
]
account = merchant.licensing_accounts.create(name="Own", api_key=keys[0].number)
for sku, rule, templates in (("LICENSED-EACH", "unit", ["SUB", "PPU"]), ("LICENSED-ALL", "item", ["PPU", "FEATURE"])):
    package = merchant.license_packages.create(account=account, name=sku, product_number="P-SYSTEM")
    for position, name in enumerate(templates, 1):
        package.templates.create(position=position, number=f"T-{name}")
    product = Product.objects.create(merchant=merchant, sku=sku, name=sku, quantity_rule=rule)
    add_source(product, "netlicensing", package)
print(*[key.number for key in keys])
"""
# As if the lease of a worker that is gone were over.
END_LEASES = """
from django.db.models.functions import Now
from fulfillment.models import Fulfillment
Fulfillment.objects.filter(due_at__gt=Now()).update(due_at=Now())
"""


@pytest.fixture(scope="module")
def keywell(install, sink):
    keywell = install()
    keywell.start(EMAIL_URL=f"smtp://127.0.0.1:{sink.port}", LOG_LEVEL="DEBUG", CALLOUT_NETWORKS="127.0.0.0/8")
    yield keywell
    keywell.stop()


@pytest.fixture(scope="module")
def shop(keywell):
    return Shop(keywell)


@pytest.fixture(scope="module")
def vendor(keywell):
    """The vendor's kit, and in the shop a product for each way to ask it."""
    vendor = RunningVendor(Path(keywell.var).parent / "codes.sqlite3")
    vendor.start()
    url = f"http://127.0.0.1:{vendor.port}/"
    ways = {
        "FORM": {"url": url, "format": "form"},
        "JSON": {"url": url, "format": "json", "request_per": "item", "holds_list": True},
        "GET": {"url": url + "?shop=7", "format": "get"},
        "HELD": {"url": url + "hold"},
    }
    shell = ("manage", "shell", "--no-imports", "-c")
    made = keywell.run(*shell, MAKE_SERVICES.format(ways=ways, secret=vendor.secret))
    assert made.returncode == 0, made.stderr
    yield vendor
    vendor.process.terminate()
    vendor.process.wait()


class RunningVendor:
    def __init__(self, database):
        self.database, self.port, self.secret = database, free_port(), Signed.make_secret()

    def start(self):
        command = [sys.executable, "examples/vendor/misbehave.py", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--database", str(self.database)],
            cwd=PROJECT,
            env=os.environ | {"VENDOR_SECRETS": self.secret},
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        wait_until(self.database.exists)

    def answers(self):
        """The codes it made, by the key of the request."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return {key: json.loads(codes) for key, codes in connection.execute("SELECT request, codes FROM answers")}


class Shop:
    def __init__(self, keywell):
        lines = (keywell.var / "demo.env").read_text().splitlines()
        self.env = dict(line.split("=", 1) for line in lines)
        self.keywell, self.wait_until = keywell, keywell.wait_until
        self.headers = {"Authorization": f"Bearer {self.env['API_KEY']}"}
        self.number = 0

    def call(self, method, path, *, headers=None, **options):
        url = f"{self.env['BASE_URL']}/api/v1/{path}"
        return requests.request(method, url, headers=self.headers | (headers or {}), timeout=TIMEOUT, **options)

    def payment(self, sku="PHOTO-PRO", quantity=1):
        self.number += 1
        return {
            "order": f"S{self.number:06}",
            "paid_at": f"2026-11-22T{10 + self.number // 3600:02}:{self.number // 60 % 60:02}:{self.number % 60:02}Z",
            "currency": "EUR",
            "customer": {"email": f"customer{self.number}@example.com", "first_name": "Ada"},
            "items": [{"item": "1", "product": sku, "quantity": quantity, "total_price": "59.98"}],
        }

    def report(self, payment):
        response = self.call("POST", "payments/", json=payment)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def read(self, number):
        return self.call("GET", f"orders/{number}/").json()

    def make_product(self, sku, keys):
        made = self.keywell.run("manage", "shell", "--no-imports", "-c", MAKE_PRODUCT.format(sku=sku))
        assert made.returncode == 0, made.stderr
        self.fill(sku, range(keys))

    def pool(self, sku):
        return next(pool for pool in self.call("GET", "pools/").json() if pool["name"] == sku)

    def available(self, sku):
        return self.pool(sku)["available"]

    def fill(self, sku, numbers):
        pool = self.pool(sku)
        keys = "\n".join(f"{sku}-KEY-{number:05}" for number in numbers)
        response = self.call(
            "POST", f"pools/{pool['id']}/keys/", data=keys.encode(), headers={"Content-Type": "text/plain"}
        )
        assert response.status_code == 201, response.text


def codes_of(order):
    return [code["code"] for code in order["items"][0]["activation_codes"]]


def mailed(sink, payment):
    return "\n".join(sink.texts(payment["customer"]["email"]))


def all_mailed(sink, orders, payments):
    return all(
        all(code in mailed(sink, payment) for code in codes_of(order))
        for order, payment in zip(orders, payments, strict=True)
    )


def audit(keywell):
    result = keywell.run("manage", "audit", "--texts")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("Clean")


def test_a_payment_is_answered_with_its_code_and_mailed(shop, sink):
    payment = shop.payment(quantity=2)

    order = shop.report(payment)

    assert len(codes_of(order)) == 2
    shop.wait_until(lambda: all_mailed(sink, [order], [payment]))
    shop.wait_until(lambda: shop.read(order["order"])["items"][0]["activation_codes"][0]["delivery"] == "sent")


def test_the_same_payment_twenty_times_at_once_is_one_order_and_one_mail(shop, sink):
    payment = shop.payment(quantity=2)

    with ThreadPoolExecutor(20) as threads:
        orders = list(threads.map(shop.report, [payment] * 20))

    assert len({tuple(codes_of(order)) for order in orders}) == 1
    shop.wait_until(lambda: mailed(sink, payment))
    shop.report(payment)
    assert len(sink.texts(payment["customer"]["email"])) == 1


def test_payments_that_race_for_a_pool_that_is_too_small(keywell, shop, sink):
    shop.make_product("RACE", keys=500)
    payments = [shop.payment("RACE", quantity=1 + number % 3) for number in range(400)]
    needed = sum(payment["items"][0]["quantity"] for payment in payments)

    with ThreadPoolExecutor(32) as threads:
        orders = list(threads.map(shop.report, payments))

    given = [code for order in orders for code in codes_of(order)]
    assert len(given) == len(set(given)) == 500
    audit(keywell)

    # A part of what is missing goes to the oldest payments.
    waiting = [order["order"] for order in orders if order["items"][0]["fulfillment"] == "waiting"]
    shop.fill("RACE", range(500, 560))
    shop.wait_until(lambda: shop.available("RACE") == 0)
    states = [shop.read(number)["items"][0]["fulfillment"] for number in waiting]
    assert states == sorted(states)  # "done" ... "waiting": orders are in the order of payment
    assert {"done", "waiting"} == set(states)

    shop.fill("RACE", range(560, needed))
    shop.wait_until(lambda: shop.available("RACE") == 0)

    orders = [shop.read(payment["order"]) for payment in payments]
    assert {order["items"][0]["fulfillment"] for order in orders} == {"done"}
    given = [code for order in orders for code in codes_of(order)]
    assert len(given) == len(set(given)) == needed
    audit(keywell)
    shop.wait_until(lambda: all_mailed(sink, orders, payments))
    assert set(sink.received().values()) == {1}


def test_a_pool_that_runs_out_is_told_of_once_and_filled_for_those_who_wait(keywell, shop, sink):
    shop.make_product("SCARCE", 100)

    def notices():
        said = [text for texts in list(sink.plain.values()) for text in texts if "The pool “SCARCE”" in text]
        return [sum("its threshold of 10" in text for text in said), sum("has no keys left" in text for text in said)]

    sold = [shop.payment("SCARCE") for _ in range(99)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(shop.report, sold))
    shop.wait_until(lambda: notices() == [1, 0])

    three = shop.payment("SCARCE", quantity=3)
    shop.report(three)
    waiting = [shop.payment("SCARCE") for _ in range(29)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(shop.report, reversed(waiting)))
    shop.wait_until(lambda: notices() == [1, 1])
    shop.wait_until(lambda: len(sink.texts(three["customer"]["email"])) == 1)

    shop.fill("SCARCE", range(100, 150))
    shop.wait_until(lambda: shop.available("SCARCE") == 50 - 2 - 29)

    first, *others = [codes_of(shop.read(payment["order"])) for payment in [three, *waiting]]
    assert first[1:] == ["SCARCE-KEY-00100", "SCARCE-KEY-00101"]
    assert others == [[f"SCARCE-KEY-{number:05}"] for number in range(102, 131)]
    shop.wait_until(lambda: len(sink.texts(three["customer"]["email"])) == 2)
    before, after = sink.texts(three["customer"]["email"])
    assert [code in before for code in first] == [True, False, False]
    assert [code in after for code in first] == [False, True, True]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(shop.report, [shop.payment("SCARCE") for _ in range(9)]))
    shop.wait_until(lambda: notices() == [2, 1])
    audit(keywell)


def test_a_broker_that_forgets_everything_loses_nothing(keywell, shop, sink):
    signal_workers(keywell, signal.SIGSTOP)
    try:
        payments = [shop.payment() for _ in range(50)]
        orders = [shop.report(payment) for payment in payments]
        redis.Redis(unix_socket_path=valkey_socket(keywell)).flushall()
    finally:
        signal_workers(keywell, signal.SIGCONT)

    shop.wait_until(lambda: all_mailed(sink, orders, payments))
    assert set(sink.received().values()) == {1}


def test_a_worker_killed_among_its_deliveries_doubles_at_most_those_in_its_hands(keywell, shop, sink):
    sink.delay = 0.3
    before = len(sink.messages)
    payments = [shop.payment() for _ in range(20)]
    orders = [shop.report(payment) for payment in payments]
    shop.wait_until(lambda: len(sink.messages) > before + 4)

    signal_workers(keywell, signal.SIGKILL)
    sink.delay = 0

    shop.wait_until(lambda: all_mailed(sink, orders, payments))
    doubled = [count for count in sink.received().values() if count > 1]
    assert len(doubled) <= 2 and set(doubled) <= {2}
    audit(keywell)


def test_tasks_share_connections_to_the_database(keywell, shop, sink):
    """Of the web server's threads and the worker's two processes, not of each task."""

    def sessions():
        with psycopg.connect(dbname="keywell", user="keywell", host=str(keywell.var / "run")) as connection:
            row = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = 'keywell'").fetchone()
        assert row
        return row[0]

    before = sessions()
    payments = [shop.payment() for _ in range(40)]
    orders = [shop.report(payment) for payment in payments]
    shop.wait_until(lambda: all_mailed(sink, orders, payments))

    assert sessions() - before < 25


def test_a_mail_server_that_is_down_delays_mails_and_says_so(shop, sink):
    sink.stop()
    try:
        payments = [shop.payment() for _ in range(5)]
        orders = [shop.report(payment) for payment in payments]

        def reason(order):
            return shop.read(order["order"])["items"][0]["activation_codes"][0]["delivery_reason"]

        shop.wait_until(lambda: all("Connection refused" in reason(order) for order in orders))
    finally:
        sink.start()

    shop.wait_until(lambda: all_mailed(sink, orders, payments))
    shop.wait_until(lambda: not any(reason(order) for order in orders))


def test_codes_come_from_the_vendors_web_service_by_form_json_and_get(shop, sink, vendor):
    payments = [shop.payment(sku, quantity=2) for sku in ("FORM", "JSON", "GET")]

    for payment in payments:
        shop.report(payment)
    shop.wait_until(lambda: all(len(codes_of(shop.read(payment["order"]))) == 2 for payment in payments))

    orders = [shop.read(payment["order"]) for payment in payments]
    assert {order["items"][0]["fulfillment"] for order in orders} == {"done"}
    given = [code for order in orders for code in codes_of(order)]
    answers = list(vendor.answers().values())
    assert sorted(given) == sorted(code for codes in answers for code in codes)
    assert sorted(map(len, answers)) == [1, 1, 1, 1, 2]
    shop.wait_until(lambda: all_mailed(sink, orders, payments))


def test_a_worker_killed_before_it_saved_the_vendors_answer_asks_the_same_again(keywell, shop, sink, vendor):
    before = set(vendor.answers())
    payment = shop.payment("HELD")
    shop.report(payment)
    shop.wait_until(lambda: set(vendor.answers()) - before)
    assert not codes_of(shop.read(payment["order"]))

    signal_workers(keywell, signal.SIGKILL, "callouts@")
    ended = keywell.run("manage", "shell", "--no-imports", "-c", END_LEASES)
    assert ended.returncode == 0, ended.stderr
    shop.wait_until(lambda: codes_of(shop.read(payment["order"])))

    [key] = set(vendor.answers()) - before
    order = shop.read(payment["order"])
    assert codes_of(order) == vendor.answers()[key]
    assert order["items"][0]["fulfillment"] == "done"
    shop.wait_until(lambda: all_mailed(sink, [order], [payment]))
    assert mailed(sink, payment).count(codes_of(order)[0]) == 1
    audit(keywell)


class Licensing:
    """The licensing service as an API key sees it."""

    def __init__(self, shop, key):
        self.url, self.login = f"{shop.env['BASE_URL']}/core/v2/rest", ("apiKey", key)

    def ask(self, method, path, **form):
        headers = {"Accept": "application/json"}
        query, body = (form, {}) if method == "GET" else ({}, form)
        url = f"{self.url}/{path}"
        return requests.request(
            method, url, params=query, data=body, auth=self.login, headers=headers, timeout=TIMEOUT
        )

    def read(self, method, path, **form):
        answer = self.ask(method, path, **form)
        assert answer.status_code == 200, answer.text
        return [{one["name"]: one["value"] for one in item["property"]} for item in answer.json()["items"]["item"]]

    def validate(self, licensee):
        results = self.read("POST", f"licensee/{licensee}/validate", dryRun="true")
        return {result["productModuleNumber"]: result for result in results}


@pytest.fixture(scope="module")
def keys(keywell):
    """Return API keys: one that may change licensees, and one for customers' software."""
    made = keywell.run("manage", "shell", "--no-imports", "-c", MAKE_LICENSES)
    assert made.returncode == 0, made.stderr
    return made.stdout.split()[-2:]


def test_licenses_are_made_in_our_own_service_and_move_to_the_customers_licensee(keywell, shop, sink, keys):
    vendor, software = (Licensing(shop, key) for key in keys)
    vendor.read("POST", "licensee", number="INSTALLATION-1", productNumber="P-SYSTEM")
    today = datetime.now(UTC)
    middle = (today - relativedelta(months=today.day < 15)).replace(day=15)  # the end of no month is in the way
    bought = {"licenseeNumber": "INSTALLATION-1", "licenseTemplateNumber": "T-SUB", "startDate": f"{middle:%Y-%m-%d}"}
    vendor.read("POST", "license", **bought)
    assert software.validate("INSTALLATION-1")["M-FEATURE"]["valid"] == "false"
    before = datetime.fromisoformat(software.validate("INSTALLATION-1")["M-SUB"]["expires"])

    payment = shop.payment("LICENSED-EACH", quantity=3)
    payment["items"].append(payment["items"][0] | {"item": "2", "product": "LICENSED-ALL"})
    shop.report(payment)

    def codes():
        return [code["code"] for item in shop.read(payment["order"])["items"] for code in item["activation_codes"]]

    shop.wait_until(lambda: len(codes()) == 4)
    marked = {each["number"]: each["markedForTransfer"] for each in vendor.read("GET", "licensee")}
    assert [marked[code] for code in codes()] == ["true"] * 4

    numbers = []
    for code in codes():
        numbers += [each["number"] for each in vendor.read("GET", "license", licenseeNumber=code)]
        moved = software.ask("POST", "licensee/INSTALLATION-1/transfer", sourceLicenseeNumber=code)
        assert (moved.status_code, moved.text) == (204, "")

    result = software.validate("INSTALLATION-1")
    assert datetime.fromisoformat(result["M-SUB"]["expires"]) == before + relativedelta(months=3)
    assert result["M-PPU"]["remainingQuantity"] == "600"
    assert result["M-FEATURE"]["valid"] == "true"
    held = [each["number"] for each in vendor.read("GET", "license", licenseeNumber="INSTALLATION-1")]
    assert len(numbers) == 12 and set(numbers) < set(held) and len(held) == 13
    shop.wait_until(lambda: all(code in mailed(sink, payment) for code in codes()))

    # A refund finds them there, and leaves what the customer had alone.
    shop.call("POST", f"orders/{payment['order']}/refund/", json={})

    def active():
        return [
            each["number"]
            for each in vendor.read("GET", "license", licenseeNumber="INSTALLATION-1")
            if each["active"] == "true"
        ]

    shop.wait_until(lambda: active() == sorted(set(held) - set(numbers)))
    logs = "\n".join(path.read_text(errors="replace") for path in Path(keywell.var / "log").iterdir())
    assert not any(secret in logs for secret in [*marked, *keys] if secret != "INSTALLATION-1")


SCHEMA = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))


@SCHEMA.parametrize()
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nothing_that_is_sent_makes_the_api_fail(shop, case):
    response = case.call(base_url=shop.env["BASE_URL"], headers=shop.headers)

    case.validate_response(response, checks=[not_a_server_error])


def test_no_log_holds_what_is_secret(keywell, shop, sink, vendor):
    logs = "\n".join(path.read_text(errors="replace") for path in Path(keywell.var / "log").iterdir())
    order = shop.read("S000001")

    assert "deliver" in logs  # they do log at DEBUG
    assert "-KEY-" not in logs
    assert not any(code in logs for codes in vendor.answers().values() for code in codes)
    assert vendor.secret not in logs
    for text in [
        *codes_of(order),
        shop.env["API_KEY"],
        shop.env["STAFF_PASSWORD"],
        order["email"],
        order["order_url"].split("/o/")[1],
    ]:
        assert text not in logs


def valkey_socket(keywell):
    [socket] = [
        found[1] for command in keywell.family().values() if (found := re.search(r"unixsocket[: ](\S+)", command))
    ]
    return socket


def signal_workers(keywell, number, name=""):
    for pid, command in keywell.family().items():
        if "celery" in command and " worker" in command and name in command:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
