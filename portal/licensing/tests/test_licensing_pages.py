"""The merchants' pages for licensed products and licensees."""

import pytest
from django.urls import reverse
from django.utils.html import strip_tags

from licensing.creation import create_licensee
from licensing.failures import record_failures, record_refusal
from licensing.models import (
    License,
    Licensee,
    LicenseeAlias,
    LicenseeEvent,
    LicenseTemplate,
    LicensingProduct,
    ProductModule,
    Token,
    Transaction,
)
from licensing.validation import read_holding, validate
from merchants.models import User
from orders.models import ActivationCode, Order, OrderEvent
from portal.licensing.tests.conftest import NUMBER, page_text, post

pytestmark = pytest.mark.django_db


# Products


def test_without_products_it_explains_licensing(page):
    assert "License your software" in page_text(page, "licensed-products")


def test_a_product_gets_modules_and_templates(page, merchant):
    post(page, "licensed-product-add", name="Photo", number="P-1", clear_mark_on_validation="on", active="on")
    product = LicensingProduct.objects.get()
    post(page, "module-add", product.pk, name="Pro", licensing_model="Subscription", active="on")
    module = product.modules.get()
    terms = {"license_type": "TIMEVOLUME", "time_volume": "1", "time_volume_period": "YEAR"}
    price = {"price": "49.90", "currency": "EUR"}
    post(page, "template-add", module.pk, name="Year", number="E-1", active="on", **terms, **price)

    text = page_text(page, "licensed-product", product.pk)
    assert (product.merchant, module.merchant, module.number[0]) == (merchant, merchant, "M")
    assert all(word in text for word in ("P-1", "Pro", "E-1", "1 year", "EUR 49.90"))
    assert "Photo" in page_text(page, "licensed-products")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("licensed-product-add", {"name": "Photo", "number": "P1"}, "This number is already in use."),
        ("licensed-product-add", {"name": "Photo", "number": "a/b"}, "A number can’t contain spaces"),
        ("module-add", {"name": "Seats", "licensing_model": "Floating"}, "A Floating module needs this value."),
        ("template-add", {"name": "Uses", "license_type": "QUANTITY"}, "A template of this type needs this value."),
        ("template-add", {"name": "Raw", "license_type": "FEATURE", "price": "5"}, "A price above 0 needs"),
    ],
)
def test_it_rejects_what_the_licensing_service_would_reject(page, product, template, name, data, message):
    arguments = {"module-add": [product.pk], "template-add": [template.module_id]}.get(name, [])

    assert message in post(page, name, *arguments, **data).content.decode()
    assert (LicensingProduct.objects.count(), ProductModule.objects.count(), LicenseTemplate.objects.count()) == (
        1,
        1,
        1,
    )


def test_a_products_number_cannot_be_changed(page, product):
    post(page, "licensed-product-change", product.pk, name="Renamed", number="P2")

    product.refresh_from_db()
    assert (product.name, product.number) == ("Renamed", "P1")


def test_removing_a_product_lists_what_is_deleted_with_it(page, product, licensee):
    asked = page_text(page, "licensed-product-remove", product.pk)

    assert "1 module, 1 template, 1 licensee, 1 license" in asked
    assert LicensingProduct.objects.exists()
    post(page, "licensed-product-remove", product.pk)
    assert not (LicensingProduct.objects.exists() or Licensee.objects.exists())


def test_removing_lists_license_packages_and_api_keys_that_use_it(page, merchant, product, template, licensee):
    Token.objects.create(
        merchant=merchant, licensee=licensee, token_type="APIKEY", api_key_role="ROLE_APIKEY_LICENSEE"
    )  # noqa: S106
    places = {"Here": "", "There": "https://licensing.example"}
    for name, address in places.items():
        account = merchant.licensing_accounts.create(name=name, address=address)
        package = merchant.license_packages.create(account=account, name=f"Pro {name}", product_number=product.number)
        package.templates.create(position=1, number=template.number)

    things = {"licensed-product-remove": product, "module-remove": template.module, "template-remove": template}
    for name, thing in things.items():
        text = page_text(page, name, thing.pk)
        assert "Orders with the license package “Pro Here” will fail." in text
    assert "1 API key" in page_text(page, "licensed-product-remove", product.pk)


