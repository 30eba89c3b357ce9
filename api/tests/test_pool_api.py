import gzip

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pools.models import KeyImportPart, KeyMovement, LicenseKey
from pools.uploads import work_on


def test_it_lists_the_merchants_pools(api, make_pool, outsider):
    pool = make_pool(3, threshold=5)
    make_pool(3, merchant=outsider)

    assert api.get("/api/v1/pools/").json() == [
        {"id": pool.pk, "name": pool.name, "threshold": 5, "available": 3},
    ]


def test_it_accepts_keys_as_text(api, make_pool):
    pool = make_pool()

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", "AAAA\nBBBB\nAAAA\n", content_type="text/plain")

    assert response.status_code == 201
    assert response.json() == {
        "batch": pool.batches.get().pk,
        "imported": 2,
        "repeated": 1,
        "already_in_pool": 0,
        "already_in_other_pools": 0,
        "read_as": {"encoding": "utf-8", "format": "text", "split": "lines", "separator": ""},
        "warnings": [],
    }


def test_it_accepts_keys_as_a_file(api, make_pool):
    pool = make_pool()
    file = SimpleUploadedFile("keys.txt", b"AAAA\nBBBB\n")

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", {"file": file}, format="multipart")

    assert response.status_code == 201
    assert pool.batches.get().file_name == "keys.txt"


def test_it_accepts_keys_as_text_in_a_form(api, make_pool):
    pool = make_pool()

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", {"text": "AAAA\nBBBB\n"}, format="multipart")

    assert (response.status_code, response.json()["imported"]) == (201, 2)


def test_importing_the_same_file_again_adds_nothing(api, make_pool):
    pool = make_pool()
    url = f"/api/v1/pools/{pool.pk}/keys/"
    api.post(url, "AAAA\n", content_type="text/plain")

    response = api.post(url, "AAAA\n", content_type="text/plain")

    assert (response.status_code, response.json()["batch"], response.json()["already_in_pool"]) == (200, None, 1)


def test_it_reports_a_bad_line_and_stores_nothing(api, make_pool):
    pool = make_pool()

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", b"AAAA\n\xff\n", content_type="text/plain")

    assert response.status_code == 400
    assert response.json()["errors"] == [{"pointer": "#/lines/2", "detail": "isn’t UTF-8 text"}]
    assert not LicenseKey.objects.exists()


def test_a_form_without_a_file_names_the_field(api, make_pool):
    response = api.post(f"/api/v1/pools/{make_pool().pk}/keys/", {}, format="multipart")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/file"


def test_another_content_type_is_a_415(api, make_pool):
    assert api.post(f"/api/v1/pools/{make_pool().pk}/keys/", {}, format="json").status_code == 415


def test_a_body_that_is_too_long_is_a_413(api, make_pool, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    response = api.post(f"/api/v1/pools/{make_pool().pk}/keys/", "A" * 11, content_type="text/plain")

    assert response.status_code == 413


def test_a_form_that_is_too_long_is_a_413(api, make_pool, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    file = SimpleUploadedFile("keys.txt", b"A" * 11)

    response = api.post(f"/api/v1/pools/{make_pool().pk}/keys/", {"file": file}, format="multipart")

    assert response.status_code == 413


def test_it_lists_ten_pools_with_as_many_queries_as_one(api, make_pool):
    make_pool(1)
    with CaptureQueriesContext(connection) as queries_for_one:
        api.get("/api/v1/pools/")
    for _ in range(9):
        make_pool(1)

    with CaptureQueriesContext(connection) as queries_for_ten:
        assert [pool["available"] for pool in api.get("/api/v1/pools/").json()] == [1] * 10
    assert len(queries_for_ten) <= len(queries_for_one)


def test_an_outsiders_pool_is_a_404(api, make_pool, outsider):
    pool = make_pool(merchant=outsider)

    assert api.post(f"/api/v1/pools/{pool.pk}/keys/", "AAAA", content_type="text/plain").status_code == 404


# Previews


@pytest.fixture
def pool(make_pool):
    return make_pool()


@pytest.fixture
def import_in_worker(monkeypatch):
    """Leave every upload, however short, to a worker."""
    monkeypatch.setattr("pools.uploads.MAX_SYNCHRONOUS", 0)


def post(api, pool, resource, body="AAAA\nBBBB\n", content_type="text/plain", query=""):
    return api.post(f"/api/v1/pools/{pool.pk}/{resource}/{query}", body, content_type=content_type)


def test_a_preview_can_be_viewed_and_confirmed(api, pool):
    preview = post(api, pool, "imports", b"AAAA\nAAAA\nB\0B\n", query="?note=Spring")

    assert preview.status_code == 201
    assert preview.json()["status"] == "ready"
    assert preview.json()["problems"] == {"3": "contains a NUL character"}
    assert preview.json()["preview"] == {
        "keys": 2,
        "new": 1,
        "repeated": {"count": 1, "numbers": [2]},
        "already_in_pool": {"count": 0, "numbers": []},
        "already_in_other_pools": {"count": 0, "numbers": []},
        "empty": {"count": 0, "numbers": []},
        "unusable": {"count": 1, "numbers": [3]},
        "read_as": {"encoding": "utf-8", "format": "text", "split": "lines", "separator": ""},
        "warnings": [],
    }
    assert not LicenseKey.objects.exists()

    confirmed = api.post(f"{preview.json()['url']}confirm/")

    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "imported")
    assert confirmed.json()["batch"] == pool.batches.get().pk
    assert pool.batches.get().note == "Spring"
    assert api.post(f"{preview.json()['url']}confirm/").status_code == 409
    assert api.delete(preview.json()["url"]).status_code == 409


def test_a_preview_can_be_discarded(api, pool):
    url = post(api, pool, "imports").json()["url"]

    assert api.delete(url).status_code == 204

    assert api.get(url).json()["status"] == "discarded"
    assert api.post(f"{url}confirm/").status_code == 409
    assert not LicenseKey.objects.exists()


def test_it_rejects_other_file_types_with_a_reason(api, pool):
    assert "PDF" in post(api, pool, "imports", b"%PDF-1.7").json()["error"]

    response = post(api, pool, "keys", b"%PDF-1.7")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "#/file")


