from time import sleep
from typing import Any

from django.core.management.commands import migrate
from django.db import OperationalError
from psycopg.errors import LockNotAvailable

# Seconds in which payments catch up before the next attempt.
PAUSE = 10


class Command(migrate.Command):
    """Lets payments pass while something else, such as a backup, uses a table that a migration changes."""

    def handle(self, *args: Any, **options: Any) -> None:
        while True:
            try:
                super().handle(*args, **options)
                return
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
            self.stderr.write(
                f"Something uses the table, such as a backup or an export. The next attempt is in {PAUSE} seconds."
            )
            sleep(PAUSE)