def test_templates_and_modules_are_removed(page, template, licensee):
    assert "1 license" in page_text(page, "template-remove", template.pk)

    post(page, "template-remove", template.pk)
    assert not License.objects.exists() and Licensee.objects.exists()
    post(page, "module-remove", template.module_id)
    assert not ProductModule.objects.exists()


# Licensees


def test_numbers_are_masked(page, licensee):
    LicenseeAlias.objects.create(merchant=licensee.merchant, licensee=licensee, text="ALIAS-OF-ADA-77")

    for text in (page_text(page, "licensing"), page_text(page, "licensee", licensee.pk)):
        assert "••••7Q2M" in text and NUMBER not in text
        assert "ALIAS-OF-ADA-77" not in text


def test_revealing_a_number_is_recorded(support, licensee):
    text = post(support, "licensee-number", licensee.pk).content.decode()

    event = LicenseeEvent.objects.get()
    assert NUMBER in text
    assert (event.kind, event.happened_by) == ("reveal", "Sam (support-sam@northlight.example)")
    assert "Number shown, by Sam" in text


@pytest.mark.parametrize("number", [NUMBER, "ALIAS-OF-ADA-77"])
def test_a_licensee_is_found_by_a_number_that_never_appears_in_a_url(support, licensee, number):
    LicenseeAlias.objects.create(merchant=licensee.merchant, licensee=licensee, text="ALIAS-OF-ADA-77")

    response = post(support, "licensing", search=f" {number} ")

    assert response["Location"] == reverse("licensee", args=[licensee.pk])


def test_a_licensee_is_found_by_the_beginning_of_its_name(support, licensee, make_licensee):
    make_licensee("OTHER", name="Bob")

    text = post(support, "licensing", search="ada").content.decode()

    assert "Ada’s" in text and "Bob" not in strip_tags(text)
    assert "No licensees found" in post(support, "licensing", search="KW-SECRET").content.decode()


def test_another_merchants_licensee_is_not_found(client, outsider, licensee):
    client.force_login(outsider.members.get().user)

    assert "No licensees found" in post(client, "licensing", search=NUMBER).content.decode()
    for query in ("", f"?product={licensee.product.pk}"):
        text = strip_tags(page_text(client, "licensing", query=query))
        assert "Ada" not in text and "Photo" not in text


def test_a_number_may_be_the_same_as_another_merchants(client, outsider, licensee):
    client.force_login(outsider.members.get().user)
    own = LicensingProduct.objects.create(merchant=outsider, name="X")

    post(client, "licensee-add", product=own.pk, number=NUMBER)

    assert own.licensees.get().number == NUMBER


def test_the_list_is_filtered_and_paged(page, make_licensee, merchant):
    for number in range(30):
        make_licensee(f"N{number}", name=f"Customer {number:02}", licenses=0, marked_for_transfer=number == 3)
    other = LicensingProduct.objects.create(merchant=merchant, name="Lite")

    first = page_text(page, "licensing")
    assert "Customer 29" in first and "Customer 04" not in first and "Older" in first
    assert page_text(page, "licensing", query="?state=marked").count('data-label="Product"') == 1
    assert "No licensees match these filters" in page_text(page, "licensing", query=f"?product={other.pk}")


def test_the_page_shows_licenses_and_the_current_validation_result(page, licensee):
    License.objects.update(properties={"<b>": "<i>"})

    text = page_text(page, "licensee", licensee.pk)

    assert "One year" in text and "1 year" in text and "marked for transfer" in text
    assert "Current validation result" in text and "Updates" in text
    assert "&lt;b&gt;: &lt;i&gt;" in text and "Photo &lt;Pro&gt;" in text


