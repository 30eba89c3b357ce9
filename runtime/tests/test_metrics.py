"""What /metrics contains, and who can read it."""

import json
import re
import shutil
import subprocess
from datetime import timedelta

import pytest
import yaml
from django.conf import settings as project
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from merchants.models import ApiKey, Merchant
from merchants.sandbox import get_sandbox
from outbound.models import OutgoingRequest
from outbound.outgoing_requests import REQUEST_SECONDS
from pools.models import LicensePool
from runtime import measures, metrics
from runtime.models import AuditRun, Backup, Heartbeat
from work.metrics import observe

MONITORING = project.BASE_DIR / "docs/monitoring"
NAME = re.compile(r"\bkeywell_\w+")


def scrape(**headers):
    response = Client().get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    return {family.name: family.samples for family in text_string_to_metric_families(response.content.decode())}


def values(families, name, **labels):
    return [sample.value for sample in families[name] if labels.items() <= sample.labels.items()]


# Access


def status(settings, *, token="", address="127.0.0.1", **headers):
    settings.METRICS_TOKEN = token
    return Client(REMOTE_ADDR=address).get("/metrics", headers=headers).status_code


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.1.2.3", "::ffff:127.0.0.1"])
def test_a_program_on_this_machine_can_read_it(db, settings, address):
    assert status(settings, address=address) == 200


@pytest.mark.parametrize("address", ["10.1.2.3", "203.0.113.7", "2001:db8::1", ""])
def test_others_need_the_token(db, settings, address):
    assert status(settings, address=address) == 404
    assert status(settings, address=address, token="t0ken") == 401
    assert status(settings, address=address, token="t0ken", Authorization="Bearer other") == 401
    assert status(settings, address=address, token="t0ken", Authorization="Bearer tökén") == 401
    assert status(settings, address=address, token="t0ken", Authorization="Bearer t0ken") == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via"])
def test_what_a_proxy_on_this_machine_passes_on_needs_the_token(db, settings, header):
    assert status(settings, **{header: "127.0.0.1"}) == 404
    assert status(settings, token="t0ken", **{header: "127.0.0.1"}) == 401


def test_an_empty_token_is_no_token(db, settings):
    assert status(settings, address="10.1.2.3", Authorization="Bearer ") == 404


def test_it_says_what_is_missing(db, settings):
    settings.METRICS_TOKEN = ""
    refused = Client(REMOTE_ADDR="10.1.2.3").get("/metrics")
    assert "METRICS_TOKEN" in refused.content.decode()


# Content


def test_it_counts_payments_by_outcome(api, product, pay, make_payment):
    before = scrape()
    payment = make_payment(product)
    for _ in range(2):
        api.post("/api/v1/payments/", payment, format="json")
    api.post("/api/v1/payments/", payment | {"currency": "nope"}, format="json")
    Client().post("/api/v1/payments/", {})
    after = scrape()

    def count(families, outcome):
        return sum(values(families, "keywell_payments", outcome=outcome)) if "keywell_payments" in families else 0

    outcomes = {name: count(after, name) - count(before, name) for name in ("accepted", "repeated", "invalid")}
    assert outcomes == {"accepted": 1, "repeated": 1, "invalid": 1}
    assert count(after, "unauthorized") - count(before, "unauthorized") == 1


def test_payments_of_test_data_are_not_counted(merchant, make_api):
    sandbox = get_sandbox(merchant)
    before = scrape()
    make_api(sandbox).post("/api/v1/payments/", {}, format="json")

    def counted(families):
        return sum(values(families, "keywell_payments")) if "keywell_payments" in families else 0

    assert ApiKey.objects.filter(merchant=sandbox).exists()
    assert counted(scrape()) == counted(before)


def test_it_counts_emails_and_their_time(pay, product, work):
    pay(product)
    work()
    before = scrape()
    pay(product)
    work()
    after = scrape()

    def sent(families):
        return sum(values(families, "keywell_deliveries", outcome="sent"))

    assert sent(after) - sent(before) == 1
    assert sum(values(after, "keywell_attempts", kind="delivery", outcome="ok")) >= 2
    assert values(after, "keywell_delivery_seconds", kind="automatic", le="+Inf")


def test_it_shows_work_with_the_age_of_the_oldest(pay, product):
    pay(product)
    pay(product)
    Delivery.objects.update(due_at=Now() - timedelta(minutes=5), created_at=Now() - timedelta(hours=1))
    Delivery.objects.filter(pk=Delivery.objects.latest("pk").pk).update(due_at=Now() + timedelta(hours=1))

    found = scrape()

    assert values(found, "keywell_work", kind="delivery", state="due") == [1]
    assert values(found, "keywell_work", kind="delivery", state="scheduled") == [1]
    [age] = values(found, "keywell_work_oldest_seconds", kind="delivery", state="due")
    [late] = values(found, "keywell_work_late_seconds", kind="delivery")
    assert 3600 <= age < 3700
    assert 300 <= late < 400


def test_it_shows_items_that_wait_and_those_that_failed(pay, make_product):
    pay(make_product(keys=0))
    pay(make_product(keys=0))
    Fulfillment.objects.filter(pk=Fulfillment.objects.latest("pk").pk).update(status="failed", due_at=None)

    found = scrape()

    assert values(found, "keywell_work", kind="fulfillment", state="waiting") == [1]
    assert values(found, "keywell_work", kind="fulfillment", state="failed") == [1]


