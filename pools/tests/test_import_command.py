import gzip
import io

import pytest
from django.core.management import CommandError, call_command

from pools.models import KeyImport, KeyImportPart, LicenseKey


@pytest.fixture
def file(tmp_path):
    def write(content, name="keys.txt"):
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


@pytest.fixture(params=[True, False], ids=["at once", "as a worker"])
def size(request, monkeypatch):
    """As if the file were short, and as if it were long."""
    if not request.param:
        monkeypatch.setattr("pools.uploads.MAX_SYNCHRONOUS", 0)


def run(*arguments, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command("import_keys", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue()


def test_it_imports_a_file_and_says_what_came_of_it(make_pool, file, size):
    pool = make_pool(name="Photo Pro")

    said = run("Photo Pro", file(b"AAAA\nAAAA\nBBBB\n"), "--note", "Spring")

    assert "3 keys, 2 new." in said and "repeated: 1 (line 2)" in said and "Imported 2 keys" in said
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA", "BBBB"]
    batch = pool.batches.get()
    assert (batch.file_name, batch.note, batch.imported_by) == ("keys.txt", "Spring", "import_keys")
    assert "AAAA" not in said


def test_it_reads_standard_input_as_it_is_told(make_pool, monkeypatch):
    pool = make_pool()
    content = gzip.compress("Имя|Код\nАда|КЛЮЧ-1".encode("cp1251"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    run(str(pool.pk), "-", "--format", "csv", "--encoding", "windows-1251", "--column", "2", "--header", "yes")

    assert pool.keys.get().code == "КЛЮЧ-1"


def test_a_dry_run_changes_nothing(make_pool, file):
    pool = make_pool()

    assert "1 keys, 1 new" in run(str(pool.pk), file(b"AAAA"), "--dry-run")

    assert not LicenseKey.objects.exists() and not KeyImportPart.objects.exists()


def test_a_bad_line_is_named_and_nothing_imported(make_pool, file, capsys, size):
    pool, path = make_pool(), file(b"AAAA\nB\0B\n")
    err = io.StringIO()

    with pytest.raises(CommandError, match="some lines aren’t license keys"):
        call_command("import_keys", str(pool.pk), path, stdout=io.StringIO(), stderr=err)

    assert err.getvalue() == "Line 2 contains a NUL character.\n"
    assert not LicenseKey.objects.exists() and KeyImport.objects.get().status == "discarded"

    run(str(pool.pk), path, "--skip-bad-lines")
    assert pool.keys.get().code == "AAAA"


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7"])
def test_what_holds_no_keys_is_an_error(make_pool, file, content):
    with pytest.raises(CommandError, match="Nothing was imported. (No license keys found|This is a PDF)"):
        run(str(make_pool().pk), file(content))


def test_it_needs_to_know_whose_pool_it_is(make_pool, outsider, file):
    make_pool(name="Photo Pro")
    pool = make_pool(name="Photo Pro", merchant=outsider)

    with pytest.raises(CommandError, match="Several merchants have a pool Photo Pro. Choose one with --merchant."):
        run("Photo Pro", file(b"AAAA"))
    with pytest.raises(CommandError, match="There is no pool Photo Lite."):
        run("Photo Lite", file(b"AAAA"))

    run("Photo Pro", file(b"AAAA"), "--merchant", "outsider")
    assert pool.keys.count() == 1


def test_a_file_that_is_not_there_is_an_error(make_pool):
    with pytest.raises(CommandError, match="No such file"):
        run(str(make_pool().pk), "/nowhere/keys.txt")


def test_a_separator_has_to_be_said(make_pool, tmp_path):
    with pytest.raises(CommandError, match="--separator"):
        run(str(make_pool().pk), str(tmp_path / "keys.txt"), split="separators")


DOUBTFUL = b"Serial number,License key\nS-7788,AAAA-1111\nS-1234,BBBB-2222\n"


def test_in_doubt_about_the_column_it_lists_the_candidates(make_pool, file, capsys, size):
    pool = make_pool(name="Photo Pro")
    path = file(DOUBTFUL, "keys.csv")

    with pytest.raises(CommandError, match="Which column contains the license keys"):
        call_command("import_keys", "Photo Pro", path)

    assert "--column 2 “License key”: 2 different values with 9 characters" in capsys.readouterr().err
    assert not pool.keys.exists()
    run("Photo Pro", path, "--column", "2")
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-1111", "BBBB-2222"]


def test_it_says_which_column_it_took_and_why(make_pool, file):
    make_pool(name="Photo Pro")

    said = run("Photo Pro", file(b"License ID,License Key\n17,AAAA-1111\n39,BBBB-2222\n", "keys.csv"))

    assert "Using column 2 “License Key” for keys: its heading says so" in said
