import gzip
import io

import pytest
from django.core.management import CommandError, call_command

from pools.models import KeyImport, KeyImportPart, LicenseKey
from pools.sandbox import add_test_pools


@pytest.fixture
def write_file(tmp_path):
    def write(content, name="keys.txt"):
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


@pytest.fixture(params=[True, False], ids=["synchronous", "in a worker"])
def sync_or_worker(request, monkeypatch):
    """Run the test twice: with a file short enough to import right away, and with one for a worker."""
    if not request.param:
        monkeypatch.setattr("pools.uploads.MAX_SYNCHRONOUS", 0)


def run(*arguments, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command("import_keys", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue()


def test_it_imports_a_file_and_reports_the_result(make_pool, write_file, sync_or_worker):
    pool = make_pool(name="Photo Pro")

    output = run("Photo Pro", write_file(b"AAAA\nAAAA\nBBBB\n"), "--note", "Spring")

    assert "3 keys, 2 new." in output and "repeated: 1 (line 2)" in output and "Imported 2 keys" in output
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA", "BBBB"]
    batch = pool.batches.get()
    assert (batch.file_name, batch.note, batch.imported_by) == ("keys.txt", "Spring", "import_keys")
    assert "AAAA" not in output


def test_it_reads_standard_input_with_the_given_options(make_pool, monkeypatch):
    pool = make_pool()
    content = gzip.compress("Имя|Код\nАда|КЛЮЧ-1".encode("cp1251"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    run(str(pool.pk), "-", "--format", "csv", "--encoding", "windows-1251", "--column", "2", "--header", "yes")

    assert pool.keys.get().code == "КЛЮЧ-1"


def test_a_dry_run_changes_nothing(make_pool, write_file):
    pool = make_pool()

    assert "1 keys, 1 new" in run(str(pool.pk), write_file(b"AAAA"), "--dry-run")

    assert not LicenseKey.objects.exists() and not KeyImportPart.objects.exists()


def test_it_reports_a_bad_line_and_imports_nothing(make_pool, write_file, capsys, sync_or_worker):
    pool, path = make_pool(), write_file(b"AAAA\nB\0B\n")
    err = io.StringIO()

    with pytest.raises(CommandError, match="some lines aren’t license keys"):
        call_command("import_keys", str(pool.pk), path, stdout=io.StringIO(), stderr=err)

    assert err.getvalue() == "Line 2 contains a NUL character.\n"
    assert not LicenseKey.objects.exists() and KeyImport.objects.get().status == "discarded"

    run(str(pool.pk), path, "--skip-bad-lines")
    assert pool.keys.get().code == "AAAA"


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7"])
def test_a_file_without_keys_is_an_error(make_pool, write_file, content):
    with pytest.raises(CommandError, match="Nothing was imported. (No license keys found|This is a PDF)"):
        run(str(make_pool().pk), write_file(content))


def test_a_name_means_the_live_pool_and_never_its_test_pool(make_pool, sandbox, write_file):
    pool = make_pool(name="Photo Pro")
    add_test_pools(sandbox)

    run("Photo Pro", write_file(b"AAAA\n"))
    run("Photo Pro", write_file(b"BBBB\n"), "--merchant", sandbox.slug)

    assert [key.code for key in pool.keys.all()] == ["AAAA"]
    assert [key.code for key in pool.test_pool.keys.all()] == ["BBBB"]


def test_it_asks_for_the_merchant_when_the_pool_name_is_ambiguous(make_pool, outsider, write_file):
    make_pool(name="Photo Pro")
    pool = make_pool(name="Photo Pro", merchant=outsider)

    with pytest.raises(CommandError, match="Several merchants have a pool Photo Pro. Choose one with --merchant."):
        run("Photo Pro", write_file(b"AAAA"))
    with pytest.raises(CommandError, match="There is no pool Photo Lite."):
        run("Photo Lite", write_file(b"AAAA"))

    run("Photo Pro", write_file(b"AAAA"), "--merchant", "outsider")
    assert pool.keys.count() == 1


def test_a_missing_file_is_an_error(make_pool):
    with pytest.raises(CommandError, match="No such file"):
        run(str(make_pool().pk), "/nowhere/keys.txt")


def test_splitting_by_separators_requires_a_separator(make_pool, tmp_path):
    with pytest.raises(CommandError, match="--separator"):
        run(str(make_pool().pk), str(tmp_path / "keys.txt"), split="separators")


DOUBTFUL = b"Serial number,License key\nS-7788,AAAA-1111\nS-1234,BBBB-2222\n"


def test_it_lists_the_candidates_when_in_doubt_about_the_column(make_pool, write_file, capsys, sync_or_worker):
    pool = make_pool(name="Photo Pro")
    path = write_file(DOUBTFUL, "keys.csv")

    with pytest.raises(CommandError, match="Which column contains the license keys"):
        call_command("import_keys", "Photo Pro", path)

    assert "--column 2 “License key”: 2 different values with 9 characters" in capsys.readouterr().err
    assert not pool.keys.exists()
    run("Photo Pro", path, "--column", "2")
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-1111", "BBBB-2222"]


def test_it_reports_the_column_it_chose_and_why(make_pool, write_file):
    make_pool(name="Photo Pro")

    output = run("Photo Pro", write_file(b"License ID,License Key\n17,AAAA-1111\n39,BBBB-2222\n", "keys.csv"))

    assert "Using column 2 “License Key” for keys: its heading says so" in output
