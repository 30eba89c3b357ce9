"""The audit runs once a night, and staff get one e-mail about the same findings."""

import threading
from datetime import UTC, datetime

import pytest
from django.core import mail

from merchants.models import User
from runtime import auditing
from runtime.models import AuditRun

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def queued(monkeypatch):
    queued: list[int] = []
    monkeypatch.setattr(auditing, "publish", lambda task, pk, queue: queued.append(pk))
    return queued


@pytest.fixture
def night(monkeypatch, queued, settings):
    """Return a function that lets a night pass in which the audit finds these lines."""
    settings.SUPPORT_EMAIL = ["support@keywell.example"]
    days = iter(range(1, 29))

    def pass_night(*findings, hour=2):
        now = datetime(2026, 1, next(days), hour, 30, tzinfo=UTC)
        monkeypatch.setattr(auditing, "database_now", lambda: now)
        monkeypatch.setattr(auditing, "find_violations", lambda: iter(findings))
        queued.clear()
        auditing.begin()
        for pk in list(queued):
            auditing.work_on(pk)

    return pass_night


def test_it_runs_at_night_only_and_once_a_night(night, queued, monkeypatch):
    night(hour=1)
    night(hour=14)
    assert not AuditRun.objects.exists()

    night()
    for _ in range(3):  # further ticks, and another beat or one that was restarted
        queued.clear()
        auditing.begin()
        assert queued == []
    [run] = AuditRun.objects.all()
    assert run.done_at and (run.count, run.digest) == (0, "")


def test_findings_are_stored_and_mailed_once_while_they_stay_the_same(night):
    night("b: pool 2", "a: pool 1")
    night("a: pool 1", "b: pool 2")

    [message] = mail.outbox
    assert message.to == ["support@keywell.example"]
    assert message.subject == "The audit found 2 violations"
    assert "- a: pool 1\n- b: pool 2\n" in message.body
    assert list(AuditRun.objects.order_by("night").values_list("count", flat=True)) == [2, 2]


def test_other_findings_are_mailed_and_so_are_the_same_after_a_clean_night(night):
    night("a")
    night("a", "b")
    night()
    night("a")

    assert [message.subject for message in mail.outbox] == [
        "The audit found 1 violation",
        "The audit found 2 violations",
        "The audit found 1 violation",
    ]


def test_many_findings_fit_into_one_row_and_one_email(night):
    night(*(f"pool {number:05}" for number in range(20_000)))

    [run] = AuditRun.objects.all()
    assert (run.count, len(run.findings)) == (auditing.MAX_FINDINGS, AuditRun.MAX_SHOWN)
    assert "… and 9950 more." in mail.outbox[0].body.replace(",", "")


def test_without_an_address_of_the_staff_superusers_get_it(night, settings):
    settings.SUPPORT_EMAIL = []
    User.objects.create_superuser("root@keywell.example", "correct horse")
    User.objects.create_superuser("gone@keywell.example", "correct horse")
    User.objects.filter(email="gone@keywell.example").update(is_active=False)
    night("a")

    assert mail.outbox[0].to == ["root@keywell.example"]


def test_a_run_whose_worker_died_starts_over(night, queued, monkeypatch):
    monkeypatch.setattr(auditing, "_examine", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        night("a")
    monkeypatch.undo()
    monkeypatch.setattr(auditing, "find_violations", lambda: iter(["a"]))
    [run] = AuditRun.objects.open()
    auditing.work_on(run.pk)

    assert AuditRun.objects.get().count == 1


def test_an_email_that_could_not_be_sent_is_sent_later_without_another_audit(night, monkeypatch):
    notify = auditing._notify_staff
    monkeypatch.setattr(auditing, "_notify_staff", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        night("a")
    monkeypatch.setattr(auditing, "_notify_staff", notify)
    monkeypatch.setattr(auditing, "find_violations", lambda: 1 / 0)
    [run] = AuditRun.objects.open()
    auditing.work_on(run.pk)

    assert len(mail.outbox) == 1


def test_two_workers_at_the_same_time_audit_once(in_threads, monkeypatch, settings):
    settings.SUPPORT_EMAIL = ["support@keywell.example"]
    run = AuditRun.objects.create(night="2026-01-01")
    started, ended, audits = threading.Event(), threading.Event(), []

    def audit():
        audits.append(1)
        started.set()
        assert ended.wait(60)
        return iter(["a"])

    def work(number):
        if number:
            assert started.wait(60)
        auditing.work_on(run.pk)
        ended.set()

    monkeypatch.setattr(auditing, "find_violations", audit)
    in_threads(work, [0, 1], 2)

    assert audits == [1]
    assert len(mail.outbox) == 1
