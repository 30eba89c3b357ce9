from django.db import connection

from pools.imports import import_keys
from pools.models import LicensePool


def make_pool(merchant, keys=0, *, name="Pool", threshold=0):
    pool = LicensePool.objects.create(merchant=merchant, name=name, threshold=threshold)
    stock(pool, keys)
    pool.refresh_from_db()
    return pool


def stock(pool, count, prefix=None):
    """Import `count` new keys: POOL1-KEY-000001, ..."""
    prefix = prefix or f"POOL{pool.pk}-KEY-"
    first = pool.next_position + 1
    return import_keys(pool, [f"{prefix}{number:06}" for number in range(first, first + count)], actor="test")


def count_staged_keys():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pools_stagedkey")
        return cursor.fetchone()[0]


def lose_staged_keys():
    """What a crash of PostgreSQL does."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM pools_stagedkey")
