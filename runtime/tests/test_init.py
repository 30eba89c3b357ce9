"""`run.py init`: from an empty folder to an installation, at a terminal and without one."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import environ
import pytest
import requests

from runtime.configuration import Settings, read_settings_file
from runtime.init import network_settings, write_settings
from runtime.tests.installation import PROJECT, TIMEOUT, Keywell, wait_until
from runtime.tests.sink import Sink


class Installation(Keywell):
    """An installation with its own settings file."""

    result: subprocess.CompletedProcess[str]  # of `init`

    def __init__(self, var: Path) -> None:
        super().__init__(var)
        self.settings = var.with_name("settings.env")
        self.address = f"http://localhost:{self.port}"

    def environment(self, **settings: str) -> dict[str, str]:
        return super().environment(**{"KEYWELL_ENV": str(self.settings)} | settings)

    def options(self, sink: Sink, **changes: str) -> list[str]:
        options = {
            "address": self.address,
            "email-url": f"smtp://127.0.0.1:{sink.port}",
            "sender": "licenses@example.com",
            "staff": "ada@example.com",
            "company": "Foo & Söhne",
        }
        return [text for name, value in (options | changes).items() if value for text in (f"--{name}", value)]


@pytest.fixture(scope="module")
def initialized(tmp_path_factory, sink):
    installation = Installation(tmp_path_factory.mktemp("init") / "var")
    installation.result = installation.run("init", *installation.options(sink), "--no-start")
    return installation


@pytest.fixture
def empty(tmp_path):
    return Installation(tmp_path / "var")


@pytest.mark.installation
def test_it_writes_the_settings_for_their_owner_only(initialized):
    assert initialized.result.returncode == 0, initialized.result.stderr
    text = initialized.settings.read_text()

    assert initialized.settings.stat().st_mode & 0o777 == 0o600
    assert {"BASE_URL", "SECRET_KEY", "VAULT_KEYS", "EMAIL_URL", "DEFAULT_FROM_EMAIL"} <= set(
        re.findall(r"^([A-Z_]+)=.", text, re.MULTILINE)
    )


@pytest.mark.installation
def test_it_sends_a_test_email_and_the_owners_invitation(initialized, sink):
    texts = sink.texts("ada@example.com")

    assert any(initialized.address in text and "can send e-mails" in text for text in texts)
    assert any("/invitations/" in text for text in texts)


@pytest.mark.installation
def test_its_owner_gets_to_the_first_real_license(initialized, sink):
    """With what was printed and e-mailed, and nothing else, as docs/installing.md describes it."""
    [key] = re.findall(r"\bkw_[0-9a-f]{8}_[0-9a-f]{48}\b", initialized.result.stdout)
    [password_link] = re.findall(r"http\S+/password/reset/key/\S+", initialized.result.stdout)
    initialized.start()
    try:
        assert "This is a demo" not in initialized.printed()
        assert not (initialized.var / "demo.env").exists()
        staff = Visitor(password_link)
        staff.submit(password1="battery staple 1", password2="battery staple 1")

        invitation = re.search(r"http\S+/invitations/\S+", "".join(sink.texts("ada@example.com")))
        assert invitation
        owner = Visitor(f"{initialized.address}/accounts/login/")
        owner.submit(login="ada@example.com", password="battery staple 1")
        owner.open(invitation[0])
        owner.submit()
        assert "Welcome to Foo &amp; Söhne! Your role: Owner." in owner.page
        owner.open(f"{initialized.address}/products/add/")
        owner.submit(name="Photo Pro", sku="PHOTO-PRO", pool="new", text="AAAA-1\nBBBB-2", quantity_rule="unit")
        assert "Product added with 2 keys." in owner.page

        answer = requests.post(
            f"{initialized.address}/api/v1/payments/",
            json={
                "order": "A-1",
                "paid_at": "2026-11-30T10:00:00Z",
                "currency": "EUR",
                "customer": {"email": "bob@example.com", "first_name": "Bob", "last_name": "Roe"},
                "items": [{"item": "1", "product": "PHOTO-PRO", "quantity": 1, "total_price": "29.99"}],
            },
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT,
        )
        assert answer.status_code == 201, answer.text
        wait_until(lambda: any("AAAA-1" in text for text in sink.texts("bob@example.com")))
    finally:
        initialized.stop()


class Visitor:
    """Opens pages and submits their main form, with cookies, as a browser does."""

    def __init__(self, url: str) -> None:
        self.session = requests.Session()
        self.open(url)

    def open(self, url: str) -> None:
        self._read(self.session.get(url, timeout=TIMEOUT))

    def submit(self, **fields: str) -> None:
        [token, *_] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', self.page)
        data = {"csrfmiddlewaretoken": token} | fields
        self._read(self.session.post(self.url, data, headers={"Referer": self.url}, timeout=TIMEOUT))

    def _read(self, answer: requests.Response) -> None:
        assert answer.status_code == 200, f"{answer.url}: {answer.status_code}"
        self.url, self.page = answer.url, answer.text


@pytest.mark.installation
def test_a_second_run_keeps_settings_and_accounts(initialized, sink):
    before = initialized.settings.read_text()

    second = initialized.run("init", *initialized.options(sink), "--no-start")

    assert second.returncode == 0, second.stderr
    assert initialized.settings.read_text() == before
    assert "Keeping the administrators" in second.stdout
    assert "Keeping the merchants" in second.stdout
    assert "kw_" not in second.stdout


@pytest.mark.installation
def test_without_its_settings_an_installation_does_not_become_a_demo(initialized):
    start = initialized.run(KEYWELL_ENV=os.devnull)

    assert start.returncode == 1
    assert "its settings are missing" in start.stderr
    assert not (initialized.var / "demo.env").exists()


@pytest.mark.installation
def test_another_vault_key_is_refused_by_its_id(initialized):
    start = initialized.run(VAULT_KEYS="eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=")

    assert start.returncode == 1
    assert re.search(r"VAULT_KEYS doesn't contain the key [0-9a-f]{8}, but 4270c5cb\.", start.stderr)


@pytest.mark.installation
def test_without_a_mail_server_it_does_not_start(initialized):
    text = initialized.settings.read_text()
    other = initialized.settings.with_name("without-mail.env")
    other.write_text(re.sub(r"^EMAIL_URL=.*\n", "EMIAL_URL=smtp://x\n", text, flags=re.MULTILINE))

    start = initialized.run(KEYWELL_ENV=str(other))

    assert start.returncode == 1
    assert "Missing settings: EMAIL_URL or ANYMAIL_ESP" in start.stderr
    assert "EMIAL_URL. Did you mean EMAIL_URL?" in start.stderr


@pytest.mark.installation
def test_without_a_broker_it_serves_and_says_what_waits(initialized):
    initialized.start(BROKER_URL="redis://127.0.0.1:1")
    try:
        answer = requests.get(f"{initialized.address}/readyz", timeout=TIMEOUT)
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "worker waits: the broker (BROKER_URL) doesn't answer" in initialized.printed()
    finally:
        initialized.stop()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"address": ""}, "--address is missing"),
        ({"address": "keys.example.com"}, "isn’t an address such as https://keys.example.com"),
        ({"address": "https://keys.example.com/shop"}, "isn’t an address such as https://keys.example.com"),
        ({"address": "https://keywell.invalid"}, "DNS has no address for keywell.invalid"),
        ({"email-url": ""}, "--email-url is missing"),
        ({"address": "http://localhost\n:8000"}, "BASE_URL has several lines"),
        ({"email-url": "smtp://eve:secret@127.0.0.1:1"}, "Connection refused (127.0.0.1:1)"),
        ({"email-url": "imap://127.0.0.1"}, "EMAIL_URL must be like smtp+tls"),
        ({"sender": "nobody"}, "“nobody” isn’t an e-mail address"),
        ({"staff": ""}, "--staff is missing"),
        ({"language": "xx"}, "argument --language: invalid choice: 'xx'"),
        ({"address": "http://localhost\n:8000"}, "BASE_URL has several lines"),
        ({"email-url": "smtp://127.0.0.1\nDJANGO_DEBUG=on"}, "EMAIL_URL has several lines"),
        ({"company": " "}, "A name has 1 to 200 visible characters"),
        ({"company": "North\u200blight"}, "A name has 1 to 200 visible characters"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_nothing_is_written_when_an_answer_is_wrong(empty, sink, wrong, said):
    result = empty.run("init", *empty.options(sink, **wrong), "--no-start")

    assert result.returncode
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not empty.settings.exists()
    assert not empty.var.exists()


VALUES = ["a b", "$a$b", "a#b #c", "'x'", '"x"', r"'a\n'", r'"\"\\"', "x'", " x ", "a=b", "é", "'"]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The settings file, and an environment without settings to read it into."""
    path = tmp_path / ".env"
    monkeypatch.setattr(os, "environ", {"KEYWELL_ENV": str(path)})
    monkeypatch.setattr(environ.Env, "ENVIRON", os.environ)
    return path