def test_it_shows_the_stock_of_each_pool_but_not_of_test_data(merchant, make_merchant, make_pool):
    make_pool(keys=3, name="Pro “A”\\\n", threshold=5)
    sandbox = make_merchant("Sandbox")
    make_pool(keys=7, merchant=sandbox)
    Merchant.objects.filter(pk=sandbox.pk).update(live=merchant)

    found = scrape()

    [sample] = found["keywell_pool_available"]
    assert (sample.value, sample.labels["merchant"], sample.labels["name"]) == (3, merchant.slug, "Pro “A”\\\n")
    assert values(found, "keywell_pool_threshold") == [5]


def test_the_number_of_pools_is_bounded_and_low_ones_come_first(make_pool, monkeypatch):
    monkeypatch.setattr(measures, "MAX_POOLS", 2)
    make_pool()
    make_pool()
    low = make_pool()
    LicensePool.objects.filter(pk=low.pk).update(notified="low")

    found = [sample.labels["pool"] for sample in scrape()["keywell_pool_available"]]

    assert len(found) == 2 and found[0] == str(low.pk)


def test_it_shows_heartbeats_and_which_services_nobody_does(db):
    Heartbeat.record("celery", "worker@a")
    Heartbeat.record("callouts,imports", "both@a")
    Heartbeat.record("celery", "worker@b")
    Heartbeat.objects.filter(node="worker@b").update(beat_at=Now() - timedelta(minutes=2))

    found = scrape()

    [silent] = values(found, "keywell_heartbeat_age_seconds", node="worker@b")
    assert 120 <= silent < 200
    counts = {sample.labels["service"]: sample.value for sample in found["keywell_service_processes"]}
    assert counts == {"celery": 1, "callouts": 1, "beat": 0}


def test_it_shows_the_last_audit(db):
    assert "keywell_audit_findings" not in scrape()
    AuditRun.objects.create(night="2026-01-01", ended_at=Now(), count=3)

    assert values(scrape(), "keywell_audit_findings") == [3]


@pytest.mark.parametrize("part", list(metrics.PARTS))
def test_a_part_that_fails_hides_no_other(db, monkeypatch, part, caplog):
    def fail():
        raise RuntimeError("password=secret")

    monkeypatch.setitem(metrics.PARTS, part, fail)

    found = scrape()

    up = {sample.labels["part"]: sample.value for sample in found["keywell_part_up"]}
    assert up == dict.fromkeys(metrics.PARTS, 1) | {part: 0}
    assert "secret" not in caplog.text


def test_without_the_broker_the_rest_is_there(db, monkeypatch):
    monkeypatch.setattr(measures, "valkey", lambda: 1 / 0)

    found = scrape()

    assert values(found, "keywell_part_up", part="queues") == [0]
    assert values(found, "keywell_disk_free_bytes")[0] > 0


def test_a_scrape_runs_few_statements_however_many_rows_there_are(pay, make_product):
    for _ in range(5):
        pay(make_product())
    scrape()
    with CaptureQueriesContext(connection) as queries:
        scrape()

    assert len(queries) <= 30


def test_its_statements_are_bounded_and_use_indexes(pay, product):
    pay(product)
    with connection.cursor() as cursor, measures.limited():
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == (measures.STATEMENT_TIMEOUT,)
    counting = measures.compose_work()
    assert counting.count(f"LIMIT {measures.MAX_ROWS}") == counting.count("AS rows")
    with connection.cursor() as cursor, measures.limited():
        cursor.execute(f"EXPLAIN {counting}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan" not in plan


def test_labels_hold_no_codes_and_no_customer_data(pay, product, work):
    paid = pay(product)
    work()
    text = Client().get("/metrics").content.decode()

    for secret in (paid["items"][0]["activation_codes"][0]["code"], paid["email"], paid["order"]):
        assert secret not in text


# Alerts and dashboard


def test_alerts_and_dashboard_use_metrics_that_exist(pay, product, work, merchant, monkeypatch):
    AuditRun.objects.create(night="2026-01-01", ended_at=Now(), count=3)
    Backup.objects.create(made_at=Now(), path="/backups/1", size=1)
    Heartbeat.record("celery", "worker@a")
    observe(REQUEST_SECONDS, 1, "webhook", OutgoingRequest.Outcome.OK)
    pay(product)
    pay(product)
    work()
    Delivery.objects.filter(pk=Delivery.objects.latest("pk").pk).update(due_at=Now())
    found = scrape()
    existing = {sample.name for samples in found.values() for sample in samples}

    for path in (MONITORING / "alerts.yml", MONITORING / "dashboard.json"):
        used = set(NAME.findall(path.read_text()))
        assert len(used) > 10
        assert used <= existing, path.name


def test_each_metric_is_documented_and_nothing_else(db):
    page = (project.BASE_DIR / "docs/monitoring.md").read_text()
    documented = set(re.findall(r"^\| `(keywell_\w+)", page, re.MULTILINE))
    AuditRun.objects.create(night="2026-01-01", ended_at=Now())
    Backup.objects.create(made_at=Now(), path="/backups/1", size=1)
    gauges = {family.name for family in metrics.StateCollector().collect()}
    gauges -= {name for name in gauges if name.startswith("test_")}

    counters = {f"keywell_{name}_total" for name in ("requests", "payments", "deliveries", "attempts")}
    histograms = {"keywell_payment_seconds", "keywell_delivery_seconds", "keywell_outgoing_request_seconds"}
    without_counters = {name for name in gauges if f"{name}_total" not in counters}
    assert documented == without_counters | counters | histograms


def test_every_alert_says_what_to_do():
    [group] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]

    assert len(group["rules"]) > 15
    for rule in group["rules"]:
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names)


def test_prometheus_accepts_the_alerts():
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    result = subprocess.run(
        [promtool, "check", "rules", MONITORING / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_panels_of_the_dashboard_have_a_query_and_do_not_overlap():
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]

    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(target["expr"] for panel in panels for target in panel["targets"])
