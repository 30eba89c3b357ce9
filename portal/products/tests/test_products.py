"""Products and their sources."""

from html import unescape

import pytest
from django.urls import reverse

from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.product_sources import SourceChangeRefused, add_source, move_up
from merchants.models import Member, Product
from notices.models import MerchantNotice
from orders.kinds import SOURCES
from orders.models import ActivationCode, Order, OrderItem
from pools.models import LicenseKey
from portal.tests.confirming import post_confirmed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def manager(client, make_member):
    """A client signed in as a manager."""
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def get_page(manager, name, *arguments):
    return manager.get(reverse(name, args=arguments)).content.decode()


def source_names(product):
    return [str(method) for method in product.fulfillment_methods.order_by("position")]


# Products


def test_an_empty_list_explains_what_products_are(manager):
    assert "Add what your shop sells" in get_page(manager, "products")


def test_products_are_listed_with_their_sources(manager, make_product, make_pool):
    shared = make_pool(name="Shared")
    make_product(pool=shared, name="Photo <Pro>")
    lite = make_product(pool=shared, name="Photo Lite", quantity_rule="item")
    add_source(lite, "manual")
    make_product(source=None, name="Photo Max")

    text = get_page(manager, "products")

    assert "Photo &lt;Pro&gt;" in text and "One per item, whatever the quantity" in text
    assert 'Pool “Shared” <span class="quiet">shared</span>, then Manual' in text
    assert "none yet, so orders wait" in text


def test_a_product_is_added(manager, merchant):
    manager.post(reverse("product-add"), {"name": "Photo Max", "sku": "PHOTO-MAX", "quantity_rule": "item"})

    product = merchant.products.get()
    assert (product.name, product.sku, product.quantity_rule) == ("Photo Max", "PHOTO-MAX", "item")
    assert "Orders wait until you add one" in get_page(manager, "product", product.pk)


def test_instructions_are_shown_on_the_product_page_and_in_the_email_preview(manager, make_product):
    product = make_product()
    data = {"name": product.name, "sku": product.sku, "quantity_rule": "unit"}

    manager.post(reverse("product-change", args=[product.pk]), data | {"instructions": "Open <Help>\r\nand paste it."})

    product.refresh_from_db()
    assert product.instructions == "Open <Help>\nand paste it."
    assert "Open &lt;Help&gt;<br>and paste it." in get_page(manager, "product", product.pk)
    assert "Open &lt;Help&gt;<br>and paste it." in unescape(get_page(manager, "email-preview", product.pk, "en"))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"sku": "TAKEN"}, "Another product has this SKU"),
        ({"sku": "PHOTO MAX"}, "without spaces"),
        ({"name": ""}, "This field is required"),
        ({"quantity_rule": "none"}, "Select a valid choice"),
    ],
)
@pytest.mark.parametrize("name", ["product-add", "product-change"])
def test_it_rejects_invalid_products(manager, make_product, merchant, name, wrong, error):
    product = make_product(sku="PHOTO", source=None)
    make_product(sku="TAKEN", source=None)
    arguments = [] if name == "product-add" else [product.pk]

    response = manager.post(
        reverse(name, args=arguments), {"name": "N", "sku": "NEW", "quantity_rule": "unit"} | wrong
    )

    assert error in response.content.decode()
    assert set(merchant.products.values_list("sku", flat=True)) == {"PHOTO", "TAKEN"}


def test_a_product_is_changed(manager, product):
    manager.post(reverse("product-change", args=[product.pk]), {"name": "N", "sku": "NEW", "quantity_rule": "item"})

    product.refresh_from_db()
    assert (product.name, product.sku, product.quantity_rule) == ("N", "NEW", "item")


# Sources


def test_sources_can_be_added_moved_and_removed(manager, make_product, make_pool):
    first, second = make_pool(name="First"), make_pool(name="Second")
    product = make_product(pool=first)
    for source in (f"pool {second.pk}", "manual"):
        manager.post(reverse("product-add-source", args=[product.pk]), {"source": source})
    assert source_names(product) == ["Pool “First”", "Pool “Second”", "Manual"]

    manual = product.fulfillment_methods.get(source="manual")
    manager.post(reverse("product-move-up", args=[product.pk, manual.pk]))
    manager.post(reverse("product-move-up", args=[product.pk, manual.pk]))
    manager.post(reverse("product-move-up", args=[product.pk, manual.pk]))
    assert source_names(product) == ["Manual", "Pool “First”", "Pool “Second”"]

    address = reverse("product-remove-source", args=[product.pk, manual.pk])
    assert "A pool keeps its keys" in manager.get(address).content.decode()
    assert len(source_names(product)) == 3
    manager.post(address)
    assert source_names(product) == ["Pool “First”", "Pool “Second”"]


