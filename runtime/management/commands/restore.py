from pathlib import Path

import psycopg
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from runtime.backups import BackupError, restore


class Command(BaseCommand):
    help = "Restore a backup of `manage backup`. Stop Keywell first. Nothing is written unless the backup fits."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("backup", type=Path, help="the folder with manifest.json")
        parser.add_argument("--replace", action="store_true", help="delete what is in the database now")

    def handle(self, *, backup, replace, **options):
        try:
            manifest = restore(backup, replace=replace)
        except (BackupError, psycopg.OperationalError) as error:
            raise CommandError(str(error)) from error
        call_command("migrate", interactive=False, verbosity=0)
        rows = ", ".join(
            f"{count} {apps.get_model(name)._meta.verbose_name_plural}" for name, count in manifest["rows"].items()
        )
        self.stdout.write(f"Restored the backup of {manifest['made_at']}: {rows}.")
        self.stdout.write(
            "Check it with `manage audit --texts`. E-mails that waited at that time are sent after the start."
        )
