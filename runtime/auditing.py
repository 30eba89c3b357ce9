"""Proves that no license was lost or given out twice: for a person at the terminal, and every night."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from itertools import islice

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from merchants.models import User
from orders.models import ActivationCode
from outbound.mail import compose_plain, send_email
from pools.models import LicenseKey
from pools.reconciliation import Balance, Places, balance
from runtime.models import AuditRun
from vault.ciphers import DecryptionError
from vault.fingerprints import fingerprint
from work.locks import advisory_lock
from work.models import IMPORTS, database_now, publish

logger = logging.getLogger(__name__)

# The hours of the night, in UTC, in which the audit may begin.
NIGHT = range(2, 6)
MAX_FINDINGS = 10_000


def find_unbalanced(balances: list[Balance]) -> Iterator[str]:
    for pool in balances:
        if not pool.is_complete:
            counts = ", ".join(f"{place} {count}" for place, count in asdict(pool.keys).items())
            yield f"pool {pool.pool_id}: imported {pool.imported}, {counts}"


def find_unrecorded(balances: list[Balance]) -> Iterator[str]:
    for pool in balances:
        yield from find_differences(pool, pool.ledger, "by the ledger")


def find_miscounted(balances: list[Balance]) -> Iterator[str]:
    for pool in balances:
        yield from find_differences(pool, pool.shown, "on pages")


def find_differences(pool: Balance, places: Places, source: str) -> Iterator[str]:
    other = asdict(places)
    for place, count in asdict(pool.keys).items():
        if count != other[place]:
            yield f"pool {pool.pool_id}: {place}, {count} keys, {other[place]} {source}"


# Each rule with a query or function that returns the rows that break it.
RULES: dict[str, str | Callable[[list[Balance]], Iterator[str]]] = {
    "every batch holds as many keys as it imported": """
        SELECT 'batch ' || batch.id || ' of pool ' || batch.pool_id || ': brought ' || batch.key_count
            || ', holds ' || count(key.id)
        FROM pools_keybatch batch LEFT JOIN pools_licensekey key ON key.batch_id = batch.id
        GROUP BY batch.id HAVING count(key.id) <> CASE WHEN batch.undone_at IS NULL THEN batch.key_count ELSE 0 END
    """,
    "imported = available + reserved + issued + withdrawn, in every pool": find_unbalanced,
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
    "no license text of a pool was issued twice": """
        SELECT 'codes ' || string_agg(id::text, ', ' ORDER BY id) || ': the same text'
        FROM orders_activationcode WHERE source = 'pool' AND withdrawn_at IS NULL
        GROUP BY fingerprint HAVING count(*) > 1
    """,
    "a key is issued only to orders of its own merchant": """
        SELECT 'key ' || key.id || ': issued to order ' || ord.id || ' of another merchant'
        FROM pools_licensekey key
        JOIN pools_licensepool pool ON pool.id = key.pool_id
        JOIN orders_orderitem item ON item.id = key.item_id
        JOIN orders_order ord ON ord.id = item.order_id
        WHERE ord.merchant_id <> pool.merchant_id
    """,
    "the ledger and the keys agree for every pool": find_unrecorded,
    "pages show the number of keys that there are, for every pool": find_miscounted,
    "the stock changes of every pool add up to its ledger": """
        SELECT 'pool ' || pool_id || ': ' || changes.added || ' added and ' || changes.sold || ' sold, by the ledger '
            || ledger.added || ' and ' || ledger.sold
        FROM (
            SELECT pool_id, sum(added) AS added, sum(sold) AS sold FROM pools_stockchange GROUP BY pool_id
        ) changes FULL JOIN (
            SELECT pool_id, coalesce(sum(count) FILTER (WHERE destination = 'available'), 0) AS added,
                coalesce(sum(count) FILTER (WHERE origin = 'available' AND destination = 'issued'), 0) AS sold
            FROM pools_keymovement GROUP BY pool_id
        ) ledger USING (pool_id)
        WHERE (changes.added, changes.sold) IS DISTINCT FROM (ledger.added, ledger.sold)
    """,
    "an item of an order is ours or not": """
        SELECT 'item ' || item.id || ' of order ' || item.order_id || ': is also kept as not ours'
        FROM orders_orderitem item JOIN orders_otheritem other USING (order_id, reference)
    """,
    "no item has a code for a unit that doesn't exist": """
        SELECT 'code ' || code.id || ': unit ' || code.unit || ' of item ' || item.id || ', which has '
            || item.units || ' units'
        FROM orders_activationcode code JOIN orders_orderitem item ON item.id = code.item_id
        WHERE code.unit > item.units
    """,
    "an item is done if and only if all its units have codes or the vendor sent them": """
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


def find_violations(*, texts: bool = False) -> Iterator[str]:
    """Yield a line for each row that breaks a rule. With `texts`, also decrypt every key and code.

    All rules see the same snapshot, and nothing is blocked.
    """
    for rule, rows in _check_rules(texts):
        for row in rows:
            yield f"{rule}: {row}"


def _check_rules(texts: bool) -> Iterator[tuple[str, Iterator[str]]]:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            balances = balance()
            for rule, query in RULES.items():
                if callable(query):
                    yield rule, query(balances)
                    continue
                cursor.execute(query)
                yield rule, (row[0] for row in cursor.fetchall())
            if texts:
                yield "every text can be decrypted and matches its fingerprint", unreadable_texts()
        finally:
            cursor.execute("ROLLBACK")


def unreadable_texts() -> Iterator[str]:
    for model in (LicenseKey, ActivationCode):
        # Read as bytes: the field would raise at the first row that can't be decrypted.
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
                    yield f"{model._meta.verbose_name} {pk}: its fingerprint doesn't match"


# Every night


def begin() -> None:
    """Once a night, add a run. Queue the runs that aren't done, so that one whose worker died starts over."""
    now = database_now()
    if now.hour in NIGHT:
        AuditRun.objects.bulk_create([AuditRun(night=now.date())], ignore_conflicts=True)
    for run in AuditRun.objects.open():
        publish(AuditRun.TASK, run.pk, queue=IMPORTS)


def work_on(pk: int) -> None:
    """Audit, and e-mail what was found to support staff. Does nothing while another worker is auditing."""
    with advisory_lock("audit", 0) as locked:
        run = AuditRun.objects.open().filter(pk=pk).first() if locked else None
        if run is None:
            return
        if run.ended_at is None:
            _examine(run)
        if run.findings and not run.repeats():
            _notify_staff(run)
        run.update(done_at=Now())


def _examine(run: AuditRun) -> None:
    findings = sorted(islice(find_violations(), MAX_FINDINGS))
    digest = sha256("\n".join(findings).encode()).hexdigest() if findings else ""
    run.update(findings=findings[: AuditRun.MAX_SHOWN], count=len(findings), digest=digest, ended_at=Now())
    logger.info("The nightly audit found %s violations", len(findings))


def _notify_staff(run: AuditRun) -> None:
    recipients = settings.SUPPORT_EMAIL or list(
        User.objects.filter(is_superuser=True, is_active=True).values_list("email", flat=True)
    )
    if not recipients:
        logger.warning("Nobody can be notified of the audit’s findings: set SUPPORT_EMAIL")
        return
    with send_email(compose_plain("emails/audit.txt", recipients, {"run": run})):
        pass
