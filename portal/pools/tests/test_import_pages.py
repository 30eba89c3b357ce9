"""The import pages of the portal: upload, preview, import, undo."""

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
    """Return a function that uploads content and returns its import."""

    def upload(content, file_name="keys.txt", note=""):
        content = content.encode() if isinstance(content, str) else content
        data = {"file": SimpleUploadedFile(file_name, content), "note": note}
        response = manager.post(reverse("pool-import", args=[pool.pk]), data)
        assert response.status_code == 302, response.context["form"].errors
        return KeyImport.objects.latest("pk")

    return upload


@pytest.fixture
def import_in_worker(monkeypatch):
    """Leave every upload, however short, to a worker."""
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 0)


def get_url(key_import, name="import"):
    return reverse(name, args=[key_import.pool_id, key_import.pk])


def get_page(client, key_import):
    return client.get(get_url(key_import)).content.decode()


def confirm(client, key_import):
    response = client.post(get_url(key_import, "import-confirm"))
    assert response["Location"] == get_url(key_import)
    key_import.refresh_from_db()


def test_it_imports_nothing_before_confirmation(manager, upload, pool):
    key_import = upload(KEYS, note="Spring")

    page = get_page(manager, key_import)

    assert "Import 20 keys" in page and "AAAA-0000" in page and "Spring" in page
    assert not LicenseKey.objects.exists()

    confirm(manager, key_import)

    assert "20 keys were imported into" in get_page(manager, key_import)
    batch = pool.batches.get()
    assert (batch.key_count, batch.file_name, batch.note) == (20, "keys.txt", "Spring")
    assert "Max" in batch.imported_by


def test_keys_can_be_pasted(manager, pool):
    manager.post(reverse("pool-import", args=[pool.pk]), {"text": "КЛЮЧ-1\r\nКЛЮЧ-2"})

    assert "КЛЮЧ-2" in get_page(manager, KeyImport.objects.get())


@pytest.mark.parametrize("data", [{}, {"text": "AAAA", "file": SimpleUploadedFile("keys.txt", b"BBBB")}])
def test_it_requires_either_a_file_or_text(manager, pool, data):
    response = manager.post(reverse("pool-import", args=[pool.pk]), data)

    assert "Choose a file of up to 64 MiB, or paste keys." in response.content.decode()
    assert not KeyImport.objects.exists()


def test_the_preview_counts_skipped_lines_and_lists_their_numbers(manager, upload, pool, make_pool):
    import_keys(pool, ["HERE"], actor="test")
    import_keys(make_pool(), ["ELSEWHERE"], actor="test")

    key_import = upload("NEW\nNEW\n\nHERE\nELSEWHERE\nB\0D\n")
    page = get_page(manager, key_import)

    lines = {kind: key_import.preview[kind]["numbers"] for kind in Preview().left_out | {"empty": 0}}
    assert lines == {
        "repeated": [2],
        "already_in_pool": [4],
        "already_in_other_pools": [5],
        "unusable": [6],
        "empty": [3],
    }
    assert "Import 1 key, skip 1 bad line" in page and "Contains a NUL character: line 6" in page


def test_two_clicks_import_once(manager, upload, pool, import_in_worker):
    key_import = upload(KEYS)
    uploads.work_on(key_import.pk)

    for _ in range(2):
        confirm(manager, key_import)
        uploads.work_on(key_import.pk)

    assert pool.batches.count() == 1
    assert "This import is already imported." in get_page(manager, key_import)


def test_a_long_import_shows_its_progress(manager, upload, import_in_worker):
    key_import = upload(KEYS)
    assert "Queued" in get_page(manager, key_import)
    uploads._Progress(key_import)(10)

    page = get_page(manager, key_import)

    assert "Reading the file" in page and f'hx-get="{get_url(key_import)}"' in page and 'http-equiv="refresh"' in page

    uploads.work_on(key_import.pk)
    assert "Import 20 keys" in get_page(manager, key_import)
    confirm(manager, key_import)
    assert "Importing the keys" in get_page(manager, key_import)


def test_importing_the_same_file_again_changes_nothing(manager, upload, pool):
    confirm(manager, upload(KEYS))
    counts_before = KeyMovement.objects.count(), LicenseKey.objects.count()

    again = upload(KEYS)

    page = get_page(manager, again)
    assert "None of the keys are new" in page and get_url(again, "import-confirm") not in page
    confirm(manager, again)
    assert (KeyMovement.objects.count(), LicenseKey.objects.count()) == counts_before
    assert pool.batches.count() == 1


# Read options


def test_the_encoding_can_be_changed(manager, upload, pool):
    key_import = upload("clé-1\n".encode("cp1252"))
    assert "clй-1" in get_page(manager, key_import)

    manager.post(get_url(key_import, "import-read"), {"encoding": "windows-1252"})

    assert "clé-1" in get_page(manager, key_import)
    confirm(manager, key_import)
    assert pool.keys.get().code == "clé-1"


def test_another_column_can_be_chosen_by_its_name(manager, upload, pool):
    key_import = upload("Buyer,Key,Other\nAda,AAAA-1,BBBB-1\nBob,AAAA-2,BBBB-2\n", "keys.csv")
    page = get_page(manager, key_import)
    assert "Detect (2: Key)" in page and "3: Other" in page

    manager.post(get_url(key_import, "import-read"), {"column": "3"})
    confirm(manager, key_import)

    assert {key.code for key in pool.keys.all()} == {"BBBB-1", "BBBB-2"}


