from pathlib import Path

import psycopg
from django.core.management.base import BaseCommand, CommandError

from runtime.backups import BackupError, back_up, remove_old
from runtime.kept_secrets import SecretsError, keep_secrets, read_passphrase


class Command(BaseCommand):
    help = (
        "Back up the database into a new folder inside FOLDER, while Keywell runs. Activation codes stay encrypted:"
        " keep the secrets, too, but elsewhere (--secrets)."
    )

    def add_arguments(self, parser):
        parser.add_argument("folder", type=Path)
        parser.add_argument("--keep", type=int, metavar="N", help="then delete all but the newest N backups")
        parser.add_argument(
            "--secrets", type=Path, metavar="FILE", help="write SECRET_KEY and VAULT_KEYS to a new file"
        )
        parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="encrypt the secrets with this")

    def handle(self, *, folder, keep, secrets, passphrase_file, **options):
        if keep is not None and keep < 1:
            raise CommandError("--keep needs a number from 1.")
        try:
            passphrase = read_passphrase(passphrase_file)
            path = back_up(folder)
            self.stdout.write(f"Backup written to {path}")
            if secrets:
                keep_secrets(secrets, passphrase)
                self.stdout.write(f"Secrets written to {secrets}")
        except (BackupError, SecretsError, OSError, psycopg.OperationalError) as error:
            raise CommandError(str(error)) from error
        for old in remove_old(folder, keep) if keep else []:
            self.stdout.write(f"Deleted {old}")
