import pytest
from django.db import transaction

from pools.detection import parse_keys
from pools.imports import import_keys, preview_keys
from pools.models import KeyBatch, LicenseKey
from pools.reading import MAX_KEY_LENGTH, KeyFileError, KeyLine
from pools.tests.factories import stock
from pools.uploads import begin


def codes(pool):
    return [key.code for key in pool.keys.order_by("position")]


@pytest.mark.parametrize(
    "content", [b"AAAA\nBBBB\n", b"AAAA\r\nBBBB", b"\xef\xbb\xbfAAAA\n\n  BBBB  \n", b"AAAA\rBBBB"]
)
def test_it_reads_one_key_per_line(content):
    assert parse_keys(content) == ["AAAA", "BBBB"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"AAAA\n\xff\xfe\n", {2: "isn’t UTF-8 text"}),
        (b"AA\0AA\nBBBB", {1: "contains a NUL character"}),
        (b"AAAA\n" + b"B" * (MAX_KEY_LENGTH + 1), {2: f"is longer than {MAX_KEY_LENGTH} characters"}),
    ],
)
def test_it_reports_every_line_that_is_not_a_key(content, lines):
    with pytest.raises(KeyFileError) as caught:
        parse_keys(content)

    assert caught.value.lines == lines


def test_it_stops_reading_a_file_that_is_not_a_list_of_keys():
    with pytest.raises(KeyFileError) as caught:
        parse_keys(b"\xff\n" * 1_000_000)

    assert len(caught.value.lines) == 100


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_it_rejects_a_file_without_keys(content):
    with pytest.raises(KeyFileError, match="no license keys"):
        parse_keys(content)


def test_it_keeps_the_order_of_the_file(make_pool):
    pool = make_pool()

    result = import_keys(pool, ["C", "A", "B"], actor="Max", file_name="keys.txt")

    assert codes(pool) == ["C", "A", "B"]
    batch = pool.batches.get()
    assert result.batch == batch
    assert (result.imported, batch.key_count, batch.imported_by, batch.file_name) == (3, 3, "Max", "keys.txt")


def test_it_skips_keys_that_the_merchant_already_has(make_pool):
    pool, other = make_pool(), make_pool()
    import_keys(other, ["ELSEWHERE", "WITHDRAWN"], actor="test")
    other.keys.filter(position=1).withdraw()
    import_keys(pool, ["HERE"], actor="test")

    result = import_keys(pool, ["NEW", "NEW", "HERE", "ELSEWHERE", "WITHDRAWN"], actor="test")

    assert codes(pool) == ["HERE", "NEW", "WITHDRAWN"]
    assert (result.imported, *result.preview.left_out.values()) == (2, 1, 1, 1, 0)


def test_it_ignores_the_keys_of_other_merchants(make_pool, outsider):
    import_keys(make_pool(merchant=outsider), ["SAME"], actor="test")

    assert import_keys(make_pool(), ["SAME"], actor="test").imported == 1


def test_an_import_without_new_keys_creates_no_batch(make_pool):
    pool = make_pool(1)

    result = stock(pool, 0)

    assert result.batch is None
    assert KeyBatch.objects.count() == 1


def test_a_failure_halfway_imports_nothing(make_pool, monkeypatch):
    pool = make_pool(2)
    monkeypatch.setattr("pools.imports.rearm", lambda pool: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        stock(pool, 3)

    pool.refresh_from_db()
    assert LicenseKey.objects.count() == pool.next_position == 2


@pytest.mark.django_db(transaction=True)
def test_importing_one_file_into_two_pools_concurrently_fills_only_one(make_pool, in_threads):
    keys = [f"KEY-{number}" for number in range(2000)]

    results = in_threads(lambda pool: import_keys(pool, keys, actor="test"), [make_pool(), make_pool()], threads=2)

    assert sorted(result.imported for result in results) == [0, 2000]


@pytest.mark.django_db(transaction=True)
def test_concurrent_imports_neither_lose_nor_duplicate_keys(make_pool, in_threads):
    pool = make_pool()
    files = [[f"KEY-{number}" for number in range(start, start + 30)] for start in range(0, 100, 10)]

    in_threads(lambda keys: import_keys(pool, keys, actor="test"), files, threads=5)

    positions = set(pool.keys.values_list("position", flat=True))
    assert len(positions) == LicenseKey.objects.count() == 120
    assert pool.keys.values("position").distinct().count() == 120


def test_it_discards_the_oldest_of_too_many_unconfirmed_imports(make_pool, monkeypatch):
    monkeypatch.setattr("pools.uploads.MAX_READY", 2)
    pool = make_pool()

    first, *others = [begin(pool, [f"KEY-{number}".encode()], actor="Max") for number in range(3)]

    first.refresh_from_db()
    assert (first.status, first.parts.count()) == ("discarded", 0)
    assert {other.status for other in others} == {"ready"}


def test_keys_on_one_line_keep_their_order_and_are_imported_once(make_pool):
    pool = make_pool()

    begin(
        pool, [b"AAAA+BBBB+AAAA+CCCC"], actor="Max", options={"split": "separators", "separator": "+"}, confirmed=True
    )

    assert codes(pool) == ["AAAA", "BBBB", "CCCC"]
    assert (pool.batches.get().key_count, pool.batches.get().repeated) == (3, 1)


def test_a_preview_tells_repeated_keys_from_similar_ones(db):
    keys = ["A-1", "a 1", "A-1", "--", "--", "__", "B-2", "A1!", "a 1", "--"]

    with transaction.atomic():
        preview = preview_keys(None, [KeyLine(number, key) for number, key in enumerate(keys, start=1)])

    assert (preview.repeated.count, preview.repeated.numbers) == (4, [3, 5, 9, 10])
    assert (preview.similar.count, preview.similar.numbers) == (2, [2, 8])
    assert (preview.keys, preview.new) == (10, 6)