CSV = "Buyer;Ключ\nAda;AAAA\nBob;BBBB\n"


@pytest.mark.parametrize("resource", ["keys", "imports"])
@pytest.mark.parametrize(
    ("content_type", "query", "body"),
    [
        ("text/csv", "?encoding=windows-1251", CSV.encode("cp1251")),
        ("application/gzip", "?file_format=csv&column=2&header=yes&delimiter=;", gzip.compress(CSV.encode(), mtime=0)),
        ("text/plain", "?split=separators&separator=%2B", b"AAAA+BBBB"),
        ("text/plain", "", "AAAA\nBBBB".encode("utf-16")),
    ],
)
def test_it_reads_the_keys_with_the_given_options(api, pool, resource, content_type, query, body):
    response = post(api, pool, resource, body, content_type, query)

    assert response.status_code == 201, response.json()
    if resource == "imports":
        api.post(f"{response.json()['url']}confirm/")
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA", "BBBB"]


def test_it_validates_the_options(api, pool):
    response = post(api, pool, "keys", query="?encoding=klingon&column=0&header=perhaps")

    assert response.status_code == 400
    assert {error["pointer"] for error in response.json()["errors"]} == {"#/encoding", "#/column", "#/header"}


def test_a_worker_imports_a_long_file(api, pool, import_in_worker):
    response = post(api, pool, "keys")

    assert (response.status_code, response.json()["status"]) == (202, "importing")
    work_on(response.json()["id"])
    result = api.get(response.json()["url"]).json()
    assert (result["status"], result["preview"]["new"], result["batch"]) == ("imported", 2, pool.batches.get().pk)


def test_a_long_file_with_a_bad_line_imports_nothing(api, pool, import_in_worker):
    response = post(api, pool, "keys", b"AAAA\n\xff\n")

    work_on(response.json()["id"])
    result = api.get(response.json()["url"]).json()
    assert (result["status"], result["problems"]) == ("failed", {"2": "isn’t UTF-8 text"})
    assert not LicenseKey.objects.exists() and not KeyImportPart.objects.exists()


# Stock and batches


def test_it_shows_a_pools_stock(api, make_pool, pay, make_product):
    pool = make_pool(5, threshold=2)
    pay(make_product(pool=pool), quantity=2)
    pool.keys.filter(position=4).withdraw()

    assert api.get(f"/api/v1/pools/{pool.pk}/").json() == {
        "id": pool.pk,
        "name": pool.name,
        "threshold": 2,
        "reserve": 0,
        "imported": 5,
        "available": 2,
        "reserved": 0,
        "issued": 2,
        "withdrawn": 1,
    }


