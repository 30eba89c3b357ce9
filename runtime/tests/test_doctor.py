"""The doctor: each fault is found, and something is said about what to do."""

import socket
import struct
import threading
import time
from datetime import timedelta

import dns.resolver
import pytest
from django.core.management import call_command
from django.utils import timezone

from merchants.models import User
from runtime import doctor
from runtime.models import Backup
from runtime.status import FAILED, OK, WARNING, check_backup

pytestmark = pytest.mark.django_db


def problems(check):
    return {finding.text: finding for finding in check if finding.state != OK}


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    path = tmp_path / ".env"
    path.touch(mode=0o600)
    monkeypatch.setenv("KEYWELL_ENV", str(path))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"DEBUG": True}, "DJANGO_DEBUG shows source code"),
        ({"SECRET_KEY": "x" * 60}, "SECRET_KEY can be guessed"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY can be guessed"),
        ({"BASE_URL": "http://keys.example.com"}, "unencrypted"),
        ({"BASE_URL": "https://keys.example.com", "BEHIND_PROXY": False}, "BEHIND_PROXY is off"),
        ({"ALLOWED_HOSTS": ["*"]}, "ALLOWED_HOSTS accepts every host name"),
        ({"STAFF_SECOND_FACTOR_REQUIRED": False}, "no second factor"),
        ({"SUPPORT_EMAIL": []}, "SUPPORT_EMAIL is missing"),
    ],
)
def test_it_finds_weak_settings(settings, changes, said, settings_file):
    fine = {"SUPPORT_EMAIL": ["support@example.com"], "BASE_URL": "https://keys.example.com", "BEHIND_PROXY": True}
    for name, value in ({"STAFF_SECOND_FACTOR_REQUIRED": True} | fine).items():
        setattr(settings, name, value)
    assert problems(doctor.check_settings()) == {}
    for name, value in changes.items():
        setattr(settings, name, value)

    [(text, finding)] = problems(doctor.check_settings()).items()

    assert said in text
    assert finding.remedy


def test_it_finds_settings_that_others_can_read_and_unknown_ones(settings, settings_file):
    settings_file.write_text("EMIAL_URL=x\n")
    settings_file.chmod(0o644)

    found = problems(doctor.check_settings())

    assert any("Did you mean EMAIL_URL?" in text for text in found)
    assert any(finding.remedy == f"chmod 600 {settings_file}" for finding in found.values())


def test_it_finds_users_of_the_demo(settings_file):
    User.objects.create_superuser("staff@keywell.example", "known")

    assert any("Users of the demo can sign in" in text for text in problems(doctor.check_settings()))


@pytest.mark.parametrize("error", [3600, -3600])
def test_it_finds_a_clock_that_is_off_by_an_hour(error, time_server):
    time_server.error = -error

    found = problems(doctor.compare_clocks(time_server.address))

    way = "ahead of" if error > 0 else "behind"
    [text] = [text for text in found if "3,600" in text]
    assert text == f"The clock of this machine is 3,600 seconds {way} {time_server.address}."
    assert found[text].state == FAILED


def test_a_right_clock_agrees_with_others(time_server):
    texts = [finding.text for finding in doctor.compare_clocks(time_server.address)]

    assert any("PostgreSQL, the broker" in text and time_server.address in text for text in texts)


def test_a_time_server_that_does_not_answer_is_left_out(monkeypatch):
    monkeypatch.setattr(doctor, "TIMEOUT", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        host, port = silent.getsockname()

        texts = [finding.text for finding in doctor.compare_clocks(f"{host}:{port}")]

    assert not any(f"{host}:{port}" in text for text in texts)


@pytest.fixture
def time_server():
    server = TimeServer()
    server.start()
    yield server
    server.socket.close()


class TimeServer(threading.Thread):
    """Answers SNTP requests with a time that is wrong by `error` seconds."""

    error = 0.0

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.socket.getsockname())

    def run(self):
        question, client = self.socket.recvfrom(48)
        now = time.time() + self.error + doctor.NTP_EPOCH
        self.socket.sendto(b"\x24" + bytes(39) + struct.pack("!II", int(now), int(now % 1 * 2**32)), client)


