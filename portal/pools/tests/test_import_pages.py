"""Keys on their way into a pool, in the portal: uploaded, looked at, imported, undone."""

import gzip
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from fulfillment.tasks import sweep
from merchants.models import Member
from pools import uploads
from pools.imports import Preview, import_keys
from pools.models import KeyBatch, KeyImport, KeyImportPart, KeyMovement, LicenseKey

KEYS = "".join(f"AAAA-{number:04}\n" for number in range(20))


@pytest.fixture
def pool(make_pool):
    return make_pool()


@pytest.fixture
def manager(client, make_member):
    client.force_login(make_member(Member.Role.MANAGER, first_name="Max").user)
    return client


@pytest.fixture
def upload(manager, pool):
    """Upload a content, and return its import."""

    def upload(content, file_name="keys.txt", note=""):
        content = content.encode() if isinstance(content, str) else content
        data = {"file": SimpleUploadedFile(file_name, content), "note": note}
        response = manager.post(reverse("pool-import", args=[pool.pk]), data)
        assert response.status_code == 302, response.context["form"].errors
        return KeyImport.objects.latest("pk")

    return upload


@pytest.fixture
def by_a_worker(monkeypatch):
    """However short an upload is, it is a worker's."""
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 0)


def address(key_import, name="import"):
    return reverse(name, args=[key_import.pool_id, key_import.pk])


def shown(client, key_import):
    return client.get(address(key_import)).content.decode()


def confirm(client, key_import):
    response = client.post(address(key_import, "import-confirm"))
    assert response["Location"] == address(key_import)
    key_import.refresh_from_db()


def test_nothing_comes_in_before_somebody_says_yes(manager, upload, pool):
    key_import = upload(KEYS, note="Spring")

    page = shown(manager, key_import)

    assert "Import 20 keys" in page and "AAAA-0000" in page and "Spring" in page
    assert not LicenseKey.objects.exists()

    confirm(manager, key_import)

    assert "20 keys were imported into" in shown(manager, key_import)
    batch = pool.batches.get()
    assert (batch.key_count, batch.file_name, batch.note) == (20, "keys.txt", "Spring")
    assert "Max" in batch.imported_by


def test_pasted_keys_are_an_import_too(manager, pool):
    manager.post(reverse("pool-import", args=[pool.pk]), {"text": "КЛЮЧ-1\r\nКЛЮЧ-2"})

    assert "КЛЮЧ-2" in shown(manager, KeyImport.objects.get())


@pytest.mark.parametrize("data", [{}, {"text": "AAAA", "file": SimpleUploadedFile("keys.txt", b"BBBB")}])
def test_it_is_either_a_file_or_a_text(manager, pool, data):
    response = manager.post(reverse("pool-import", args=[pool.pk]), data)

    assert "Choose a file of up to 64 MiB, or paste keys." in response.content.decode()
    assert not KeyImport.objects.exists()


def test_the_preview_counts_what_is_left_out_and_names_the_lines(manager, upload, pool, make_pool):
    import_keys(pool, ["HERE"], actor="test")
    import_keys(make_pool(), ["ELSEWHERE"], actor="test")

    key_import = upload("NEW\nNEW\n\nHERE\nELSEWHERE\nB\0D\n")
    page = shown(manager, key_import)

    lines = {kind: key_import.preview[kind]["numbers"] for kind in Preview().left_out | {"empty": 0}}
    assert lines == {
        "repeated": [2],
        "already_in_pool": [4],
        "already_in_other_pools": [5],
        "unusable": [6],
        "empty": [3],
    }
    assert "Import 1 key, skip 1 bad line" in page and "Contains a NUL character: line 6" in page


def test_two_clicks_import_once(manager, upload, pool, by_a_worker):
    key_import = upload(KEYS)
    uploads.work_on(key_import.pk)

    for _ in range(2):
        confirm(manager, key_import)
        uploads.work_on(key_import.pk)

    assert pool.batches.count() == 1
    assert "This import is already imported." in shown(manager, key_import)


