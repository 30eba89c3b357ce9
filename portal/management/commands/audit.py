from collections.abc import Iterator

from django.core.management.base import BaseCommand
from django.db import connection

from orders.models import ActivationCode
from pools.models import LicenseKey
from vault.ciphers import DecryptionError
from vault.fingerprints import fingerprint

# Each rule with the query that names the rows that break it.
RULES = {
    "every batch holds as many keys as it brought": """
        SELECT 'batch ' || batch.id || ' of pool ' || batch.pool_id || ': brought ' || batch.key_count
            || ', holds ' || count(key.id)
        FROM pools_keybatch batch LEFT JOIN pools_licensekey key ON key.batch_id = batch.id
        GROUP BY batch.id HAVING count(key.id) <> CASE WHEN batch.undone_at IS NULL THEN batch.key_count ELSE 0 END
    """,
    "imported = available + issued + withdrawn, in every pool": """
        SELECT 'pool ' || pool.id || ': imported ' || coalesce(batches.imported, 0) || ', available '
            || coalesce(keys.available, 0) || ', issued ' || coalesce(keys.issued, 0) || ', withdrawn '
            || coalesce(keys.withdrawn, 0)
        FROM pools_licensepool pool
        LEFT JOIN (
            SELECT pool_id, sum(key_count) AS imported FROM pools_keybatch WHERE undone_at IS NULL GROUP BY pool_id
        ) batches ON batches.pool_id = pool.id
        LEFT JOIN (
            SELECT pool_id,
                count(*) FILTER (WHERE withdrawn_at IS NULL AND item_id IS NULL) AS available,
                count(*) FILTER (WHERE withdrawn_at IS NULL AND item_id IS NOT NULL) AS issued,
                count(*) FILTER (WHERE withdrawn_at IS NOT NULL) AS withdrawn
            FROM pools_licensekey GROUP BY pool_id
        ) keys ON keys.pool_id = pool.id
        WHERE coalesce(batches.imported, 0)
            <> coalesce(keys.available + keys.issued + keys.withdrawn, 0)
    """,
    "every available key can be reached from its pool": """
        SELECT 'key ' || key.id || ' of pool ' || pool.id || ': at position ' || key.position
            || ', while the search starts at ' || pool.head_hint || ' and new keys come in at ' || pool.next_position
        FROM pools_licensekey key JOIN pools_licensepool pool ON pool.id = key.pool_id
        WHERE key.item_id IS NULL AND key.withdrawn_at IS NULL AND NOT key.reserved
            AND (key.position < pool.head_hint OR key.position >= pool.next_position)
    """,
    "every issued key is the activation code of its unit": """
        SELECT 'key ' || key.id || ' of pool ' || key.pool_id || ': issued to unit ' || key.unit || ' of item '
            || key.item_id || CASE WHEN code.id IS NULL THEN ', which has no code'
            ELSE ', whose code ' || code.id || ' is another' END
        FROM pools_licensekey key
        LEFT JOIN orders_activationcode code ON code.item_id = key.item_id AND code.unit = key.unit
            AND code.withdrawn_at IS NULL
        WHERE key.item_id IS NOT NULL AND key.withdrawn_at IS NULL
            AND code.fingerprint IS DISTINCT FROM key.fingerprint
    """,
    "every activation code from a pool comes from exactly one key": """
        SELECT 'code ' || code.id || ' of item ' || code.item_id || ', unit ' || code.unit || ': '
            || count(key.id) || ' keys'
        FROM orders_activationcode code
        LEFT JOIN pools_licensekey key
            ON key.item_id = code.item_id AND key.unit = code.unit AND key.fingerprint = code.fingerprint
        WHERE code.source = 'pool' AND code.withdrawn_at IS NULL GROUP BY code.id HAVING count(key.id) <> 1
    """,
    "no license text of a pool was given out twice": """
        SELECT 'codes ' || string_agg(id::text, ', ' ORDER BY id) || ': the same text'
        FROM orders_activationcode WHERE source = 'pool' AND withdrawn_at IS NULL
        GROUP BY fingerprint HAVING count(*) > 1
    """,
    "a key goes to orders of its own merchant": """
        SELECT 'key ' || key.id || ': issued to order ' || ord.id || ' of another merchant'
        FROM pools_licensekey key
        JOIN pools_licensepool pool ON pool.id = key.pool_id
        JOIN orders_orderitem item ON item.id = key.item_id
        JOIN orders_order ord ON ord.id = item.order_id
        WHERE ord.merchant_id <> pool.merchant_id
    """,
    "the ledger says of every pool what its keys say": """
        SELECT 'pool ' || pool.id || ': ' || place || ', ' || coalesce(keys.count, 0) || ' keys, '
            || coalesce(ledger.count, 0) || ' by the ledger'
        FROM (SELECT id AS pool_id, id FROM pools_licensepool) pool
        CROSS JOIN unnest(ARRAY['available', 'reserved', 'issued', 'withdrawn']) AS place
        LEFT JOIN (
            SELECT pool_id, pools_place(item_id, withdrawn_at, reserved) AS place, count(*)
            FROM pools_licensekey GROUP BY 1, 2
        ) keys USING (pool_id, place)
        LEFT JOIN (
            SELECT pool_id, place, sum(CASE WHEN destination = place THEN count ELSE -count END) AS count
            FROM pools_keymovement, unnest(ARRAY[origin, destination]) AS place GROUP BY 1, 2
        ) ledger USING (pool_id, place)
        WHERE coalesce(keys.count, 0) <> coalesce(ledger.count, 0)
    """,
    "an item of an order is ours or not": """
        SELECT 'item ' || item.id || ' of order ' || item.order_id || ': is also kept as not ours'
        FROM orders_orderitem item JOIN orders_otheritem other USING (order_id, reference)
    """,
    "no item has a code for a unit it has not": """
        SELECT 'code ' || code.id || ': unit ' || code.unit || ' of item ' || item.id || ', which has '
            || item.units || ' units'
        FROM orders_activationcode code JOIN orders_orderitem item ON item.id = code.item_id
        WHERE code.unit > item.units
    """,
    "an item is done when all its units have codes, or the vendor sent them, and only then": """
        SELECT 'item ' || item.id || ' of order ' || item.order_id || ': ' || coalesce(work.status, 'no fulfillment')
            || ' with ' || count(code.id) || ' of ' || item.units || ' codes'
        FROM orders_orderitem item
        JOIN orders_order ord ON ord.id = item.order_id AND ord.status = 'paid'
        LEFT JOIN fulfillment_fulfillment work ON work.item_id = item.id
        LEFT JOIN orders_activationcode code ON code.item_id = item.id AND code.withdrawn_at IS NULL
        GROUP BY item.id, work.status, work.sent_by_vendor
        HAVING (count(code.id) >= item.units OR coalesce(work.sent_by_vendor, false))
            <> (coalesce(work.status, '') = 'done')
    """,
}