RECORDS = {"example.com": ["v=spf1 -all"], "_dmarc.example.com": ["v=DMARC1; p=none"], "_domainkey.example.com": [""]}


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("example.com", "example.com has no SPF"),
        ("_dmarc.example.com", "example.com has no DMARC"),
        ("_domainkey.example.com", "example.com may have no DKIM keys"),
    ],
)
def test_it_finds_missing_records_of_the_senders_domain(settings, monkeypatch, missing, said):
    settings.DEFAULT_FROM_EMAIL = "Foo <licenses@example.com>"
    monkeypatch.setattr(doctor, "_texts_in_dns", RECORDS.get)
    assert problems(doctor.check_mail_domain()) == {}
    monkeypatch.setattr(doctor, "_texts_in_dns", (RECORDS | {missing: []}).get)

    [(text, finding)] = problems(doctor.check_mail_domain()).items()

    assert said in text
    assert finding.state == WARNING
    assert finding.remedy


def test_it_says_that_dns_does_not_answer(settings, monkeypatch):
    def fail(*arguments, **options):
        raise dns.resolver.NoNameservers

    settings.DEFAULT_FROM_EMAIL = "licenses@example.com"
    monkeypatch.setattr(dns.resolver, "resolve", fail)

    assert all("DNS doesn’t answer" in text for text in problems(doctor.check_mail_domain()))


def test_it_finds_a_sender_without_a_domain(settings):
    settings.DEFAULT_FROM_EMAIL = "keywell@localhost"

    assert any("mail servers reject such a sender" in text for text in problems(doctor.check_mail_domain()))


def test_it_finds_what_else_answers_at_the_public_address(settings, live_server, monkeypatch):
    settings.BASE_URL = live_server.url
    assert problems(doctor.check_public_address()) == {}

    monkeypatch.setitem(doctor.LIVEZ, "status", "something else")

    assert any("Something else answers" in text for text in problems(doctor.check_public_address()))


def test_it_finds_a_public_address_that_does_not_answer(settings):
    settings.BASE_URL = "http://127.0.0.1:1"

    [text] = problems(doctor.check_public_address())

    assert "doesn’t answer from here" in text


def test_it_finds_settings_of_postgresql_that_make_lists_slow(monkeypatch):
    assert problems(doctor.check_postgresql()) == {}
    monkeypatch.setattr("runtime.health.MigrationExecutor.migration_plan", lambda self, targets: ["pools.0002"])
    monkeypatch.setattr(doctor, "POSTGRESQL_SETTINGS", {"jit": "on"})
    monkeypatch.setattr(doctor, "EXTENSIONS", {"postgis"})

    found = problems(doctor.check_postgresql())

    assert "Extensions are missing: postgis." in found
    assert any(text.startswith("Some migrations are not applied") for text in found)
    assert any(text.startswith("jit is off") for text in found)


def test_it_finds_that_backups_are_missing_or_old():
    assert "There has been none." in problems(check_backup())
    Backup.objects.create(made_at=timezone.now() - timedelta(days=3), path="/backups/1", size=1)
    assert any(text.startswith("The last one was made on") for text in problems(check_backup()))
    Backup.objects.create(made_at=timezone.now(), path="/backups/2", size=1)
    assert problems(check_backup()) == {}


def test_the_command_prints_problems_first_and_fails_with_them(settings, settings_file, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "TIMEOUT", 1)
    monkeypatch.setattr(doctor, "_texts_in_dns", lambda name: None)
    settings.DEFAULT_FROM_EMAIL = "keywell@localhost"

    with pytest.raises(SystemExit):
        call_command("doctor")

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed")
    assert lines[1].startswith("         → ")
    assert any(line.startswith("ok       Settings: Keywell") for line in lines)
