"""Keeps the log files of services small, while their processes go on writing."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from runtime.configuration import Settings

MEBIBYTE = 1024 * 1024
COPY_SIZE = 1 * MEBIBYTE


@dataclass(frozen=True)
class LogRotation:
    """When a log has `max_bytes`, its end is copied to `NAME.1` and the log is emptied.

    `files` such copies are kept; `NAME.1` is the newest.

    Several processes have inherited the open file and can't open another one. They append to it, so what they write
    next is at its beginning.
    """

    max_bytes: int = 20 * MEBIBYTE
    files: int = 5

    @classmethod
    def from_settings(cls) -> Self:
        """Raises ImproperlyConfigured."""
        env = Settings()
        size = env.number("LOG_FILE_MB", default=cls.max_bytes // MEBIBYTE, minimum=1)
        return cls(size * MEBIBYTE, env.number("LOG_FILES", default=cls.files))

    def rotate(self, log: Path) -> None:
        """Rotate the log if it is full. Never raises an OSError: logs must not stop a service."""
        with contextlib.suppress(OSError):
            if log.stat().st_size >= self.max_bytes:
                self._rotate(log)

    def _rotate(self, log: Path) -> None:
        if self.files:
            self._path(log, self.files).unlink(missing_ok=True)
        for number in range(self.files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._path(log, number).rename(self._path(log, number + 1))
        with log.open("r+b") as source:
            if self.files:
                self._copy(source.fileno(), self._path(log, 1))
            source.truncate(0)

    def _copy(self, source: int, target: Path) -> None:
        try:
            with target.open("xb") as copy:
                target.chmod(0o600)
                os.lseek(source, max(0, os.fstat(source).st_size - 2 * self.max_bytes), os.SEEK_SET)
                # Until nothing was added meanwhile. A line that comes before the log is emptied is lost.
                while copy.tell() <= 4 * self.max_bytes and (piece := os.read(source, COPY_SIZE)):
                    copy.write(piece)
        except OSError:
            # The disk is full. The log is emptied all the same: room matters more.
            target.unlink(missing_ok=True)

    def _path(self, log: Path, number: int) -> Path:
        return log.with_name(f"{log.name}.{number}")