def test_a_product_cant_have_the_same_source_twice(manager, product, make_pool):
    pool = product.fulfillment_methods.get().kind.place

    response = manager.post(reverse("product-add-source", args=[product.pk]), {"source": pool.pk})

    assert "Select a valid choice" in response.content.decode()
    with pytest.raises(SourceChangeRefused):
        add_source(product, "pool", pool)
    assert len(source_names(product)) == 1


def test_a_pool_of_another_merchant_cant_be_added(manager, product, make_pool, outsider):
    theirs = make_pool(merchant=outsider, name="Theirs")
    assert "Theirs" not in get_page(manager, "product", product.pk)

    manager.post(reverse("product-add-source", args=[product.pk]), {"source": theirs.pk})

    assert len(source_names(product)) == 1


def test_a_source_of_another_product_is_not_found(manager, make_product):
    product, other = make_product(), make_product()
    method = other.fulfillment_methods.get()

    for name in ("product-move-up", "product-remove-source"):
        assert manager.post(reverse(name, args=[product.pk, method.pk])).status_code == 404

    assert len(source_names(other)) == 1


def test_a_shared_pool_shows_the_other_products(manager, make_product, make_pool):
    shared = make_pool()
    product = make_product(pool=shared)
    assert "shared with" not in get_page(manager, "product", product.pk)
    make_product(pool=shared, name="Photo Lite")
    make_product(pool=shared, name="Photo Max")

    assert "shared with Photo Lite, Photo Max" in get_page(manager, "product", product.pk)


def test_concurrent_moves_keep_all_sources(make_product, make_pool, in_threads):
    product = make_product(source=None)
    for _ in range(4):
        add_source(product, "pool", make_pool())
    methods = list(FulfillmentMethod.objects.select_related("product"))

    in_threads(lambda number: move_up(methods[number % 4]), range(24), threads=4)

    assert set(product.fulfillment_methods.all()) == set(methods)


# Fulfillment from several sources


def test_the_next_pool_is_used_when_one_is_empty(pay, make_product, make_pool):
    first, second = make_pool(0), make_pool(5)
    product = make_product(pool=first)
    add_source(product, "pool", second)

    answer = pay(product)

    assert answer["items"][0]["fulfillment"] == "done"
    assert second.keys.issued().count() == 1


def test_codes_from_two_pools_are_sent_in_one_email(pay, make_product, make_pool, work, mailoutbox):
    first, second = make_pool(1), make_pool(5)
    product = make_product(pool=first)
    add_source(product, "pool", second)

    pay(product, quantity=3)
    work()

    codes = [code.code for code in ActivationCode.objects.order_by("unit")]
    issued = [key.code for pool in (first, second) for key in pool.keys.issued().order_by("position")]
    assert codes == issued and len(codes) == 3
    assert first.keys.issued().count() == 1
    mails = [mail for mail in mailoutbox if mail.to == ["ada@example.com"]]
    assert len(mails) == 1 and all(code in mails[0].body for code in codes)


def test_adding_a_pool_serves_waiting_orders_oldest_payment_first(manager, pay, make_product, make_pool, work):
    product = make_product(keys=0)
    for number in (3, 1, 2):
        pay(product, order=f"W{number}", paid_at=f"2026-11-2{number}T10:00:00Z")
    spare = make_pool(2)

    manager.post(reverse("product-add-source", args=[product.pk]), {"source": f"pool {spare.pk}"})
    work()

    served = [key.item.order.number for key in spare.keys.issued().order_by("position")]
    assert served == ["W1", "W2"]
    assert Fulfillment.objects.get(item__order__number="W3").status == "waiting"


def test_adding_a_pool_nudges_a_worker(pay, make_product, make_pool, monkeypatch):
    published = []
    monkeypatch.setattr("fulfillment.product_sources.publish", lambda task, pk: published.append((task, pk)))
    product, spare = make_product(keys=0), make_pool(2)
    pay(product)

    add_source(product, "pool", spare)

    assert published == [("fulfillment.tasks.serve_pool", spare.pk)]