def test_a_licensee_is_added(page, product, template):
    LicenseTemplate.objects.update(automatic=True)

    post(page, "licensee-add", product=product.pk, name="Bob", number="BOB")

    licensee = Licensee.objects.get()
    assert (licensee.name, licensee.number, licensee.licenses.count()) == ("Bob", "BOB", 1)
    refused = post(page, "licensee-add", product=product.pk, number="BOB").content.decode()
    assert "Another licensee already has this number." in refused


def test_repeated_changes_are_recorded_once(page, licensee):
    for name in ("licensee-deactivate", "licensee-unmark"):
        for _ in range(2):
            post(page, name, licensee.pk)
    post(page, "licensee-change", licensee.pk, name="Ada Byron")

    licensee.refresh_from_db()
    assert (licensee.active, licensee.marked_for_transfer, licensee.name) == (False, False, "Ada Byron")
    assert list(licensee.events.values_list("kind", flat=True)) == ["deactivated", "unmarked", "renamed"]
    post(page, "licensee-activate", licensee.pk)
    post(page, "licensee-mark", licensee.pk)
    licensee.refresh_from_db()
    assert licensee.active and licensee.marked_for_transfer


def test_licenses_are_added_changed_and_deactivated(page, licensee, template):
    post(page, "license-add", licensee.pk, template=template.pk, start_date="2026-11-01T10:00")
    added = licensee.licenses.last()
    assert (added.time_volume, added.start_date.isoformat()) == (1, "2026-11-01T10:00:00+00:00")

    terms = {"name": "Two years", "time_volume": "2", "time_volume_period": "YEAR"}
    post(page, "license-change", licensee.pk, added.pk, **terms)
    post(page, "license-deactivate", licensee.pk, added.pk)

    added.refresh_from_db()
    assert (added.name, added.time_volume, added.active) == ("Two years", 2, False)
    assert "License deactivated" in page_text(page, "licensee", licensee.pk)


@pytest.mark.parametrize("name", ["license-change", "license-activate", "license-deactivate"])
def test_a_license_is_found_only_under_its_licensee(page, licensee, make_licensee, name):
    elsewhere = make_licensee("OTHER").licenses.get()

    assert page.get(reverse(name, args=[licensee.pk, elsewhere.pk])).status_code == 404
    assert post(page, name, licensee.pk, elsewhere.pk, name="Stolen").status_code == 404


def test_it_rejects_a_template_of_another_product(page, licensee, merchant):
    other = LicensingProduct.objects.create(merchant=merchant, name="Lite")
    module = ProductModule.objects.create(merchant=merchant, product=other, name="M", licensing_model="Quota")
    template = LicenseTemplate.objects.create(merchant=merchant, module=module, name="T", license_type="FEATURE")

    post(page, "license-add", licensee.pk, template=template.pk)

    assert licensee.licenses.count() == 1


@pytest.mark.parametrize("model", [LicensingProduct, ProductModule, LicenseTemplate])
def test_inactive_templates_are_not_offered(page, licensee, template, model):
    model.objects.update(active=False)

    assert "One year (E1)" not in page_text(page, "license-add", licensee.pk)


@pytest.mark.parametrize(
    ("model", "message"), [("Floating", "without a session"), ("NodeLocked", "without a node secret")]
)
def test_it_says_which_parameter_the_validation_lacks(page, licensee, model, message):
    assert "without" not in page_text(page, "licensee", licensee.pk)
    ProductModule.objects.update(licensing_model=model)

    assert message in page_text(page, "licensee", licensee.pk)


# Transfers


@pytest.mark.parametrize("direction", ["to", "from"])
def test_a_manager_can_transfer_licenses_in_either_direction(page, licensee, make_licensee, direction):
    permanent = make_licensee("PERMANENT", licenses=0, name="Permanent")
    here, other = (licensee, "PERMANENT") if direction == "to" else (permanent, NUMBER)

    response = post(page, "licensee-transfer", here.pk, direction=direction, number=other)

    assert response.status_code == 302
    assert (licensee.licenses.count(), permanent.licenses.count()) == (0, 1)
    transaction = Transaction.objects.get(source="AUTO_LICENSES_TRANSFER")
    assert transaction.made_by.startswith("Sam")
    gone, came = page_text(page, "licensee", licensee.pk), page_text(page, "licensee", permanent.pk)
    assert "1 license transferred to" in gone and reverse("licensee", args=[permanent.pk]) in gone
    assert "1 license transferred from" in came and reverse("licensee", args=[licensee.pk]) in came


