"""Setup requests: submitted in the portal, applied or answered in the admin."""

from functools import partial

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.urls import reverse

from fulfillment import setup
from fulfillment.models import FulfillmentMethod, SetupRequest, SetupRequestPart
from fulfillment.setup import SetupRefused
from merchants.models import Member, Product, User
from notices.models import MerchantNotice
from pools import uploads
from pools.models import KeyBatch, KeyImport, KeyImportPart, LicensePool
from portal.tests.confirming import post_confirmed

pytestmark = pytest.mark.django_db(transaction=True)

FORM_DATA = {
    "products": "PHOTO-PRO Photo Pro\nPHOTO-LITE Photo Lite",
    "pool_name": "Photo",
    "text": "AAAA-0001\nAAAA-0002\n\nAAAA-0001\n",
    "quantity_rule": "item",
    "threshold": "7",
    "recipients": "stock@northlight.example",
    "comment": "Please hurry.",
}


@pytest.fixture(autouse=True)
def support_mailbox(settings):
    settings.SUPPORT_EMAIL = ["support@keywell.example"]


@pytest.fixture
def manager(client, make_member):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def staff():
    client = Client()
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


@pytest.fixture
def submit_request(manager):
    def submit_request(**fields):
        response = manager.post(reverse("setup-add"), FORM_DATA | fields)
        assert response.status_code == 302, response.content.decode()
        return SetupRequest.objects.latest("pk")

    return submit_request


@pytest.fixture
def apply(staff):
    def apply(request):
        address = reverse("admin:fulfillment_setuprequest_apply", args=[request.pk])
        return post_confirmed(staff, address, {}, follow=True)

    return apply


def test_applying_a_request_sets_everything_up(submit_request, apply, pay, work, manager):
    request = submit_request()
    page = apply(request).content.decode()

    pool = LicensePool.objects.get()
    assert (pool.name, pool.threshold, pool.recipients) == ("Photo", 7, ["stock@northlight.example"])
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-0001", "AAAA-0002"]
    assert list(Product.objects.order_by("pk").values_list("sku", "name", "quantity_rule")) == [
        ("PHOTO-PRO", "Photo Pro", "item"),
        ("PHOTO-LITE", "Photo Lite", "item"),
    ]
    assert "Setup applied" in page and "applied by stella@keywell.example, support staff" in page.lower()
    answer = pay("PHOTO-LITE", quantity=3)
    assert [code["code"] for code in answer["items"][0]["activation_codes"]] == ["AAAA-0001"]


def test_support_and_the_merchant_are_notified(submit_request, apply, work):
    request = submit_request()
    work()
    apply(request)
    work()

    asked, applied = mail.outbox
    assert asked.to == ["support@keywell.example"]
    assert asked.subject == "Setup request from Northlight: Photo"
    assert f"/admin/fulfillment/setuprequest/{request.pk}/change/" in asked.body and "Please hurry." in asked.body
    assert applied.to == ["manager-sam@northlight.example", "owner@northlight.example"]
    assert f"/pools/{LicensePool.objects.get().pk}/" in applied.body
    assert "AAAA" not in f"{asked.body} {applied.body}"


def test_nobody_is_notified_without_a_support_address(submit_request, settings):
    settings.SUPPORT_EMAIL = []

    submit_request()

    assert not MerchantNotice.objects.exists()


def test_staff_can_answer_instead(submit_request, staff, work, manager):
    request = submit_request()
    staff.post(reverse("admin:fulfillment_setuprequest_answer", args=[request.pk]), {"answer": "Which <file>?"})
    work()

    assert mail.outbox[-1].to == ["manager-sam@northlight.example", "owner@northlight.example"]
    assert "Which <file>?" in mail.outbox[-1].body
    assert "Which &lt;file&gt;?" in manager.get(reverse("setup")).content.decode()
    assert not SetupRequestPart.objects.exists() and not LicensePool.objects.exists()


