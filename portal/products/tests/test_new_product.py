"""A product, its pool and its first keys are added in one form, all or nothing."""

import gzip
import re
from html import unescape

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from merchants.models import Member, Product
from pools import uploads
from pools.imports import import_keys
from pools.models import KeyImport, LicenseKey, LicensePool

pytestmark = pytest.mark.django_db(transaction=True)

ADD = reverse("product-add")
PRO = {"name": "Photo Pro", "sku": "PRO", "quantity_rule": "unit", "pool": "new"}


@pytest.fixture
def manager(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def text_of(response):
    return unescape(response.content.decode())


def errors_of(response):
    """The errors by field."""
    fields = re.findall(r'data-field="(\w+)">(.*?)(?=<div class="field"|<h2>|</form>)', text_of(response), re.DOTALL)
    found = {name: re.findall(r"<li>(.*?)</li>", html, re.DOTALL) for name, html in fields}
    return {name: errors for name, errors in found.items() if errors}


def codes():
    return sorted(key.code for key in LicenseKey.objects.all())


def upload(content, name="keys.txt"):
    return SimpleUploadedFile(name, content)


def test_a_new_pool_is_the_default(manager):
    assert re.search(r'<option value="new" selected>A new pool, named after the product<', text_of(manager.get(ADD)))


def test_it_adds_product_pool_and_keys_and_sells_at_once(manager, merchant, pay):
    response = manager.post(ADD, PRO | {"text": "AAAA-1\nBBBB-2\r\nCCCC-3\n"}, follow=True)

    product, pool = merchant.products.get(), merchant.pools.get()
    assert response.redirect_chain == [(product.get_absolute_url(), 302)]
    assert "Product added with 3 keys." in text_of(response)
    assert pool.name == "Photo Pro" and codes() == ["AAAA-1", "BBBB-2", "CCCC-3"]
    assert [str(method) for method in product.fulfillment_methods.all()] == ["Pool “Photo Pro”"]
    assert [code["code"] for code in pay(product)["items"][0]["activation_codes"]] == ["AAAA-1"]


def test_a_file_works_as_well(manager, merchant):
    response = manager.post(
        ADD, PRO | {"file": upload(gzip.compress(b"AAAA-1\nBBBB-2\n"), "keys.txt.gz")}, follow=True
    )

    assert "Product added with 2 keys." in text_of(response)
    assert codes() == ["AAAA-1", "BBBB-2"]


def test_keys_are_optional(manager, merchant):
    response = manager.post(ADD, PRO, follow=True)

    assert "Product added with the pool “Photo Pro”." in text_of(response)
    assert merchant.pools.get().fulfillment_methods.get().product == merchant.products.get()


def test_an_existing_pool_can_be_chosen(manager, merchant, make_pool):
    pool = make_pool(keys=2, name="Shared")

    manager.post(ADD, PRO | {"pool": pool.pk, "text": "AAAA-1"})

    assert merchant.pools.get() == pool and pool.available_up_to(9) == 3
    assert pool.fulfillment_methods.get().product == merchant.products.get()


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"AAAA-1\nAAAA-1\n", "Repeated in the file"),
        (b"AAAA-1\nKNOWN-1\n", "In another of your pools"),
        (b"AAAA-1\n" + b"x" * 10_001, "Bad lines"),
        (b"sku,key\nPRO,AAAA-1\nPRO,BBBB-2\n", "Preview"),
        (b"AAAA-1\naaaa1\n", "may be the same license"),
        (b"'0012345\n'0012346\n", "Remove spreadsheet formatting"),
        ("ключ-1\nключ-2".encode("windows-1251"), "<code>ключ-1</code>"),
        (b"-----BEGIN LICENSE-----\nAAAA\n-----END LICENSE-----\n", "Preview"),
        (b"\n \n", "Nothing was imported"),
    ],
    ids=["repeated", "known", "too long", "table", "similar", "spreadsheet", "encoding", "blocks", "empty"],
)
def test_anything_doubtful_leads_to_the_preview(manager, merchant, make_pool, content, seen):
    import_keys(make_pool(name="Other"), ["KNOWN-1"], actor="test")

    response = manager.post(ADD, PRO | {"file": upload(content)}, follow=True)

    key_import = KeyImport.objects.get()
    assert response.redirect_chain == [(key_import.get_absolute_url(), 302)]
    assert "Product added. Check its keys below before they are imported." in text_of(response)
    assert seen in text_of(response)
    assert key_import.pool == merchant.products.get().fulfillment_methods.get().poolmethod.pool
    assert codes() == ["KNOWN-1"]


