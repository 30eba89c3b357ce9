"""E-mails that are written to files: one file each, complete, and readable only by us."""

import errno
import os
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives, get_connection

from outbound import mail_files
from outbound.mail import MailError, send_email
from outbound.mail_files import MailFolder, newest


@pytest.fixture
def folder(settings, tmp_path):
    settings.EMAIL_BACKEND = mail_files.BACKEND
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    return tmp_path / "mail"


def make_message(subject="Your license", to="ada@example.com"):
    message = EmailMultiAlternatives(subject, "Text", "shop@example.com", [to], headers={"Message-ID": "<1@shop>"})
    message.attach_alternative("<p>Text</p>", "text/html")
    return message


def send(*messages):
    for message in messages:
        with send_email(message):
            pass


def test_each_email_is_a_file_that_others_cannot_read(folder):
    send(make_message("First"), make_message("Second"))

    files = sorted(folder.iterdir())
    assert [path.suffix for path in files] == [".eml", ".eml"]
    assert [path.stat().st_mode & 0o777 for path in (folder, *files)] == [0o700, 0o600, 0o600]
    assert [email.subject for email in newest(10)] == ["Second", "First"]


def test_it_is_the_email_that_would_have_been_sent(folder):
    send(make_message("Ünïcödé", "ada@example.com"))
    [email] = newest(1)
    message: Any = email.read()

    assert (email.subject, email.recipients) == ("Ünïcödé", "ada@example.com")
    assert message.get_body(("html",)).get_content() == "<p>Text</p>"
    assert message["Message-ID"] == "<1@shop>"


def test_pages_continue_after_the_last_one(folder):
    send(*(make_message(f"Number {number}") for number in range(5)))
    first = newest(2)
    second = newest(2, before=first[-1].name)

    assert [email.subject for email in first + second] == ["Number 4", "Number 3", "Number 2", "Number 1"]


def test_a_full_disk_leaves_no_half_email_and_the_email_is_retried(folder, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mail_files.Path, "rename", fail)
    with pytest.raises(MailError):
        send(make_message())

    assert list(folder.iterdir()) == []


def test_a_list_opens_only_what_it_shows(folder, monkeypatch):
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:020d}-00000000.eml").touch()
    monkeypatch.setattr(mail_files.Path, "open", lambda *_: pytest.fail("opened a file"))

    assert [email.name for email in newest(2)] == [f"{number:020d}-00000000" for number in (1999, 1998)]


def test_without_a_folder_there_are_no_emails(folder):
    assert newest(10) == []


def test_the_settings_choose_it(settings):
    assert isinstance(get_connection(mail_files.BACKEND, file_path="/nowhere"), MailFolder)
