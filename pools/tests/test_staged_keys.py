"""Keys that are kept from their preview until their import."""

import base64

import pytest
from django.db import connection

from pools import imports, uploads
from pools.imports import delete_staged_keys, import_keys
from pools.models import KeyImport
from pools.tests.factories import count_staged_keys, lose_staged_keys

KEYS = ["AAAA-BBBB-CCCC", "", "HERE", "ELSEWHERE", "{", "aaaa bbbb cccc", "AAAA-BBBB-CCCC", "ÄÖÜ-1234-5678", "MOVED"]


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Treat every upload as a large one."""
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 0)


@pytest.fixture
def pool(make_pool):
    pool, other = make_pool(), make_pool()
    import_keys(pool, ["HERE", "here!"], actor="test")
    import_keys(other, ["ELSEWHERE", "MOVED"], actor="test")
    other.keys.filter(position=1).withdraw()
    return pool


def work_on(key_import):
    uploads.work_on(key_import.pk)
    key_import.refresh_from_db()
    return key_import


def preview(pool, keys=KEYS):
    return work_on(uploads.begin(pool, ["\n".join(keys).encode()], actor="test", options={"split": "lines"}))


def confirm(key_import):
    return work_on(uploads.confirm(key_import, actor="test"))


def stored(pool):
    keys = pool.keys.order_by("position")
    return [(key.position, key.code, key.fingerprint, key.loose_fingerprint, key.hint) for key in keys]


def numbers(key_import):
    return {name: value for name, value in key_import.preview.items() if name != "fixable"}


@pytest.fixture
def reading(monkeypatch):
    """The numbers of the lines that were read."""
    read = []
    take = imports._take

    def watch(lines, preview):
        texts, numbers = take(lines, preview)
        read.extend(numbers)
        return texts, numbers

    monkeypatch.setattr(imports, "_take", watch)
    return read


def test_an_import_uses_the_keys_of_its_preview(pool, reading):
    key_import = preview(pool)
    previewed = numbers(key_import)
    reading.clear()

    confirm(key_import)

    assert not reading
    assert key_import.status == KeyImport.Status.IMPORTED
    assert numbers(key_import) == previewed
    assert [key.code for key in key_import.batch.keys.order_by("position")] == [
        "AAAA-BBBB-CCCC",
        "aaaa bbbb cccc",
        "ÄÖÜ-1234-5678",
        "MOVED",
    ]


def test_an_import_that_lost_them_gives_the_same_result(pool, make_pool, reading):
    confirm(preview(pool))
    expected = stored(pool)[2:]
    pool.batches.latest("pk").keys.all().delete()
    reading.clear()

    key_import = preview(pool)
    previewed = numbers(key_import)
    lose_staged_keys()
    confirm(key_import)

    assert len(reading) == 2 * 7
    assert numbers(key_import) == previewed
    shift = stored(pool)[2][0] - expected[0][0]
    assert stored(pool)[2:] == [(position + shift, *rest) for position, *rest in expected]


def test_an_import_doesnt_use_some_of_them(pool):
    key_import = preview(pool)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM pools_stagedkey WHERE place = 0")

    confirm(key_import)

    assert key_import.batch.keys.count() == 4


def test_keys_that_came_or_went_since_the_preview_count(pool, make_pool):
    other = make_pool()
    import_keys(other, ["LEAVES-SOON"], actor="test")
    key_import = preview(pool, ["COMES-SOON", "LEAVES-SOON", "NEW"])
    assert key_import.preview["new"] == 2
    import_keys(pool, ["COMES-SOON"], actor="test")
    other.keys.all().withdraw()

    confirm(key_import)

    assert [key.code for key in key_import.batch.keys.order_by("position")] == ["LEAVES-SOON", "NEW"]
    assert (key_import.preview["already_in_pool"]["count"], key_import.preview["new"]) == (1, 2)


def test_keys_are_encrypted_again_if_the_vault_key_has_changed(pool, settings):
    key_import = preview(pool)
    settings.VAULT_KEYS = [base64.b64encode(b"new key." * 4).decode(), *settings.VAULT_KEYS]
    confirm(key_import)

    settings.VAULT_KEYS = settings.VAULT_KEYS[:1]
    assert [key.code for key in key_import.batch.keys.order_by("position")][0] == KEYS[0]


def test_imports_keep_their_keys_apart(pool, make_pool):
    first, second = preview(pool, ["FIRST-1", "SAME"]), preview(make_pool(), ["SECOND-1", "SAME"])

    confirm(second)
    confirm(first)

    assert [key.code for key in second.batch.keys.order_by("position")] == ["SECOND-1", "SAME"]
    assert [key.code for key in first.batch.keys.order_by("position")] == ["FIRST-1"]


def test_reading_again_replaces_them(pool):
    key_import = preview(pool, ["AAAA+BBBB"])

    work_on(uploads.read_again(key_import, {"split": "separators", "separator": "+"}))

    assert count_staged_keys() == 2
    confirm(key_import)
    assert key_import.batch.key_count == 2


def test_small_uploads_keep_none(pool, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 1000)

    confirm(preview(pool))

    assert not count_staged_keys()


@pytest.mark.parametrize("end", [confirm, uploads.discard])
def test_the_sweep_deletes_them_when_the_import_has_ended(pool, end):
    key_import, other = preview(pool, ["ONE", "TWO"]), preview(pool, ["THREE"])
    delete_staged_keys()
    assert count_staged_keys() == 3

    end(key_import)
    delete_staged_keys()

    assert count_staged_keys() == 1
    assert list(KeyImport.objects.filter(is_staged=True)) == [other]


def test_they_are_deleted_with_the_import(pool):
    preview(pool).delete()

    assert not count_staged_keys()


def test_they_are_not_readable(pool):
    preview(pool, ["SECRET-KEY-1234"])

    with connection.cursor() as cursor:
        cursor.execute("SELECT code FROM pools_stagedkey")
        assert b"SECRET" not in bytes(cursor.fetchone()[0])