def test_the_source_of_a_transfer_may_be_deleted(page, licensee, make_licensee):
    permanent = make_licensee("PERMANENT", licenses=0)
    post(page, "licensee-transfer", licensee.pk, direction="to", number="PERMANENT")
    licensee.delete()

    assert "1 license transferred from a deleted licensee" in page_text(page, "licensee", permanent.pk)


def test_a_transfer_that_moves_nothing_says_so(page, licensee, make_licensee):
    make_licensee("PERMANENT", licenses=0, name="Permanent")
    for _ in range(2):
        response = page.post(
            reverse("licensee-transfer", args=[licensee.pk]), {"direction": "to", "number": "PERMANENT"}, follow=True
        )

    text = response.content.decode()
    assert "Ada’s has no licenses to transfer." in text and "It is in the history" not in text


def test_it_says_why_a_transfer_is_rejected(page, licensee, make_licensee, outsider):
    bare = make_licensee("BARE")
    Licensee.objects.create(
        merchant=outsider, product=LicensingProduct.objects.create(merchant=outsider, name="X"), number="THEIRS"
    )

    unmarked = post(page, "licensee-transfer", bare.pk, direction="to", number=NUMBER)
    itself = post(page, "licensee-transfer", licensee.pk, direction="to", number=NUMBER)
    theirs = post(page, "licensee-transfer", licensee.pk, direction="to", number="THEIRS")

    assert "not marked for transfer" in unmarked.content.decode()
    assert "to itself" in itself.content.decode()
    assert "You have no licensee with this number." in theirs.content.decode()
    assert (licensee.licenses.count(), bare.licenses.count()) == (1, 1)


# Links between orders and licensees


@pytest.fixture
def order(pay, make_product, licensee):
    pay(make_product(source="manual"), order="A1", quantity=2)
    item = Order.objects.get().items.get()
    ActivationCode.build(NUMBER, item=item, unit=1, source="netlicensing").save()
    ActivationCode.build("BY-HAND-AAAA-BBBB", item=item, unit=2, source="manual").save()
    return item.order


@pytest.fixture(params=["portal", "admin"])
def order_page(request, client, order, make_member):
    """A client, the URL of the order's page, and the pattern of licensees' URLs there."""
    if request.param == "portal":
        client.force_login(make_member().user)
        return client, f"/orders/{order.number}/", "/licensing/licensees/{}/"
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client, f"/admin/orders/order/{order.pk}/change/", "/admin/licensing/licensee/{}/change/"


def test_an_order_links_to_its_licensee_and_to_the_target_of_its_licenses(
    order_page, licensee, make_licensee, django_assert_max_num_queries
):
    client, address, licensees = order_page
    permanent = make_licensee("PERMANENT", licenses=0, name="Permanent")
    license = licensee.licenses.get()
    Transaction.record(
        permanent, Transaction.Source.AUTO_LICENSES_TRANSFER, [license], actor="x", source_licensee=licensee
    )

    with django_assert_max_num_queries(20):
        text = client.get(address).content.decode()

    for one in (licensee, permanent):
        assert text.count(f'href="{licensees.format(one.pk)}"') == 1
    assert NUMBER not in text


def test_another_merchants_licensees_with_the_same_numbers_are_not_linked(order_page, licensee, outsider):
    client, address, licensees = order_page
    product = LicensingProduct.objects.create(merchant=outsider, name="X")
    theirs = [create_licensee(product, actor="test", number=number) for number in (NUMBER, "PERMANENT")]
    Transaction.record(theirs[1], Transaction.Source.AUTO_LICENSES_TRANSFER, [], actor="x", source_licensee=theirs[0])

    for _ in ("with one of our own", "without"):
        text = client.get(address).content.decode()
        assert not any(licensees.format(one.pk) in text for one in theirs)
        Licensee.objects.filter(pk=licensee.pk).delete()


