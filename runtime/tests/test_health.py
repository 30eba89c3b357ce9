import base64

import pytest
from django.db import DatabaseError
from django.test import override_settings

from runtime import health
from runtime.supervisor import STATUS_FD
from vault.fingerprints import load_key
from work.valkey import valkey


def test_it_is_well(client, db):
    response = client.get("/healthz")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "checks": {
            "database": "ok",
            "migrations": "ok",
            "vault": "ok",
            "broker": "ok",
            "services": "ok",
            "disk": "ok",
        },
    }


@pytest.mark.parametrize("check", ["database", "broker"])
def test_it_names_what_fails_and_keeps_the_cause_to_the_log(client, db, monkeypatch, check, caplog):
    def fail():
        raise DatabaseError("password authentication failed")

    monkeypatch.setitem(health.CHECKS, check, fail)

    response = client.get("/healthz")

    assert response.status_code == 503
    assert response.json()["checks"][check] == "failing"
    assert "password" not in response.content.decode()
    assert "password" in caplog.text


def test_it_sees_a_broker_that_is_gone(client, db, settings):
    settings.VALKEY = settings.VALKEY | {"url": "unix:///nowhere/valkey.sock"}
    valkey.cache_clear()
    response = client.get("/healthz")
    valkey.cache_clear()

    assert (response.status_code, response.json()["checks"]["broker"]) == (503, "failing")


def test_without_the_broker_it_is_ready_but_degraded(client, db, settings):
    settings.VALKEY = settings.VALKEY | {"url": "unix:///nowhere/valkey.sock"}
    valkey.cache_clear()
    response = client.get("/readyz")
    valkey.cache_clear()

    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert response.json()["checks"]["broker"] == "failing"


@pytest.mark.parametrize("check", sorted(health.CHECKS.keys() - health.DEGRADING))
def test_it_is_not_ready_without_what_payments_need(client, db, monkeypatch, check):
    def fail():
        raise DatabaseError

    monkeypatch.setitem(health.CHECKS, check, fail)

    response = client.get("/readyz")

    assert (response.status_code, response.json()["status"]) == (503, "failing")
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("probe", ["/livez", "/readyz"])
def test_probes_may_use_any_host_name(client, db, probe):
    assert client.get(probe, headers={"host": "10.1.2.3:8000"}).status_code == 200
    assert client.get("/healthz", headers={"host": "10.1.2.3:8000"}).status_code == 400


def test_it_sees_a_wrong_vault_key(client, db):
    load_key.cache_clear()
    with override_settings(VAULT_KEYS=[base64.b64encode(bytes(32)).decode()]):
        response = client.get("/healthz")

    assert (response.status_code, response.json()["checks"]["vault"]) == (503, "failing")


def test_it_sees_migrations_that_were_not_applied(client, db, monkeypatch):
    monkeypatch.setattr("runtime.health.MigrationExecutor.migration_plan", lambda self, targets: ["pools.0002"])

    assert "manage.py migrate" in client.get("/healthz").json()["checks"]["migrations"]


def test_it_names_services_that_keep_ending(client, db, monkeypatch, tmp_path):
    status = tmp_path / "status"
    with status.open("w+b") as handle:
        monkeypatch.setenv(STATUS_FD, str(handle.fileno()))
        handle.write(b'["worker", "beat"]'.ljust(4096))
        handle.flush()

        response = client.get("/healthz")

    assert response.status_code == 503
    assert response.json()["checks"]["services"] == "Down and being restarted: worker, beat."


def test_it_sees_a_full_disk(client, db, monkeypatch):
    monkeypatch.setattr(health, "MIN_FREE_BYTES", 2**80)

    response = client.get("/healthz")

    assert response.status_code == 503
    assert response.json()["checks"]["disk"].startswith("The disk is full.")
