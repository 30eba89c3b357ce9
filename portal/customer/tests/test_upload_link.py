"""The upload link in a notice: it adds keys to its pool once, and it never reveals keys."""

import re
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import F
from django.test import Client

from merchants.models import Member
from notices.models import MerchantNotice
from pools.imports import import_keys
from pools.models import KeyBatch, KeyImport, KeyImportPart, UploadLink
from pools.replenishment import check_stock
from portal.customer import upload_link

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = "NEW-KEY-0001\r\nNEW-KEY-0002\r\n\r\nNEW-KEY-0001\r\nbad\0key\r\nPOOL-HAS-IT\r\n"


@pytest.fixture
def pool(make_pool):
    return make_pool(name="Photo Pro")


@pytest.fixture
def link(pool):
    return UploadLink.objects.create_for(pool)


@pytest.fixture
def address(link):
    return f"/upload/{link.token}/"


@pytest.fixture
def visitor():
    """A client that isn't signed in, with CSRF checks."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def upload(visitor, address):
    """Upload keys, and return the URL of the preview."""

    def upload(text=KEYS, address=address):
        response = visitor.post(address, {"text": text})
        assert response.status_code == 302, response.content.decode()
        return response["Location"]

    return upload


def codes(pool):
    return [key.code for key in pool.keys.order_by("position")]


def test_keys_can_be_imported_with_the_link_in_the_notice(pay, make_product, make_pool, work, mailoutbox, visitor):
    pool = make_pool(1)
    product = make_product(pool=pool)
    pay(product)
    pay(product)
    work()
    notice = next(message for message in mailoutbox if "is empty" in message.subject)
    [address] = re.findall(r"/upload/\S+", notice.body)

    preview = visitor.post(address, {"file": SimpleUploadedFile("k.txt", b"KEY-FROM-FILE-1\nKEY-FROM-FILE-2")})
    assert pool.keys.count() == 1
    visitor.post(preview["Location"], {"import": "yes"})
    work()

    batch = KeyBatch.objects.latest("pk")
    assert batch.file_name == "k.txt" and batch.imported_by.startswith("upload link of the notice of ")
    assert pool.keys.issued().count() == 2 and pool.keys.available().count() == 1
    assert not KeyImportPart.objects.exists()


def test_it_shows_counts_and_line_numbers_but_no_keys(upload, visitor, pool, add_keys):
    add_keys(pool, "POOL-HAS-IT")
    result = upload()

    preview = visitor.get(result).content.decode()
    visitor.post(result, {"import": "yes"})
    done = visitor.get(result).content.decode()

    assert "<dt>Keys found</dt><dd>4</dd>" in preview
    assert "1, skipped: line 4" in preview and "Line 5 contains a NUL character." in preview
    assert "2 keys imported" in done and "<dt>Already in this pool</dt><dd>1</dd>" in done
    for key in ("NEW-KEY", "POOL-HAS", "0001", "bad"):
        assert key not in preview + done


@pytest.fixture
def add_keys():
    def add_keys(pool, *keys):
        import_keys(pool, keys, actor="test")

    return add_keys


def test_the_preview_does_not_reveal_whether_a_key_exists(upload, visitor, pool, add_keys):
    known = visitor.get(upload("POOL-HAS-IT")).content.decode()
    add_keys(pool, "POOL-HAS-IT")
    known_now = visitor.get(upload("POOL-HAS-IT")).content.decode()

    assert re.sub("/uploaded/[^/]+/", "", known) == re.sub("/uploaded/[^/]+/", "", known_now)


def test_it_works_once(upload, visitor, address, pool):
    result = upload("A-1")
    second = upload_again(visitor, address, "B-1")
    visitor.post(second, {"import": "yes"})

    for again in (visitor.get(address), visitor.post(address, {"text": "C-1"}), visitor.post(result, {"import": "y"})):
        assert again.status_code == 410
        assert "This link no longer works" in again.content.decode()
        assert "Photo Pro" not in again.content.decode() and "Northlight" not in again.content.decode()
    assert codes(pool) == ["B-1"]
    assert visitor.get(second).status_code == 200


def upload_again(visitor, address, text):
    return visitor.post(address, {"text": text})["Location"]


def test_only_one_of_several_concurrent_uploads_is_imported(link, pool, in_threads, monkeypatch):
    begun = [
        upload_link.uploads.begin(pool, [f"KEY-{number}".encode()], actor="test", link=link) for number in range(8)
    ]
    addresses = [f"/uploaded/{upload_link.sign_import(key_import)}/" for key_import in begun]

    in_threads(lambda address: Client().post(address, {"import": "yes"}), addresses, threads=8)

    assert KeyBatch.objects.count() == pool.keys.count() == 1
    assert KeyImport.objects.filter(status="discarded").count() == 7


def test_two_clicks_import_once_and_show_the_result(upload, pool, in_threads, visitor):
    result = upload("A-1\nA-2")

    statuses = in_threads(lambda _: Client().post(result, {"import": "yes"}).status_code, range(6), threads=6)

    assert set(statuses) == {302}
    assert "2 keys imported" in visitor.post(result, {"import": "yes"}, follow=True).content.decode()
    assert KeyBatch.objects.count() == 1 and codes(pool) == ["A-1", "A-2"]


def test_an_expired_link_does_not_work(link, visitor, address, upload):
    result = upload()
    UploadLink.objects.update(expires_at=F("created_at"))

    assert visitor.get(address).status_code == visitor.get(result).status_code == 410
    assert visitor.post(result, {"import": "yes"}).status_code == 410
    assert not KeyBatch.objects.exists()


def test_importing_with_one_link_invalidates_older_ones(pool, link, visitor, address, upload):
    newer = UploadLink.objects.create_for(pool)
    visitor.post(upload(address=f"/upload/{newer.token}/"), {"import": "yes"})

    assert visitor.get(address).status_code == 410
    assert visitor.get(f"/upload/{UploadLink.objects.create_for(pool).token}/").status_code == 200


def test_a_manager_can_end_the_links_of_a_pool(pool, link, address, visitor, client, make_member, make_pool):
    other = UploadLink.objects.create_for(make_pool())
    client.force_login(make_member(Member.Role.MANAGER).user)

    end = f"/pools/{pool.pk}/upload-links/end/"
    assert end in client.get(f"/pools/{pool.pk}/").content.decode()
    client.post(end)

    assert end not in client.get(f"/pools/{pool.pk}/").content.decode()
    assert visitor.get(address).status_code == 410
    assert visitor.get(f"/upload/{other.token}/").status_code == 200


def test_a_pool_with_an_upload_link_can_be_deleted(make_pool):
    pool = make_pool()
    check_stock([pool.pk])

    pool.delete()

    assert not UploadLink.objects.exists()


def test_a_forged_link_is_not_found(link, visitor, upload):
    number, signature = link.token.split(".")
    result = upload()
    forged = [f"/upload/{int(number) + 1}.{signature}/", f"/upload/{number}/", "/upload/x/", "/uploaded/x/"]
    swapped = [f"/uploaded/{link.token}/", result.replace("uploaded", "upload")]

    assert [visitor.get(address).status_code for address in forged + swapped] == [404] * 6
    assert visitor.get(forged[0]).content == visitor.get(forged[1]).content


def test_its_url_is_not_cached_indexed_or_leaked_by_a_referrer(visitor, address, upload):
    for page in (visitor.get(address), visitor.get(upload())):
        assert page["Referrer-Policy"] == "no-referrer" and "no-store" in page["Cache-Control"]
        assert "noindex" in page["X-Robots-Tag"] and not page.cookies


def test_it_is_not_logged(visitor, address, upload, link, caplog):
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "django")
    result = upload()
    UploadLink.objects.update(expires_at=F("created_at"))
    visitor.get(address)
    visitor.get(result)

    assert "Gone: /upload/…/" in caplog.text and "Gone: /uploaded/…/" in caplog.text
    assert link.token not in caplog.text and result not in caplog.text and "NEW-KEY" not in caplog.text


def test_signing_in_does_not_change_the_page(client, outsider, address):
    client.force_login(outsider.members.get().user)

    assert client.get(address).content == Client().get(address).content


def test_starting_over_discards_the_upload(upload, visitor, address):
    first = upload("A-1")
    assert visitor.post(first, {"discard": "yes"})["Location"] == address
    assert "discarded" in visitor.get(first).content.decode()
    upload("B-1")
    upload("C-1")

    assert list(KeyImport.objects.order_by("pk").values_list("status", flat=True)) == ["discarded"] * 2 + ["ready"]
    assert KeyImportPart.objects.count() == 1


def test_it_rejects_an_unreadable_upload_and_the_link_still_works(visitor, address, upload):
    nothing = visitor.post(address, {"text": " \n"})
    both = visitor.post(address, {"text": "A-KEY-1", "file": SimpleUploadedFile("k.txt", b"A-KEY-2")})
    refused = visitor.get(upload("\n\n\n\n\n\n\0"))

    for page in (nothing, both):
        assert "Choose a file" in page.content.decode() and "A-KEY" not in page.content.decode()
    assert "No license keys found." in refused.content.decode() and address in refused.content.decode()
    assert visitor.get(address).status_code == 200


def test_uploads_through_a_link_are_limited(visitor, address, upload, monkeypatch):
    monkeypatch.setattr(upload_link, "MAX_UPLOADS", 2)
    upload()
    upload()

    assert visitor.post(address, {"text": KEYS}).status_code == 429
    KeyImport.objects.update(uploaded_at=F("uploaded_at") - timedelta(hours=1))
    upload()


def test_a_long_file_is_imported_by_a_worker_and_shows_progress(visitor, address, upload, monkeypatch, pool):
    monkeypatch.setattr(upload_link.uploads, "MAX_SYNCHRONOUS", 5)
    result = upload("A-1\nA-2\nA-3")
    assert "Reading your upload" in visitor.get(result).content.decode()
    upload_link.uploads.work_on(KeyImport.objects.get().pk)

    visitor.post(result, {"import": "yes"})
    under_way = visitor.get(result).content.decode()
    assert "Importing keys…" in under_way and 'hx-trigger="every 2s"' in under_way
    assert visitor.get(address).status_code == 410
    upload_link.uploads.work_on(KeyImport.objects.get().pk)

    assert "3 keys imported" in visitor.get(result).content.decode()
    assert codes(pool) == ["A-1", "A-2", "A-3"]


def test_nothing_is_imported_before_the_preview_is_ready(visitor, upload, monkeypatch, address, link):
    monkeypatch.setattr(upload_link.uploads, "MAX_SYNCHRONOUS", 5)
    result = upload("A-1\nA-2\nA-3")

    assert visitor.post(result, {"import": "yes"}).status_code == 302

    assert KeyImport.objects.get().status == "reading"
    assert UploadLink.objects.get().used_at is None


def test_a_notice_links_only_to_its_own_pool(make_pool, make_product, pay):
    for _ in range(2):
        pay(make_product(pool=make_pool(1)))

    for notice in MerchantNotice.objects.all():
        assert UploadLink.objects.get(pk=notice.details["upload_link"]).pool == notice.subject


AMBIGUOUS = "Serial number,License key\nS-7788,AAAA-1111\nS-1234,BBBB-2222\n"


def test_it_asks_for_the_column_and_shows_no_keys(address, pool):
    client = Client()
    here = client.post(address, {"text": AMBIGUOUS})["Location"]

    page = client.get(here).content.decode()
    assert "Which column contains the license keys?" in page and "Column 2 “License key”" in page
    assert "AAAA" not in page and "S-7788" not in page

    for column in ("7", "2"):
        client.post(here, {"column": column})
    assert "<dt>Keys found</dt><dd>2</dd>" in client.get(here).content.decode()
    client.post(here, {"import": "yes"})

    assert codes(pool) == ["AAAA-1111", "BBBB-2222"]
    assert client.post(here, {"fix": "yes"}).status_code == 410


def test_the_choice_of_column_reveals_nothing_about_the_pools_keys(upload, visitor, pool, add_keys):
    add_keys(pool, *(f"POOL-{number:04}" for number in range(20)))

    here = upload("Serial number,License key\nPOOL-7788,AAAA-1111\nPOOL-1234,BBBB-2222\n")

    assert "Which column contains the license keys?" in visitor.get(here).content.decode()


def test_spreadsheet_changes_can_be_undone(address, pool):
    client = Client()
    here = client.post(address, {"text": '="0012"\nAAAA'})["Location"]
    assert "Remove spreadsheet formatting" in client.get(here).content.decode()

    client.post(here, {"fix": "yes"})
    assert "Remove spreadsheet formatting" not in client.get(here).content.decode()
    client.post(here, {"import": "yes"})

    assert codes(pool) == ["0012", "AAAA"]
