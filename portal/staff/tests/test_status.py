"""The status page says what is wrong and what to do, also when something is down."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError
from django.db.models.functions import Now
from django.urls import reverse

from delivery.models import Delivery
from merchants.models import User
from runtime import measures, status
from runtime.models import AuditRun, Backup, Heartbeat
from runtime.supervisor import STATUS_FD
from work import incidents
from work.models import Incident

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create_user("stella@keywell.example", "correct horse", is_staff=True))
    return client


@pytest.fixture
def services():
    for service in ("celery", "callouts", "beat"):
        Heartbeat.record(service, f"{service}@a")


@pytest.fixture
def find():
    """The findings about a subject."""
    return lambda subject: [finding for finding in status.check_all() if finding.subject == subject]


def test_without_problems_everything_is_ok(staff, services, monkeypatch):
    monkeypatch.setattr(measures, "read_free_disk", lambda: (50, 100))
    Backup.objects.create(made_at=Now(), path="/backups/1", size=1)
    page = staff.get("/admin/status/")

    assert page.status_code == 200
    assert [finding.text for finding in page.context["findings"] if finding.state != "ok"] == []
    assert "What to do" not in page.content.decode()


def test_the_index_links_to_it(staff):
    assert 'href="/admin/status/"' in staff.get("/admin/").content.decode()


def test_only_staff_can_read_it(client, support):
    assert support.get("/admin/status/").status_code == 302
    client.logout()
    assert client.get("/admin/status/").status_code == 302


def test_a_service_that_nobody_does_comes_first(staff, services):
    Heartbeat.objects.filter(service="beat").delete()
    page = staff.get("/admin/status/")

    first = page.context["findings"][0]
    assert (first.subject, first.state) == ("Services", "failed")
    assert "the sweep" in first.text and "python3 run.py" in first.remedy


def test_a_silent_process_is_named(find, services):
    Heartbeat.record("celery", "worker@b")
    Heartbeat.objects.filter(node="worker@b").update(beat_at=Now() - timedelta(minutes=5))

    assert [finding.text for finding in find("Services") if finding.state == "warning"] == [
        "celery, worker@b has been silent for 5 minutes."
    ]


def test_services_that_keep_exiting_are_named(find, services, monkeypatch, tmp_path):
    with (tmp_path / "status").open("w+b") as handle:
        monkeypatch.setenv(STATUS_FD, str(handle.fileno()))
        handle.write(b'["worker"]'.ljust(4096))
        handle.flush()

        assert find("Services")[0].text == "These services are down and being restarted: worker."


@pytest.mark.parametrize(("minutes", "state"), [(1, "ok"), (5, "warning"), (20, "failed")])
def test_work_that_is_late_is_reported(find, pay, product, minutes, state):
    pay(product)
    Delivery.objects.update(due_at=Now() - timedelta(minutes=minutes))

    assert [finding.state for finding in find("Work")] == [state]


def test_the_reasons_of_failing_emails_are_shown(find, pay, product):
    pay(product)
    pay(product)
    Delivery.objects.update(attempts=3, reason="The mail server answered 450 <ada@example.com> is busy")

    [finding] = find("E-mails")
    assert finding.text == "2 e-mails to customers are being retried."
    assert finding.details == ["2 × The mail server answered 450 … is busy"]


def test_a_nearly_full_disk_is_reported(find, monkeypatch):
    monkeypatch.setattr(measures, "read_free_disk", lambda: (5 * 2**30, 100 * 2**30))

    [finding] = find("Disk")
    assert (finding.state, finding.text) == ("warning", "5.0 of 100.0 GiB are free.")


def test_full_queues_and_connections_that_run_out_are_reported(find, monkeypatch):
    monkeypatch.setattr(measures, "read_queue_lengths", lambda: {"celery": 1000})
    monkeypatch.setattr(measures, "read_sessions", lambda: measures.Sessions({"idle": 95}, 100))

    assert [find(subject)[0].state for subject in ("Broker", "Database")] == ["warning", "warning"]


def test_unexpected_errors_link_to_their_incidents(staff):
    reference = incidents.report(ValueError("secret"), "Delivery 17")
    link = reverse("admin:work_incident_change", args=[Incident.objects.get().pk])
    page = staff.get("/admin/status/").text
    assert "1 kind within the last day." in page
    assert reference not in page and link not in page and "Delivery 17" not in page

    User.objects.get().user_permissions.set(Permission.objects.filter(codename="view_incident"))
    assert f'<a href="{link}">{reference}</a>: ValueError, Delivery 17' in staff.get("/admin/status/").text


def test_the_last_audit_is_shown(find):
    assert find("Nightly audit")[0].state == "ok"
    run = AuditRun.objects.create(night="2026-01-01", ended_at=Now() - timedelta(days=3))
    assert find("Nightly audit")[0].state == "warning"

    run.update(count=1, findings=["pool 1: imported 10"], ended_at=Now())
    [finding] = find("Nightly audit")
    assert (finding.state, finding.text) == ("failed", "It found 1 violation on 2026-01-01.")
    assert finding.details == ["pool 1: imported 10"]


@pytest.mark.parametrize("check", status.CHECKS, ids=lambda check: check.__name__)
def test_a_check_that_fails_hides_no_other_and_no_secret(staff, services, monkeypatch, check):
    def check_failing():
        raise DatabaseError("password=secret")
        yield

    others = [other for other in status.CHECKS if other != check]
    monkeypatch.setattr(status, "CHECKS", [*others, check_failing])

    page = staff.get("/admin/status/")
    assert len(page.context["findings"]) >= len(status.CHECKS)
    assert "The failing can’t be checked: DatabaseError." in page.context["findings"][0].text
    assert "secret" not in page.content.decode()