def test_the_merchant_can_withdraw_a_request(submit_request, manager, apply):
    request = submit_request()
    manager.post(reverse("setup-withdraw", args=[request.pk]))

    assert not SetupRequestPart.objects.exists()
    assert "The request is already withdrawn." in apply(request).content.decode()
    assert not LicensePool.objects.exists()


def test_a_member_who_left_isnt_notified(submit_request, apply, work, merchant):
    request = submit_request()
    merchant.members.filter(role="manager").delete()
    apply(request)
    work()

    assert mail.outbox[-1].to == ["owner@northlight.example"]


def test_existing_pools_and_products_are_reused(submit_request, apply, make_product, make_pool):
    pool = make_pool(2, name="Photo")
    product = make_product(sku="PHOTO-PRO", name="Ours", source="manual")
    apply(submit_request())

    product.refresh_from_db()
    pool.refresh_from_db()
    assert (product.name, product.quantity_rule, pool.threshold) == ("Ours", "item", 7)
    methods = FulfillmentMethod.objects.filter(product=product)
    methods_by_position = methods.order_by("position")
    assert [(method.position, method.source, method.kind.place) for method in methods_by_position] == [
        (1, "manual", None),
        (2, "pool", pool),
    ]
    assert pool.keys.count() == 4


def test_a_repeated_request_adds_no_second_source_or_key(submit_request, apply):
    apply(submit_request())
    apply(submit_request())

    assert FulfillmentMethod.objects.count() == 2 and LicensePool.objects.get().keys.count() == 2


def close_concurrently(in_threads, actions):
    def close(action):
        try:
            action()
        except SetupRefused as error:
            return str(error)
        return "done"

    return sorted(in_threads(close, actions, threads=8))


def test_concurrent_clicks_apply_once(submit_request, in_threads):
    request = submit_request()

    answers = close_concurrently(in_threads, [partial(setup.apply, request, actor="Stella")] * 8)

    assert answers == ["The request is already applied."] * 7 + ["done"]
    assert KeyBatch.objects.count() == 1
    assert request.events.count() == 2 and MerchantNotice.objects.about(request).count() == 2


def test_only_one_concurrent_close_succeeds(submit_request, in_threads):
    request = submit_request()
    actions = [
        partial(setup.withdraw, request, actor="Max"),
        partial(setup.answer, request, text="No.", actor="Stella"),
    ]

    answers = close_concurrently(in_threads, actions * 8)

    assert answers.count("done") == 1
    assert request.events.count() == 2


def test_a_file_with_errors_keeps_the_request_open_and_shows_them(submit_request, apply, staff, manager):
    request = submit_request(text="", file=SimpleUploadedFile("keys.txt", b"ABCDEFGH\0\n\n"))

    for page in (
        apply(request),
        manager.get(reverse("setup")),
        staff.get(reverse("admin:fulfillment_setuprequest_change", args=[request.pk])),
    ):
        assert "No license keys found." in page.content.decode()
        assert "Line 1 contains a NUL character." in page.content.decode()
    request.refresh_from_db()
    assert request.status == "open" and not LicensePool.objects.exists()


def test_a_failure_halfway_leaves_nothing_behind(submit_request, monkeypatch):
    request = submit_request()
    monkeypatch.setattr(setup, "_close", None)
    with pytest.raises(TypeError):
        setup.apply(request, actor="Stella")

    for model in (LicensePool, Product, KeyImport, KeyBatch):
        assert not model.objects.exists()
    assert SetupRequestPart.objects.exists()


def test_a_worker_imports_a_long_file(submit_request, apply, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 5)
    apply(submit_request())
    pool, key_import = LicensePool.objects.get(), KeyImport.objects.get()
    assert key_import.status == "importing" and pool.keys.count() == 0

    uploads.work_on(key_import.pk)

    assert pool.keys.count() == 2 and not KeyImportPart.objects.exists()