def test_a_licensee_links_to_its_order(support, order, licensee):
    assert f'href="{reverse("order", args=["A1"])}"' in page_text(support, "licensee", licensee.pk)


def test_revealing_an_orders_number_is_recorded_in_both_histories(support, order, licensee):
    post(support, "licensee-number", licensee.pk)

    assert OrderEvent.objects.get(kind="reveal").code == ActivationCode.objects.get(unit=1)
    assert LicenseeEvent.objects.get().kind == "reveal"


def test_another_merchants_order_with_the_same_code_is_neither_shown_nor_changed(support, order, licensee, outsider):
    Order.objects.update(merchant=outsider)

    text = post(support, "licensee-number", licensee.pk).content.decode()

    assert NUMBER in text and reverse("order", args=["A1"]) not in text
    assert not OrderEvent.objects.filter(kind="reveal").exists()


# Rental


def test_a_rental_time_volume_needs_a_feature(page, product, licensee):
    module = product.modules.create(merchant=product.merchant, number="M-R", name="Rent", licensing_model="Rental")
    fields = {"merchant": product.merchant, "name": "Terminal"}
    device = module.templates.create(number="E-D", license_type="FEATURE", **fields)
    time = module.templates.create(number="E-T", license_type="TIMEVOLUME", time_volume=30, **fields)

    refused = post(page, "license-add", licensee.pk, template=time.pk)
    assert "The licensee has none" in refused.content.decode()
    post(page, "license-add", licensee.pk, template=device.pk)
    post(page, "license-add", licensee.pk, template=time.pk)

    feature, volume = licensee.licenses.filter(template__module=module)
    assert volume.parent_feature == feature.number
    changed = post(page, "license-change", licensee.pk, volume.pk, name="Time", time_volume=30, parent_feature="NONE")
    assert "no FEATURE license “NONE”" in changed.content.decode()
    volume.refresh_from_db()
    assert volume.parent_feature == feature.number


# Failed validations


@pytest.fixture
def failed_licensee(licensee):
    """A licensee whose licenses were deactivated, with failed validations."""
    licensee.licenses.update(active=False)
    holding = read_holding(licensee)
    record_failures(holding, validate(holding, dry_run=True), actor="API key app <1>")
    record_refusal(holding, "sessionId is not provided", actor="API key app <1>")
    return licensee


def test_a_licensees_page_says_why_validations_failed(support, failed_licensee):
    text = page_text(support, "licensee", failed_licensee.pk)

    assert "Failed validations" in text
    for expected in ("Updates", "M1 · Subscription", "All TIMEVOLUME licenses of this module are inactive (1).",
                       "Request", "sessionId is not provided", "API key app &lt;1&gt;"):  # fmt: skip
        assert expected in text
    assert NUMBER not in text


def test_the_current_validation_result_shows_the_reason(support, failed_licensee):
    current = page_text(support, "licensee", failed_licensee.pk).split('id="now"')[1].split("</section>")[0]

    assert "All TIMEVOLUME licenses of this module are inactive (1)." in current


def test_without_failures_there_is_no_list(support, licensee):
    assert "Failed validations" not in page_text(support, "licensee", licensee.pk)


def test_another_merchants_failures_are_not_found(client, outsider, failed_licensee):
    client.force_login(outsider.members.get(role="owner").user)

    assert client.get(reverse("licensee", args=[failed_licensee.pk])).status_code == 404


def test_support_staff_see_the_reasons_in_the_admin(admin_client, failed_licensee):
    text = admin_client.get(reverse("admin:licensing_licensee_change", args=[failed_licensee.pk])).content.decode()

    assert "All TIMEVOLUME licenses of this module are inactive (1)." in text
    assert "sessionId is not provided" in text
    assert NUMBER not in text