def test_adding_the_manual_source_causes_notices_for_waiting_items(manager, pay, make_product, work):
    product, other = make_product(keys=0), make_product(keys=0)
    pay(product)
    pay(other)
    pay(product, order="DELETED")
    Order.objects.filter(number="DELETED").update(status="deleted")

    manager.post(reverse("product-add-source", args=[product.pk]), {"source": "manual"})
    work()

    notice = MerchantNotice.objects.get(kind="code_wanted")
    assert isinstance(notice.subject, OrderItem) and notice.subject.product == product
    assert "person to enter" in notice.subject.fulfillment.reason


def test_changing_the_sources_in_the_admin_serves_waiting_items(
    client, pay, make_product, make_pool, work, admin_user
):
    product = make_product(source=None)
    pay(product)
    spare = make_pool(1)
    client.force_login(admin_user)
    empty, inline = source_forms("manual")

    response = client.post(
        reverse("admin:merchants_product_change", args=[product.pk]),
        {"sku": product.sku, "name": product.name, "quantity_rule": "unit"}
        | empty
        | {f"{inline}-TOTAL_FORMS": 1, f"{inline}-0-product": product.pk, f"{inline}-0-position": 1},
    )
    work()

    assert response.status_code == 302
    assert MerchantNotice.objects.filter(kind="code_wanted").exists()
    assert spare.keys.available().count() == 1 and LicenseKey.objects.count() == 1
    assert Product.objects.get().fulfillment_methods.get().source == "manual"


def source_forms(*kinds):
    """Return the management data of the admin's inlines, all empty, and the prefixes of the inlines of these kinds."""
    codes = [code for code, kind in SOURCES.items() if kind.selectable]
    names = ["fulfillment_methods", *(f"fulfillment_methods-{number}" for number in range(2, len(codes) + 1))]
    forms = {f"{name}-{field}_FORMS": 0 for name in names for field in ("TOTAL", "INITIAL")}
    return forms, *(names[codes.index(kind)] for kind in kinds)


@pytest.mark.parametrize("position", ["1", "2"])
def test_a_source_can_take_the_position_of_another_kind_of_source_in_the_admin(
    position, client, make_product, make_pool, admin_user
):
    """The same save removes the old source or moves it behind the new one."""
    product, pool = make_product(source="manual"), make_pool()
    [old] = product.fulfillment_methods.all()
    client.force_login(admin_user)
    forms, new, manual = source_forms("pool", "manual")
    forms |= {f"{inline}-TOTAL_FORMS": 1 for inline in (new, manual)}
    forms |= {f"{new}-0-product": product.pk, f"{new}-0-position": 1, f"{new}-0-pool": pool.pk}
    forms |= {f"{manual}-INITIAL_FORMS": 1, f"{manual}-0-id": old.pk, f"{manual}-0-product": product.pk}
    forms |= {f"{manual}-0-position": position} | ({f"{manual}-0-DELETE": "on"} if position == "1" else {})

    address = reverse("admin:merchants_product_change", args=[product.pk])
    data = {"sku": product.sku, "name": product.name, "quantity_rule": "unit"} | forms
    response = post_confirmed(client, address, data) if position == "1" else client.post(address, data)

    assert response.status_code == 302
    assert source_names(product) == [f"Pool “{pool}”", *(["Manual"] if position == "2" else [])]


def test_two_sources_of_a_product_cant_have_the_same_position_in_the_admin(
    client, make_product, make_pool, admin_user
):
    product = make_product(source=None)
    client.force_login(admin_user)
    forms, pool, manual = source_forms("pool", "manual")
    for inline in (pool, manual):
        forms |= {f"{inline}-TOTAL_FORMS": 1, f"{inline}-0-product": product.pk, f"{inline}-0-position": 1}

    response = client.post(
        reverse("admin:merchants_product_change", args=[product.pk]),
        {"sku": product.sku, "name": product.name, "quantity_rule": "unit", f"{pool}-0-pool": make_pool().pk} | forms,
    )

    assert "Two sources have the position 1." in response.content.decode()
    assert not product.fulfillment_methods.exists()