def test_a_long_file_is_read_by_a_worker_and_previewed(manager, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 5)

    response = manager.post(ADD, PRO | {"text": "AAAA-1\nBBBB-2"}, follow=True)

    assert "Reading the file" in text_of(response)
    uploads.work_on(KeyImport.objects.get().pk)
    assert KeyImport.objects.get().status == "ready" and codes() == []


def test_a_paste_of_megabytes_is_previewed(manager):
    text = "\n".join(f"{number:020}" for number in range(100_000))

    response = manager.post(ADD, PRO | {"text": text}, follow=True)

    assert response.redirect_chain and "Reading the file" in text_of(response)
    assert KeyImport.objects.get().size == len(text)


@pytest.mark.parametrize(
    ("change", "field", "error"),
    [
        ({"name": ""}, "name", "This field is required."),
        ({"sku": "P R O"}, "sku", "without spaces"),
        ({"sku": "USED"}, "sku", "Another product has this SKU."),
        ({"name": "Taken"}, "pool", "You already have a pool “Taken”. Choose it, or another product name."),
        ({"pool": ""}, "pool", "Choose the pool for these keys."),
        ({"pool": "999999"}, "pool", "Select a valid choice."),
        ({"pool": "<script>"}, "pool", "Select a valid choice."),
    ],
)
def test_an_error_is_next_to_its_field_and_nothing_is_saved_or_lost(
    manager, merchant, make_product, make_pool, change, field, error
):
    make_product(source=None, sku="USED")
    make_pool(name="Taken")
    typed = PRO | {"instructions": "Enter it under Help.", "text": "AAAA-1\nBBBB-2"} | change

    response = manager.post(ADD, typed)

    assert error in errors_of(response)[field][0]
    assert "Enter it under Help.</textarea>" in text_of(response) and "AAAA-1\nBBBB-2</textarea>" in text_of(response)
    assert merchant.products.count() == 1 and merchant.pools.count() == 1 and codes() == []
    assert not KeyImport.objects.exists()


def test_the_errors_of_both_parts_are_shown(manager):
    assert set(errors_of(manager.post(ADD, {"name": "", "sku": "P R O", "pool": "", "text": "A"}))) >= {"sku", "pool"}


def test_a_file_that_cannot_be_stored_saves_nothing(manager, merchant):
    response = manager.post(ADD, PRO | {"file": upload(b"\x1f\x8bnot gzip", "keys.gz")})

    assert response.status_code == 200 and errors_of(response)["file"]
    assert not (merchant.products.exists() or merchant.pools.exists() or KeyImport.objects.exists())


def test_text_and_file_together_are_refused(manager, merchant):
    response = manager.post(ADD, PRO | {"text": "AAAA-1", "file": upload(b"BBBB-2")})

    assert "Choose a file of up to 64 MiB, or paste keys." in text_of(response)
    assert not merchant.products.exists()


def test_another_merchants_pool_cannot_be_chosen(manager, merchant, outsider, make_pool):
    theirs = make_pool(merchant=outsider, name="Theirs")

    assert "Theirs" not in text_of(manager.get(ADD))
    assert "Select a valid choice" in errors_of(manager.post(ADD, PRO | {"pool": theirs.pk}))["pool"][0]
    assert not merchant.products.exists()


def test_two_clicks_add_one_product(merchant, make_member, in_threads):
    user = make_member(Member.Role.MANAGER).user

    def add(text):
        client = Client()
        client.force_login(user)
        return client.post(ADD, PRO | {"text": text}).status_code

    assert sorted(in_threads(add, ["AAAA-1"] * 4, threads=4)) == [200, 200, 200, 302]
    assert Product.objects.count() == LicensePool.objects.count() == 1 and codes() == ["AAAA-1"]


def test_the_second_click_says_why(manager, merchant):
    manager.post(ADD, PRO)

    assert errors_of(manager.post(ADD, PRO))["sku"] == ["Another product has this SKU."]


def test_support_members_cannot_add_products(support):
    assert support.get(ADD).status_code == 403 and support.post(ADD, PRO).status_code == 403


def test_html_in_names_and_keys_is_escaped(manager, merchant):
    response = manager.post(ADD, PRO | {"name": "<b>Pro</b>", "text": "<i>1</i>\n<i>1</i>"}, follow=True)

    assert b"<b>Pro" not in response.content and b"<i>1" not in response.content