def test_a_long_one_shows_how_far_it_is(manager, upload, by_a_worker):
    key_import = upload(KEYS)
    assert "Queued" in shown(manager, key_import)
    uploads._Progress(key_import)(10)

    page = shown(manager, key_import)

    assert "Reading the file" in page and f'hx-get="{address(key_import)}"' in page and 'http-equiv="refresh"' in page

    uploads.work_on(key_import.pk)
    assert "Import 20 keys" in shown(manager, key_import)
    confirm(manager, key_import)
    assert "Importing the keys" in shown(manager, key_import)


def test_the_same_file_again_changes_nothing(manager, upload, pool):
    confirm(manager, upload(KEYS))
    before = KeyMovement.objects.count(), LicenseKey.objects.count()

    again = upload(KEYS)

    page = shown(manager, again)
    assert "None of the keys are new" in page and address(again, "import-confirm") not in page
    confirm(manager, again)
    assert (KeyMovement.objects.count(), LicenseKey.objects.count()) == before
    assert pool.batches.count() == 1


# How it is read


def test_it_can_be_read_in_another_way(manager, upload, pool):
    key_import = upload("clé-1\n".encode("cp1252"))
    assert "clй-1" in shown(manager, key_import)

    manager.post(address(key_import, "import-read"), {"encoding": "windows-1252"})

    assert "clé-1" in shown(manager, key_import)
    confirm(manager, key_import)
    assert pool.keys.get().code == "clé-1"


def test_another_column_can_be_chosen_by_its_name(manager, upload, pool):
    key_import = upload("Buyer,Key,Other\nAda,AAAA-1,BBBB-1\nBob,AAAA-2,BBBB-2\n", "keys.csv")
    page = shown(manager, key_import)
    assert "Detect (2: Key)" in page and "3: Other" in page

    manager.post(address(key_import, "import-read"), {"column": "3"})
    confirm(manager, key_import)

    assert {key.code for key in pool.keys.all()} == {"BBBB-1", "BBBB-2"}


def test_keys_of_several_lines_have_a_separator(manager, upload, pool):
    key_import = upload("AAAA\nBBBB\n---\nCCCC\n")

    response = manager.post(address(key_import, "import-read"), {"split": "separator lines"})
    assert "Enter the separator." in response.content.decode()
    manager.post(address(key_import, "import-read"), {"split": "separator lines", "separator": "---"})
    confirm(manager, key_import)

    assert {key.code for key in pool.keys.all()} == {"AAAA\nBBBB", "CCCC"}


def test_what_cannot_be_read_is_refused_with_the_reason(manager, upload):
    page = shown(manager, upload(b"PK\x03\x04....xl/workbook.xml", "keys.xlsx"))

    assert "This is an Excel workbook. Save it as CSV and upload that." in page
    assert "Update preview" not in page

    page = shown(manager, upload('Key\n"AAAA', "keys.csv") and upload(gzip.compress(b"\n \n")))
    assert "No license keys found." in page


def test_a_refused_upload_has_no_counts(manager, upload):
    page = shown(manager, upload(b"AAAA\0BBBB\n" * 2))

    assert "No license keys found" in page and "lines 1, 2" in page
    assert "of which" not in page


def test_a_refused_table_can_be_read_as_text(manager, upload, pool):
    key_import = upload('AAAA\n"BBBB' + "B" * 200_000, "keys.csv")
    assert "in line 2 isn’t closed" in shown(manager, key_import)

    manager.post(address(key_import, "import-read"), {"format": "text"})

    assert "Import 1 key, skip 1 bad line" in shown(manager, key_import)


# What is kept


def test_a_preview_holds_no_key(upload):
    key_import = upload("SECRET-KEY-1\nSECRET-KEY-1\nSECRET\0KEY\n=SECRET()\n")

    assert "SECRET" not in str(key_import.preview)


@pytest.mark.parametrize("end", ["confirm", "discard", "sweep"])
def test_what_was_uploaded_is_deleted_in_the_end(manager, upload, end):
    key_import = upload(KEYS)
    assert KeyImportPart.objects.exists()

    if end == "sweep":
        KeyImport.objects.update(uploaded_at=timezone.now() - timedelta(hours=25))
        sweep()
    else:
        manager.post(address(key_import, f"import-{end}"))

    assert not KeyImportPart.objects.exists()