def test_it_lists_undoes_and_withdraws_batches(api, pool):
    for body in ("AAAA", "BBBB\nBBBB\nCCCC"):
        post(api, pool, "keys", body)
    url = f"/api/v1/pools/{pool.pk}/batches/"

    last, first = api.get(url).json()["results"]
    assert (first["keys"], last["keys"], last["repeated"]) == (1, 2, 1)

    assert api.post(f"{url}{first['id']}/undo/").json()["undone_at"]
    assert api.post(f"{url}{first['id']}/undo/").status_code == 409
    assert api.post(f"{url}{last['id']}/withdraw/").json() == {"withdrawn": 2}
    assert api.post(f"{url}{last['id']}/undo/").status_code == 409
    assert pool.keys.withdrawn().count() == pool.keys.count() == 2
    assert {moved.moved_by for moved in KeyMovement.objects.filter(pool=pool)} == {"API key shop-1"}


@pytest.mark.parametrize("split", ["separators", "separator lines"])
def test_splitting_by_separators_requires_a_separator(api, make_pool, split):
    """Otherwise the whole file would become one key."""
    pool = make_pool()

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/?split={split}", "AAAA\nBBBB\n", content_type="text/plain")

    assert response.status_code == 400
    assert "Enter the separator." in response.content.decode()
    assert not pool.keys.exists()


# The column of the keys

CERTAIN = "License ID,License Key,Status\n17,AAAA-1111,new\n39,BBBB-2222,new\n"
DOUBTFUL = "Serial number,License key\nS-7788,AAAA-1111\nS-1234,BBBB-2222\n"


def test_it_reports_the_column_it_chose_and_why(api, pool):
    response = post(api, pool, "keys", CERTAIN, "text/csv")

    read_as = response.json()["read_as"]
    assert (read_as["column"], read_as["column_name"]) == (2, "License Key")
    assert read_as["column_because"] == "its heading says so, and its values could be keys"
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-1111", "BBBB-2222"]


def test_it_reads_a_file_with_the_extension_csv_as_a_table(api, pool):
    file = SimpleUploadedFile("keys.csv", CERTAIN.encode())

    api.post(f"/api/v1/pools/{pool.pk}/keys/", {"file": file}, format="multipart")

    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-1111", "BBBB-2222"]


def test_it_lists_the_candidates_when_in_doubt_about_the_column(api, pool):
    response = post(api, pool, "keys", DOUBTFUL, "text/csv")

    assert response.status_code == 400 and not LicenseKey.objects.exists()
    assert response.json()["errors"] == [
        {
            "pointer": "#/column",
            "detail": "Which column contains the license keys? Send its number as the parameter `column`.",
        },
        {"pointer": "#/column", "detail": "1 “Serial number”: 2 different values with 6 characters"},
        {"pointer": "#/column", "detail": "2 “License key”: 2 different values with 9 characters"},
    ]
    assert post(api, pool, "keys", DOUBTFUL, "text/csv", "?column=2").json()["imported"] == 2


def test_it_asks_when_in_doubt_whether_it_is_a_table(api, pool):
    response = post(api, pool, "keys", CERTAIN)

    assert response.status_code == 400 and not LicenseKey.objects.exists()
    [error] = response.json()["errors"]
    assert error["pointer"] == "#/file_format" and "looks like a table" in error["detail"]
    assert post(api, pool, "keys", CERTAIN, query="?file_format=csv").json()["imported"] == 2


def test_a_preview_lists_the_candidates(api, pool):
    preview = post(api, pool, "imports", DOUBTFUL, "text/csv").json()

    assert preview["status"] == "refused" and preview["error"].startswith("Which column contains the license keys?")
    assert preview["candidates"][1] == {
        "column": 2,
        "heading": "License key",
        "about": "2 different values with 9 characters",
    }


def test_a_long_table_with_a_doubtful_column_imports_nothing(api, pool, import_in_worker):
    response = post(api, pool, "keys", DOUBTFUL, "text/csv")

    work_on(response.json()["id"])
    result = api.get(response.json()["url"]).json()
    assert (result["status"], len(result["candidates"])) == ("failed", 2)
    assert not LicenseKey.objects.exists() and not KeyImportPart.objects.exists()


def test_the_response_contains_the_warnings_of_the_preview(api, pool):
    body = '="0012"\nAAAA-BBBB\naaaa-bbbb\n'

    warnings = post(api, pool, "keys", body).json()["warnings"]

    assert len(warnings) == 2 and "spreadsheet" in warnings[0] and "except for case" in warnings[1]
    assert post(api, pool, "imports", body).json()["preview"]["warnings"][:2] == warnings


def test_it_removes_what_a_spreadsheet_added_on_request(api, pool):
    post(api, pool, "keys", '="0012"\n', query="?spreadsheet=fix")

    assert pool.keys.get().code == "0012"
    assert post(api, pool, "keys", "1,23457E+15\n").json()["errors"][0]["pointer"] == "#/lines/1"