def test_multi_line_keys_need_a_separator(manager, upload, pool):
    key_import = upload("AAAA\nBBBB\n---\nCCCC\n")

    response = manager.post(get_url(key_import, "import-read"), {"split": "separator lines"})
    assert "Enter the separator." in response.content.decode()
    manager.post(get_url(key_import, "import-read"), {"split": "separator lines", "separator": "---"})
    confirm(manager, key_import)

    assert {key.code for key in pool.keys.all()} == {"AAAA\nBBBB", "CCCC"}


def test_it_rejects_unreadable_files_with_a_reason(manager, upload):
    page = get_page(manager, upload(b"PK\x03\x04....xl/workbook.xml", "keys.xlsx"))

    assert "This is an Excel workbook. Save it as CSV and upload that." in page
    assert "Update preview" not in page

    page = get_page(manager, upload('Key\n"AAAA', "keys.csv") and upload(gzip.compress(b"\n \n")))
    assert "No license keys found." in page


def test_a_refused_upload_has_no_counts(manager, upload):
    page = get_page(manager, upload(b"AAAA\0BBBB\n" * 2))

    assert "No license keys found" in page and "lines 1, 2" in page
    assert "of which" not in page


def test_a_refused_table_can_be_read_as_text(manager, upload, pool):
    key_import = upload('AAAA\n"BBBB' + "B" * 200_000, "keys.csv")
    assert "in line 2 isn’t closed" in get_page(manager, key_import)

    manager.post(get_url(key_import, "import-read"), {"format": "text"})

    assert "Import 1 key, skip 1 bad line" in get_page(manager, key_import)


# Stored data


def test_a_preview_contains_no_key(upload):
    key_import = upload("SECRET-KEY-1\nSECRET-KEY-1\nSECRET\0KEY\n=SECRET()\n")

    assert "SECRET" not in str(key_import.preview)


@pytest.mark.parametrize("end", ["confirm", "discard", "sweep"])
def test_the_upload_is_deleted_after_confirming_discarding_or_a_day(manager, upload, end):
    key_import = upload(KEYS)
    assert KeyImportPart.objects.exists()

    if end == "sweep":
        KeyImport.objects.update(uploaded_at=timezone.now() - timedelta(hours=25))
        sweep()
    else:
        manager.post(get_url(key_import, f"import-{end}"))

    assert not KeyImportPart.objects.exists()


def test_a_discarded_upload_cannot_be_imported(manager, upload, pool):
    key_import = upload(KEYS)
    assert "We delete the upload" in manager.get(get_url(key_import, "import-discard")).content.decode()

    manager.post(get_url(key_import, "import-discard"))
    confirm(manager, key_import)

    assert key_import.status == "discarded" and not pool.keys.exists()


# Batches


def test_the_list_of_batches_shows_files_notes_people_and_open_uploads(manager, upload, pool):
    confirm(manager, upload("NEW\nNEW\n", note="Spring"))
    upload(KEYS, "open.txt")

    page = manager.get(reverse("pool-batches", args=[pool.pk])).content.decode()

    for text in ("keys.txt", "Spring", "manager-max@northlight.example", "1 repeated", "Not imported yet", "open.txt"):
        assert text in page


def test_an_undone_import_can_be_repeated(manager, upload, pool):
    confirm(manager, upload(KEYS))

    manager.post(reverse("batch-undo", args=[pool.pk, pool.batches.get().pk]))

    assert not pool.keys.exists()
    page = manager.get(reverse("pool-batches", args=[pool.pk])).content.decode()
    assert "undone" in page and "Withdraw rest" not in page
    confirm(manager, upload(KEYS))
    assert pool.keys.count() == 20


def test_an_import_with_an_issued_key_cannot_be_undone_but_its_rest_can_be_withdrawn(
    manager, upload, pool, pay, make_product
):
    confirm(manager, upload(KEYS))
    pay(make_product(pool=pool))
    batch = pool.batches.get()
    page = reverse("pool-batches", args=[pool.pk])
    assert reverse("batch-undo", args=[pool.pk, batch.pk]) not in manager.get(page).content.decode()

    response = manager.post(reverse("batch-undo", args=[pool.pk, batch.pk]), follow=True)
    assert "Can’t undo this import: 1 of its keys was issued or withdrawn." in response.content.decode()
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


def test_it_asks_with_samples_when_in_doubt_about_the_column(manager, upload, pool):
    key_import = upload(DOUBTFUL, "keys.csv")

    page = get_page(manager, key_import)
    assert "Which column contains the license keys?" in page and "S-7788" in page and "AAAA-1111" in page
    assert get_url(key_import, "import-confirm") not in page

    manager.post(get_url(key_import, "import-read"), {"column": "2", "header": "yes"})
    key_import.refresh_from_db()
    confirm(manager, key_import)

    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-1111", "BBBB-2222"]


def test_it_shows_the_column_it_chose_and_why(manager, upload):
    page = get_page(manager, upload("License ID,License Key\n17,AAAA-1111\n39,BBBB-2222\n", "keys.csv"))

    assert "The keys come from column 2 “License Key”: its heading says so" in page


def test_the_preview_offers_to_remove_what_a_spreadsheet_added(manager, upload, pool):
    key_import = upload('="0012"\nAAAA\n')

    page = get_page(manager, key_import)
    assert "Remove spreadsheet formatting" in page

    manager.post(get_url(key_import, "import-read"), {"spreadsheet": "fix"})
    key_import.refresh_from_db()
    assert "Remove spreadsheet formatting" not in get_page(manager, key_import)
    confirm(manager, key_import)

    assert [key.code for key in pool.keys.order_by("position")] == ["0012", "AAAA"]