class Command(BaseCommand):
    help = (
        "Prove that no license was lost or given out twice: name every row that breaks a rule of conservation. "
        "Exit status 1 if there is any. All rules see the database at one moment; nothing has to stop for it."
    )

    def add_arguments(self, parser):
        parser.add_argument("--texts", action="store_true", help="decrypt every key and code, too (takes longer)")

    def handle(self, *, texts, **options):
        violations = 0
        for rule, rows in self._findings(texts):
            for row in rows:
                violations += 1
                self.stdout.write(f"{rule}: {row}")

        if violations:
            self.stderr.write(f"{violations} violation{'s' if violations > 1 else ''}")
            raise SystemExit(1)
        self.stdout.write(f"Clean: {len(RULES)} rules hold.")

    def _findings(self, texts: bool) -> Iterator[tuple[str, Iterator[str]]]:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                for rule, query in RULES.items():
                    cursor.execute(query)
                    yield rule, (row[0] for row in cursor.fetchall())
                if texts:
                    yield "every text can be read and has its fingerprint", unreadable_texts()
            finally:
                cursor.execute("ROLLBACK")


def unreadable_texts() -> Iterator[str]:
    for model in (LicenseKey, ActivationCode):
        # Read as bytes: the field itself would stop at the first that cannot be decrypted.
        with connection.chunked_cursor() as cursor:
            field = model._meta.get_field("code")
            names = ", ".join(["id", "code", "fingerprint", *field.bound_to])
            cursor.execute(f"SELECT {names} FROM {model._meta.db_table} ORDER BY id")  # noqa: S608
            for pk, code, stored, *owner in cursor:
                try:
                    sound = fingerprint(field.open(bytes(code), field.place(owner))) == bytes(stored)
                except DecryptionError as error:
                    yield f"{model._meta.verbose_name} {pk}: {error}"
                    continue
                if not sound:
                    yield f"{model._meta.verbose_name} {pk}: its fingerprint is another's"