def test_the_file_is_stored_encrypted_and_never_shown(submit_request, staff, manager):
    request = submit_request()
    pages = [
        manager.get(reverse("setup")),
        staff.get(reverse("admin:fulfillment_setuprequest_change", args=[request.pk])),
    ]

    assert all("3 keys, 1 of them repeated" in page.content.decode() for page in pages)
    assert all("AAAA" not in page.content.decode() for page in pages)
    with connection.cursor() as cursor:
        cursor.execute("SELECT content FROM fulfillment_setuprequestpart")
        assert b"AAAA" not in bytes(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("products", "", "This field is required."),
        ("products", "A;B Photo", "without spaces."),
        ("products", "A One\nA Two", "Enter each SKU only once."),
        ("products", "A " + "x" * 201, "at most 200 characters"),
        ("products", "\n".join(f"A{number}" for number in range(51)), "at most 50 products"),
        ("recipients", "nobody", "Enter a valid email address."),
        ("threshold", "-1", "greater than or equal to 0"),
        ("quantity_rule", "none", "Select a valid choice."),
    ],
)
def test_it_rejects_invalid_input(manager, field, value, message):
    page = manager.post(reverse("setup-add"), FORM_DATA | {field: value})

    assert page.status_code == 200 and message in page.content.decode()
    assert not SetupRequest.objects.exists()


def test_it_rejects_a_file_that_is_too_long(manager, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
    file = SimpleUploadedFile("keys.txt", b"AAAA-0001\n" * 200)

    page = manager.post(reverse("setup-add"), FORM_DATA | {"text": "", "file": file})

    assert page.status_code == 200 and "Choose a file of at most 64 MiB" in page.content.decode()
    assert not SetupRequest.objects.exists()


def test_the_number_of_open_requests_is_limited(submit_request, manager):
    for _ in range(setup.MAX_OPEN):
        submit_request()

    assert "open requests" in manager.post(reverse("setup-add"), FORM_DATA).content.decode()
    assert SetupRequest.objects.count() == setup.MAX_OPEN


def test_another_merchants_request_is_inaccessible(submit_request, client, outsider):
    request = submit_request()
    client.force_login(outsider.members.get().user)

    assert client.post(reverse("setup-withdraw", args=[request.pk])).status_code == 404
    assert "Photo" not in client.get(reverse("setup")).content.decode()
    assert SetupRequest.objects.get().status == "open"


def test_staff_with_view_permission_cant_apply(submit_request):
    request = submit_request()
    reader = Client()
    user = User.objects.create_user("rita@keywell.example", "correct horse", is_staff=True)
    user.user_permissions.add(*_permissions("view_setuprequest"))
    reader.force_login(user)

    page = reader.get(reverse("admin:fulfillment_setuprequest_change", args=[request.pk])).content.decode()
    applied = reader.post(reverse("admin:fulfillment_setuprequest_apply", args=[request.pk]))

    assert "Apply" not in page and applied.status_code == 403
    assert SetupRequest.objects.get().status == "open"


def _permissions(*names):
    return Permission.objects.filter(codename__in=names)


def test_it_asks_for_the_column_if_it_is_ambiguous(submit_request, apply, manager):
    content = b"Serial number,License key\nS-7788,AAAA-1111\nS-1234,BBBB-2222\n"

    def file():
        return SimpleUploadedFile("keys.csv", content)

    response = manager.post(reverse("setup-add"), FORM_DATA | {"text": "", "file": file()})

    assert "Which column contains the license keys?" in response.content.decode()
    assert "1 “Serial number” (2 different values with 6 characters)" in response.content.decode()
    assert not SetupRequest.objects.exists() and not SetupRequestPart.objects.exists()

    apply(submit_request(text="", file=file(), column="2"))

    pool = LicensePool.objects.get()
    assert [key.code for key in pool.keys.order_by("position")] == ["AAAA-1111", "BBBB-2222"]