@pytest.mark.parametrize("value", VALUES)
def test_what_it_writes_is_read_back_as_it_was(written, value):
    write_settings({"SECRET_KEY": value})
    read_settings_file()

    assert Settings()("SECRET_KEY") == value


def test_it_completes_settings_without_changing_them(written):
    """An empty setting is missing; the last line may have no end."""
    written.write_text("EMAIL_URL=\nHOST = ::1\nVAULT_KEYS=abc")
    written.chmod(0o644)
    write_settings({"EMAIL_URL": "smtp://localhost", "HOST": "::1", "VAULT_KEYS": "other"})
    read_settings_file()

    assert written.read_text().startswith("EMAIL_URL=\nHOST = ::1\nVAULT_KEYS=abc\n")
    assert [os.environ[name] for name in ("EMAIL_URL", "HOST", "VAULT_KEYS")] == ["smtp://localhost", "::1", "abc"]
    assert written.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("http://localhost:8001", "127.0.0.1", "8001"),
        ("http://[::1]:8001", "::1", "8001"),
        ("http://keys.example", "0.0.0.0", "80"),  # noqa: S104
        ("https://keys.example:8443", "127.0.0.1", "8000"),
    ],
)
def test_it_listens_where_the_address_leads(address, host, port):
    settings = network_settings(address)

    assert (settings["HOST"], settings["PORT"]) == (host, port)


