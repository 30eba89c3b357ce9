from collections.abc import Iterator

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import connection

from vault.ciphers import KEY_ID_LENGTH, encryption_key_id
from vault.fields import EncryptedField, EncryptedTextField


class Command(BaseCommand):
    help = (
        "Re-encrypt everything with the first of VAULT_KEYS, each value bound to its row. You can run this on a live"
        " system, stop it and start it again. When it finishes, remove the other keys from VAULT_KEYS."
    )

    def add_arguments(self, parser):
        parser.add_argument("--batch-size", type=int, default=1000, help="rows per transaction (default: %(default)s)")

    def handle(self, *, batch_size, **options):
        for field in encrypted_fields():
            # Binary values are parts of files, up to a megabyte each.
            is_text = isinstance(field, EncryptedTextField)
            count = sum(rotate(field, batch_size if is_text else max(1, batch_size // 100)))
            self.stdout.write(f"{field}: {count} values re-encrypted")


def encrypted_fields() -> list[EncryptedField]:
    return [
        field
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedField)
    ]


def rotate(field: EncryptedField, batch_size: int) -> Iterator[int]:
    """Re-encrypt a field's rows by primary key, one transaction per batch. Yields the size of each batch."""
    quote = connection.ops.quote_name
    meta = field.model._meta
    table, column, primary_key = quote(meta.db_table), quote(str(field.column)), quote(str(meta.pk.column))
    owner = "".join(f", {quote(name)}" for name in field.bound_to)
    last = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {primary_key}, {column}{owner} FROM {table}"  # noqa: S608 (names of our own tables)
                f" WHERE {primary_key} > %s AND substring({column} FROM 1 FOR {KEY_ID_LENGTH}) <> %s"
                f" ORDER BY {primary_key} LIMIT %s",
                [last, encryption_key_id(), batch_size],
            )
            rows = cursor.fetchall()
            if not rows:
                return

            last = rows[-1][0]
            keys, old = [row[0] for row in rows], [bytes(row[1]) for row in rows]
            places = [field.place(row[2:]) for row in rows]
            new = [field.seal(field.open(value, place), place) for value, place in zip(old, places, strict=True)]
            # A row that changed after we read it already has the new key.
            cursor.execute(
                f"UPDATE {table} SET {column} = fresh.new"  # noqa: S608
                " FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[]) AS fresh (pk, old, new)"
                f" WHERE {table}.{primary_key} = fresh.pk AND {table}.{column} = fresh.old",
                [keys, old, new],
            )
            yield cursor.rowcount
