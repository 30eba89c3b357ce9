from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pools.models import LicenseKey


def test_it_lists_the_merchants_pools(api, make_pool, outsider):
    pool = make_pool(3, threshold=5)
    make_pool(3, merchant=outsider)

    assert api.get("/api/v1/pools/").json() == [
        {"id": pool.pk, "name": pool.name, "threshold": 5, "available": 3},
    ]


def test_it_takes_keys_as_text(api, make_pool):
    pool = make_pool()

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", "AAAA\nBBBB\nAAAA\n", content_type="text/plain")

    assert response.status_code == 201
    assert response.json() == {
        "batch": pool.batches.get().pk,
        "imported": 2,
        "repeated": 1,
        "already_in_pool": 0,
        "already_in_other_pools": 0,
    }


def test_it_takes_keys_as_a_file(api, make_pool):
    pool = make_pool()
    file = SimpleUploadedFile("keys.txt", b"AAAA\nBBBB\n")

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", {"file": file}, format="multipart")

    assert response.status_code == 201
    assert pool.batches.get().file_name == "keys.txt"


def test_it_takes_keys_as_a_text_in_a_form(api, make_pool):
    pool = make_pool()

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", {"text": "AAAA\nBBBB\n"}, format="multipart")

    assert (response.status_code, response.json()["imported"]) == (201, 2)


def test_the_same_file_again_adds_nothing(api, make_pool):
    pool = make_pool()
    url = f"/api/v1/pools/{pool.pk}/keys/"
    api.post(url, "AAAA\n", content_type="text/plain")

    response = api.post(url, "AAAA\n", content_type="text/plain")

    assert (response.status_code, response.json()["batch"], response.json()["already_in_pool"]) == (200, None, 1)


def test_one_bad_line_is_named_and_nothing_is_stored(api, make_pool):
    pool = make_pool()

    response = api.post(f"/api/v1/pools/{pool.pk}/keys/", b"AAAA\n\xff\n", content_type="text/plain")

    assert response.status_code == 400
    assert response.json()["errors"] == [{"pointer": "#/lines/2", "detail": "is not UTF-8 text"}]
    assert not LicenseKey.objects.exists()


def test_a_form_without_a_file_names_the_field(api, make_pool):
    response = api.post(f"/api/v1/pools/{make_pool().pk}/keys/", {}, format="multipart")

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/file"


def test_another_body_is_a_415(api, make_pool):
    assert api.post(f"/api/v1/pools/{make_pool().pk}/keys/", {}, format="json").status_code == 415


def test_an_endless_body_is_a_413(api, make_pool, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    response = api.post(f"/api/v1/pools/{make_pool().pk}/keys/", "A" * 11, content_type="text/plain")

    assert response.status_code == 413


def test_an_endless_form_is_a_413(api, make_pool, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    file = SimpleUploadedFile("keys.txt", b"A" * 11)

    response = api.post(f"/api/v1/pools/{make_pool().pk}/keys/", {"file": file}, format="multipart")

    assert response.status_code == 413


def test_it_lists_ten_pools_with_as_many_queries_as_one(api, make_pool):
    make_pool(1)
    with CaptureQueriesContext(connection) as one:
        api.get("/api/v1/pools/")
    for _ in range(9):
        make_pool(1)

    with CaptureQueriesContext(connection) as ten:
        assert [pool["available"] for pool in api.get("/api/v1/pools/").json()] == [1] * 10
    assert len(ten) <= len(one)


def test_an_outsiders_pool_is_a_404(api, make_pool, outsider):
    pool = make_pool(merchant=outsider)

    assert api.post(f"/api/v1/pools/{pool.pk}/keys/", "AAAA", content_type="text/plain").status_code == 404