def test_a_port_in_use_is_named(empty, sink):
    empty.port = sink.port

    result = empty.run("init", *empty.options(sink), "--no-start")

    assert result.returncode == 1
    assert f"Cannot listen on port {sink.port}" in result.stderr
    assert not empty.settings.exists()


@pytest.mark.installation
def test_at_a_terminal_it_asks_again_until_an_answer_is_right(empty, sink):
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "run.py", "init", "--no-start", "--company", "Foo"],
        cwd=PROJECT,
        env=empty.environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = ""

    def answer(question: str, text: str) -> None:
        nonlocal shown
        while question not in shown:
            shown += os.read(main, 4096).decode()
        shown = shown.partition(question)[2]
        os.write(main, f"{text}\n".encode())

    answer("Public address", "nonsense")
    answer("isn’t an address", "")
    answer("Public address", empty.address)
    answer("first administrator", "ada@example.com")
    answer("Sender of all e-mails", "licenses@example.com")
    answer("Mail server", "127.0.0.1:1")
    answer("User at the mail server", "")
    answer("Keep it anyway?", "n")
    answer("Mail server", f"smtp://127.0.0.1:{sink.port}")
    answer("its owner", "")
    while True:
        try:
            shown += os.read(main, 4096).decode()
        except OSError:  # the terminal is closed at the end
            break
    assert process.wait(TIMEOUT) == 0, shown
    assert f"EMAIL_URL=smtp://127.0.0.1:{sink.port}\n" in empty.settings.read_text()
    wait_until(lambda: "kw_" in shown)