def test_a_discarded_one_cannot_be_imported_any_more(manager, upload, pool):
    key_import = upload(KEYS)
    assert "We delete the upload" in manager.get(address(key_import, "import-discard")).content.decode()

    manager.post(address(key_import, "import-discard"))
    confirm(manager, key_import)

    assert key_import.status == "discarded" and not pool.keys.exists()


# Batches


def test_batches_are_listed_with_who_when_and_what(manager, upload, pool):
    confirm(manager, upload("NEW\nNEW\n", note="Spring"))
    upload(KEYS, "open.txt")

    page = manager.get(reverse("pool-batches", args=[pool.pk])).content.decode()

    for text in ("keys.txt", "Spring", "manager-max@northlight.example", "1 repeated", "Not imported yet", "open.txt"):
        assert text in page


def test_an_import_is_undone_and_can_be_done_again(manager, upload, pool):
    confirm(manager, upload(KEYS))

    manager.post(reverse("batch-undo", args=[pool.pk, pool.batches.get().pk]))

    assert not pool.keys.exists()
    page = manager.get(reverse("pool-batches", args=[pool.pk])).content.decode()
    assert "undone" in page and "Withdraw rest" not in page
    confirm(manager, upload(KEYS))
    assert pool.keys.count() == 20


def test_an_import_of_which_a_key_was_issued_is_not_undone_but_the_rest_withdrawn(
    manager, upload, pool, pay, make_product
):
    confirm(manager, upload(KEYS))
    pay(make_product(pool=pool))
    batch = pool.batches.get()
    page = reverse("pool-batches", args=[pool.pk])
    assert reverse("batch-undo", args=[pool.pk, batch.pk]) not in manager.get(page).content.decode()

    response = manager.post(reverse("batch-undo", args=[pool.pk, batch.pk]), follow=True)
    assert "Can’t undo this import: 1 of its keys were issued or withdrawn." in response.content.decode()
    assert "19 of its 20 keys" in manager.get(reverse("batch-withdraw", args=[pool.pk, batch.pk])).content.decode()
    manager.post(reverse("batch-withdraw", args=[pool.pk, batch.pk]))

    assert (pool.keys.issued().count(), pool.keys.withdrawn().count()) == (1, 19)
    assert (
        "Max"
        in KeyMovement.objects.get(
            origin="available", destination="withdrawn", count=1, key_id=pool.keys.withdrawn().earliest("pk").pk
        ).moved_by
    )


def test_an_import_of_another_pool_is_a_404(manager, upload, make_pool):
    key_import = upload(KEYS)
    confirm(manager, key_import)
    other = make_pool()

    assert manager.get(reverse("import", args=[other.pk, key_import.pk])).status_code == 404
    assert manager.post(reverse("batch-undo", args=[other.pk, key_import.batch_id])).status_code == 404
    assert KeyBatch.objects.get().undone_at is None


DOUBTFUL = "Serial number,License key\nS-7788,AAAA-1111\nS-1234,BBBB-2222\n"


def test_in_doubt_about_the_column_it_asks_and_shows_samples(manager, upload, pool):
    key_import = upload(DOUBTFUL, "keys.csv")

    page = shown(manager, key_import)
    assert "Which column contains the license keys?" in page and "S-7788" in page and "AAAA-1111" in page
    assert address(key_import, "import-confirm") not in page

    manager.post(address(key_import, "import-read"), {"column": "2", "header": "yes"})
    key_import.refresh_from_db()
    confirm(manager, key_import)

    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-1111", "BBBB-2222"]


def test_it_says_which_column_it_took_and_why(manager, upload):
    page = shown(manager, upload("License ID,License Key\n17,AAAA-1111\n39,BBBB-2222\n", "keys.csv"))

    assert "The keys come from column 2 “License Key”: its heading says so" in page


def test_the_preview_offers_to_remove_what_a_spreadsheet_added(manager, upload, pool):
    key_import = upload('="0012"\nAAAA\n')

    page = shown(manager, key_import)
    assert "Remove spreadsheet formatting" in page

    manager.post(address(key_import, "import-read"), {"spreadsheet": "fix"})
    key_import.refresh_from_db()
    assert "Remove spreadsheet formatting" not in shown(manager, key_import)
    confirm(manager, key_import)

    assert [key.code for key in pool.keys.order_by("position")] == ["0012", "AAAA"]
