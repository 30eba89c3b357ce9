"""Writes e-mails to files instead of sending them, for demos, and reads them for the mailbox."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser, BytesParser
from functools import cached_property
from heapq import nlargest
from pathlib import Path
from secrets import token_hex
from typing import Any

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend

SUFFIX = ".eml"
BACKEND = "outbound.mail_files.MailFolder"
# Bytes of a file that are read for a list.
MAX_HEADERS = 16 * 1024


class MailFolder(BaseEmailBackend):
    """Writes each e-mail to a file of its own in EMAIL_FILE_PATH, which only this user can read."""

    def __init__(self, *args: Any, file_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.folder = Path(file_path) if file_path else get_folder()

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for message in email_messages:
            self._write(message.message().as_bytes(linesep="\r\n"))
        return len(email_messages)

    def _write(self, content: bytes) -> None:
        # In the order of time, for the list. Hidden until it is complete.
        name = f"{time.time_ns():020d}-{token_hex(4)}"
        draft = self.folder / f".{name}"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            draft.rename(self.folder / f"{name}{SUFFIX}")
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def get_folder() -> Path:
    return Path(settings.EMAIL_FILE_PATH)  # type: ignore[misc]


def goes_to_files() -> bool:
    return bool(settings.EMAIL_BACKEND == BACKEND)


@dataclass(frozen=True)
class StoredEmail:
    name: str

    @property
    def path(self) -> Path:
        return get_folder() / f"{self.name}{SUFFIX}"

    @property
    def sent_at(self) -> datetime:
        return datetime.fromtimestamp(int(self.name.partition("-")[0]) / 1e9, UTC)

    @cached_property
    def headers(self) -> Message:
        with self.path.open("rb") as file:
            return BytesHeaderParser(policy=policy.default).parsebytes(file.read(MAX_HEADERS))

    @property
    def recipients(self) -> str:
        return _header(self.headers, "To")

    @property
    def subject(self) -> str:
        return _header(self.headers, "Subject")

    def read(self) -> EmailMessage:
        """Return the whole e-mail. Raises FileNotFoundError."""
        message: EmailMessage = BytesParser(policy=policy.default).parsebytes(self.path.read_bytes())
        return message

    def matches(self, words: str) -> bool:
        return words.lower() in f"{self.recipients} {self.subject}".lower()


def _header(headers: Message, name: str) -> str:
    try:
        return str(headers.get(name, ""))
    except (ValueError, IndexError):  # malformed
        return ""


def newest(limit: int, *, before: str = "") -> list[StoredEmail]:
    """Return the newest e-mails, below the name `before`. Reads the names of all files, and opens none."""
    return [StoredEmail(name) for name in nlargest(limit, (name for name in _names() if not before or name < before))]


def _names() -> Iterator[str]:
    try:
        with os.scandir(get_folder()) as files:
            for file in files:
                if file.name.endswith(SUFFIX) and not file.name.startswith("."):
                    yield file.name.removesuffix(SUFFIX)
    except FileNotFoundError:  # nothing was sent yet
        return
