"""The order page, used by members in the portal and by support staff in the admin."""

import re
from html import unescape

import pytest

from api.tests.factories import make_api, pay
from delivery.models import Delivery
from fulfillment.actions import replace
from fulfillment.models import Fulfillment, HeldCode
from fulfillment.sources.web_service.models import WebService
from fulfillment.tests.factories import make_product, work
from licensing import models as licensing
from licensing.creation import create_licensee
from merchants.models import CheckoutPage, Member, User
from orders.models import ActivationCode, Order, OrderEvent, Refund
from outbound.models import OutgoingRequest
from portal.orders.tests.conftest import text

pytestmark = pytest.mark.django_db


def make_rows(merchant):
    product = make_product(merchant, sku="PHOTO-PRO", name="Photo Pro")
    pay(make_api(merchant), product, order="A0012345678", quantity=2)
    work()


@pytest.fixture
def order(merchant):
    return Order.objects.get()


@pytest.fixture(params=["portal", "admin"])
def desk(request, client, make_member, order):
    """A client in the portal or the admin; `url` returns the URL of an action, `who` is the person in the history."""
    if request.param == "portal":
        user = make_member().user
        base, page = f"/orders/{order.number}/", f"/orders/{order.number}/"
        client.who = "Sam (support-sam@northlight.example)"
    else:
        user = User.objects.create_superuser("stella@keywell.example", "correct horse", first_name="Stella")
        base, page = f"/admin/orders/order/{order.pk}/", f"/admin/orders/order/{order.pk}/change/"
        client.who = "Stella (stella@keywell.example), support staff"
    client.force_login(user)
    client.page = page
    client.url = lambda action: base + action
    return client


@pytest.fixture
def code(order):
    return ActivationCode.objects.order_by("unit").first()


def resends():
    return Delivery.objects.filter(kind="resend").count()


def test_on_a_confirmation_page_the_navigation_marks_orders(desk, order):
    page = desk.get(desk.url("refund/")).content.decode()

    assert 'aria-current="page">Orders' in page


@pytest.mark.parametrize(("source", "shown"), [("netlicensing", 1), ("pool", 0)])
def test_a_licensee_is_shown_with_the_code_that_is_its_number(source, shown, desk, code):
    product = licensing.LicensingProduct.objects.create(merchant=code.item.order.merchant, name="Photo Pro")
    create_licensee(product, actor="test", number=code.code, name="Ada")
    ActivationCode.objects.filter(pk=code.pk).update(source=source)

    assert text(desk.get(desk.page)).count("Licensee number of") == shown


def test_it_shows_the_order_and_its_history(desk, order, code):
    page = text(desk.get(desk.page))

    assert f"••••{code.hint}" in page and code.code not in page
    assert "Ada Byron · GB" in page and "Photo Pro × 2" in page and "EUR 59.98" in page
    assert "Payment reported, by API key shop-1" in page


def test_revealing_a_code_is_recorded(desk, code):
    response = desk.post(desk.url(f"codes/{code.pk}/reveal/"))

    assert code.code in text(response)
    assert "no-store" in response["Cache-Control"]
    assert f"Code ••••{code.hint} shown, by {desk.who}" in text(response)
    assert OrderEvent.objects.get().happened_by == desk.who
    assert code.code not in text(desk.get(desk.page))


def test_revealing_a_code_requires_a_post(desk, code):
    assert desk.get(desk.url(f"codes/{code.pk}/reveal/")).status_code == 405
    assert not OrderEvent.objects.exists()


def test_resend_asks_for_confirmation(desk, code):
    response = desk.get(desk.url(f"codes/{code.pk}/resend/"))

    assert f"••••{code.hint}, to ada@example.com." in text(response)
    assert resends() == 0


def test_resend_returns_a_dialog_to_htmx(desk, code):
    response = desk.get(desk.url(f"codes/{code.pk}/resend/"), headers={"HX-Request": "true"})

    assert response["Content-Confirm"] == "yes"
    assert "<html" not in response.content.decode()


def test_resend_sends_this_code_to_the_corrected_address(desk, code, work, mailoutbox):
    desk.post(desk.url("address/"), {"email": "ada@byron.example"})
    response = desk.post(desk.url(f"codes/{code.pk}/resend/"), follow=True)
    work()

    assert "on its way to ada@byron.example" in text(response)
    (message,) = mailoutbox
    assert message.to == ["ada@byron.example"]
    other = ActivationCode.objects.get(unit=2)
    assert code.code in message.body and other.code not in message.body
    history = text(desk.get(desk.page))
    assert history.count(f"Code ••••{code.hint} resent to ada@byron.example") == 1
    assert f"resent to ada@byron.example, by {desk.who}" in history


def test_a_second_click_sends_no_second_email(desk, code, work, mailoutbox):
    url = desk.url(f"codes/{code.pk}/resend/")
    desk.post(url)
    work()
    response = desk.post(url, follow=True)
    work()

    assert "so we didn’t send it again" in text(response)
    assert len(mailoutbox) == resends() == 1


def test_each_code_is_resent_separately(desk, order):
    for code in ActivationCode.objects.all():
        desk.post(desk.url(f"codes/{code.pk}/resend/"))

    assert resends() == 2


@pytest.mark.parametrize("status", ["unpaid", "deleted", "terminated"])
def test_an_unpaid_order_shows_the_reason_and_resends_nothing(desk, order, code, status):
    Order.objects.update(status=status)
    url = desk.url(f"codes/{code.pk}/resend/")

    page = desk.get(desk.page)
    forged = desk.post(url)

    assert f"Can’t resend: The order is {status}, not paid." in text(page)
    assert url not in page.content.decode()
    assert forged.status_code == 409 and f"The order is {status}, not paid." in text(forged)
    assert desk.get(url).status_code == 409
    assert resends() == 0


def test_without_allowed_delivery_it_shows_the_reason_and_resends_nothing(desk, code):
    CheckoutPage.objects.update(delivery_allowed=False)
    url = desk.url(f"codes/{code.pk}/resend/")

    page = desk.get(desk.page)

    assert "Can’t resend: Delivery isn’t allowed for the checkout page “main”" in text(page)
    assert url not in page.content.decode()
    assert desk.post(url).status_code == 409 and resends() == 0


def test_an_item_without_codes_shows_the_reason(desk, order):
    Delivery.objects.all().delete()
    ActivationCode.objects.all().delete()
    Fulfillment.objects.update(status="waiting", reason="The pool is empty.")

    page = text(desk.get(desk.page))

    assert "2 of 2 activation codes missing. The pool is empty." in page
    assert "Can’t resend: There are no activation codes yet." in page
    assert "Resend" not in page


def test_the_address_can_be_corrected(desk, order):
    response = desk.post(desk.url("address/"), {"email": "ada@byron.example"}, follow=True)

    order.refresh_from_db()
    assert order.email == "ada@byron.example"
    page = text(response)
    assert "The address is now ada@byron.example" in page
    assert f"Address corrected from ada@example.com to ada@byron.example, by {desk.who}" in page


def test_an_invalid_address_shows_an_error_at_its_field(desk, order):
    response = desk.post(desk.url("address/"), {"email": "ada@"})

    assert "Enter a valid email address." in text(response)
    assert 'aria-invalid="true"' in response.content.decode()


def test_a_full_refund_deletes_the_order(desk, order):
    response = desk.post(desk.url("refund/"), {"amount": "59.98", "left": "59.98"}, follow=True)

    order.refresh_from_db()
    assert order.status == "deleted"
    page = text(response)
    assert "Nothing is left, so the order is deleted" in page
    assert f"EUR 59.98 refunded, by {desk.who}" in page
    assert desk.get(desk.url("refund/")).status_code == 409


def test_after_a_partial_refund_the_order_stays_paid(desk, order):
    desk.post(desk.url("refund/"), {"amount": "10.00", "left": "59.98", "reference": "R-1"})

    order.refresh_from_db()
    assert order.status == "paid" and str(order.left_to_refund()) == "49.98"
    assert Refund.objects.get().reference == "R-1"


def test_a_second_click_refunds_nothing(desk, order):
    form = {"amount": "10.00", "left": "59.98"}
    desk.post(desk.url("refund/"), form)

    response = desk.post(desk.url("refund/"), form)

    assert response.status_code == 409 and "EUR 49.98 are left. Check the amount again." in text(response)
    assert Refund.objects.count() == 1


@pytest.mark.parametrize("amount", ["0", "-1", "1.234", "lots", ""])
def test_an_invalid_amount_shows_an_error_at_its_field(desk, order, amount):
    response = desk.post(desk.url("refund/"), {"amount": amount, "left": "59.98"})

    assert response.status_code == 200 and 'id="id_amount_error"' in response.content.decode()
    assert not Refund.objects.exists()


def test_it_refuses_to_refund_more_than_is_left(desk, order):
    response = desk.post(desk.url("refund/"), {"amount": "60.00", "left": "59.98"})

    assert response.status_code == 409 and "Only EUR 59.98 are left" in text(response)


def test_a_failed_item_can_be_retried(desk, order, work):
    item = order.items.get()
    Fulfillment.objects.update(status="failed", due_at=None)
    ActivationCode.objects.filter(unit=2).delete()

    response = desk.post(desk.url(f"items/{item.pk}/retry/"), follow=True)

    assert "Trying Photo Pro again" in text(response)
    fulfillment = Fulfillment.objects.get()
    assert fulfillment.status == "pending" and fulfillment.due_at
    assert OrderEvent.objects.get().happened_by == desk.who


def test_a_done_item_cannot_be_retried(desk, order):
    response = desk.post(desk.url(f"items/{order.items.get().pk}/retry/"))

    assert response.status_code == 409 and "This item already has all its activation codes." in text(response)


def test_missing_codes_can_be_entered_manually(desk, order, pay, make_product, work, mailoutbox):
    pay(make_product(source="manual", name="Custom"), order="M1", quantity=2)
    other_order = Order.objects.get(number="M1")
    url = (
        desk.page.replace("/change/", "/").replace("A0012345678", "M1").replace(f"/{order.pk}/", f"/{other_order.pk}/")
    )
    work()
    mailoutbox.clear()

    response = desk.post(
        f"{url}items/{other_order.items.get().pk}/codes/", {"unit_1": "", "unit_2": "AAAA"}, follow=True
    )
    work()

    assert "is on its way" in text(response)
    code = ActivationCode.objects.get(item__order=other_order)
    assert (code.unit, code.saved_by) == (2, desk.who)
    assert any("AAAA" in message.body for message in mailoutbox)


def test_codes_cannot_be_entered_for_an_item_that_has_them(desk, order):
    assert desk.get(desk.url(f"items/{order.items.get().pk}/codes/")).status_code == 409


def test_a_code_of_another_order_is_a_404(desk, order, pay, product):
    pay(product, order="B2")
    other = ActivationCode.objects.get(item__order__number="B2")

    for action in ("resend", "reveal"):
        assert desk.post(desk.url(f"codes/{other.pk}/{action}/")).status_code == 404
    assert resends() == 0 and not OrderEvent.objects.exists()


def test_an_item_of_many_units_is_shown_in_parts(desk, order, pay, make_product, make_pool):
    pay(make_product(keys=120), order="MANY", quantity=120)
    many = Order.objects.get(number="MANY")
    page = desk.page.replace("A0012345678", "MANY").replace(f"/{order.pk}/", f"/{many.pk}/")

    first, last = desk.get(page).content.decode(), desk.get(page + "?from=91").content.decode()

    assert "Codes 1 to 30 of 120" in first and '"More for code 30"' in first and '"More for code 31"' not in first
    assert "Codes 91 to 120 of 120" in last and '"More for code 120"' in last
    assert desk.get(page + "?from=x").status_code == 200


def test_a_page_of_an_item_with_thousands_of_codes_is_small(
    desk, order, pay, make_product, django_assert_max_num_queries
):
    pay(make_product(keys=3000), order="MANY", quantity=3000)
    many = Order.objects.get(number="MANY")
    page = desk.page.replace("A0012345678", "MANY").replace(f"/{order.pk}/", f"/{many.pk}/")

    with django_assert_max_num_queries(12):
        response = desk.get(page)

    assert len(response.content) < 90_000  # the style sheets and scripts add 40 kB
    assert "3,000 licenses on the way to ada@example.com." in text(response)


def test_it_shows_the_pool_and_batch_of_a_code(desk, order, merchant):
    page, pool = desk.get(desk.page).content.decode(), merchant.pools.get()
    batch = pool.batches.get()

    assert f"from pool: {pool}, batch {batch.pk}" in text(desk.get(desk.page))
    is_linked = "admin" in desk.page  # the portal's member is in support, and may not see pools
    assert (f'href="/admin/pools/keybatch/{batch.pk}/change/"' in page) == is_linked


def test_a_manager_gets_links_to_the_pool_and_the_batch(client, order, make_member, merchant):
    client.force_login(make_member(Member.Role.MANAGER).user)
    pool = merchant.pools.get()

    page = client.get(f"/orders/{order.number}/").content.decode()

    assert f'<a href="/pools/{pool.pk}/">{pool}</a>' in page
    assert f'<a href="/pools/{pool.pk}/batches/">batch {pool.batches.get().pk}</a>' in page


@pytest.mark.parametrize("unit", [1, None])
def test_a_manager_gets_a_link_to_the_request(unit, client, order, code, make_member, merchant):
    client.force_login(make_member(Member.Role.MANAGER).user)
    service = WebService.objects.create(merchant=merchant, name="Gen", url="https://shop.example/", secret="whsec_")
    ActivationCode.objects.filter(pk=code.pk).update(source="web_service")
    requests = [
        OutgoingRequest.objects.create(
            merchant=merchant,
            upstream=service,
            item=code.item,
            unit=unit,
            method="POST",
            url="x",
            outcome=outcome,
            **fields,
        )
        for outcome, fields in (("temporary", {}), ("ok", {}), ("fatal", {}), ("ok", {"is_test": True}))
    ]

    page = client.get(f"/orders/{order.number}/").content.decode()

    assert f'<a href="/web-services/{service.pk}/">Gen</a>' in page
    assert re.findall(r'href="/web-services/\d+/requests/(\d+)/"', page) == [str(requests[1].pk)]


def test_markup_in_a_customers_name_is_text(desk, order):
    Order.objects.update(first_name="<b>Ada</b><script>alert(1)</script>")

    assert "<script>alert" not in desk.get(desk.page).content.decode()


def test_it_takes_few_queries(desk, order, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        desk.get(desk.page)


def test_the_page_polls_while_an_email_is_being_sent(desk, order, code):
    assert 'hx-trigger="every' not in desk.get(desk.page).content.decode()

    desk.post(desk.url(f"codes/{code.pk}/resend/"))

    assert 'hx-trigger="every 2s"' in desk.get(desk.page).content.decode()


def test_after_revealing_a_code_the_history_still_polls_the_order_page(desk, order, code):
    desk.post(desk.url(f"codes/{code.pk}/resend/"))

    revealed = desk.post(desk.url(f"codes/{code.pk}/reveal/"))

    assert f'id="history" aria-label="History" hx-get="{desk.page}"' in revealed.content.decode()


def test_the_page_stops_polling_after_repeated_delivery_failures(desk, order, code):
    desk.post(desk.url(f"codes/{code.pk}/resend/"))
    Delivery.objects.update(attempts=3)

    assert 'hx-trigger="every' not in desk.get(desk.page).content.decode()


def test_revealing_or_resending_a_code_stays_on_its_part_of_the_list(desk, order, pay, make_product):
    pay(make_product(keys=40), order="MANY", quantity=40)
    code = ActivationCode.objects.get(item__order__number="MANY", unit=35)
    many = code.item.order
    base = desk.url("").replace("A0012345678", "MANY").replace(f"/{order.pk}/", f"/{many.pk}/")

    assert code.code in text(desk.post(f"{base}codes/{code.pk}/reveal/"))
    page = desk.post(f"{base}codes/{code.pk}/resend/", follow=True).content.decode()
    assert f'"More for code {code.unit}"' in page


def test_an_order_of_many_items_is_shown_in_parts(desk, order, api, make_payment, make_product):
    products = [make_product(keys=20)] * 100
    api.post("/api/v1/payments/", make_payment(*products, quantity=20, order="WIDE"), format="json")
    wide = Order.objects.get(number="WIDE")
    page = desk.page.replace("A0012345678", "WIDE").replace(f"/{order.pk}/", f"/{wide.pk}/")

    first = desk.get(page)
    last = desk.get(page + "?items=91")

    assert len(first.content) < 150_000
    assert "item 10 " in text(first) and "item 11 " not in text(first)
    assert "item 100 " in text(last)


def test_a_long_history_is_shortened_in_the_middle(desk, order, code):
    OrderEvent.objects.bulk_create(
        OrderEvent(order=order, kind="reveal", code=code, happened_by=f"Person {number}") for number in range(500)
    )

    short, whole = text(desk.get(desk.page)), text(desk.get(desk.page + "?history=all"))

    assert "404 more" in short and "by Person 499" in short and "by Person 250" not in short
    assert "by Person 250" in whole


def test_a_free_order_can_be_refunded(desk, order):
    order.items.update(total_price=0)

    desk.post(desk.url("refund/"), {"amount": "0", "left": "0"})

    order.refresh_from_db()
    assert order.status == "deleted"


def test_a_member_of_two_merchants_acts_for_the_merchant_of_the_page(
    client, order, outsider, make_member, make_api, make_payment, make_product
):
    payment = make_payment(make_product(merchant=outsider), order=order.number)
    make_api(outsider).post("/api/v1/payments/", payment, format="json")
    user = make_member().user
    Member.objects.create(merchant=outsider, user=user, role="support")
    client.force_login(user)
    form = client.get(f"/orders/{order.number}/address/?merchant=northlight").content.decode()
    client.get("/?merchant=outsider")  # in another tab

    (address,) = re.findall(r'<form class="form" method="post" action="([^"]+)"', form)
    client.post(unescape(address), {"email": "right@example.com"})

    assert list(Order.objects.order_by("pk").values_list("merchant__slug", "email")) == [
        ("northlight", "right@example.com"),
        ("outsider", "ada@example.com"),
    ]


def test_a_member_with_a_long_name_can_resend_and_reveal(client, order, code, make_member):
    user = make_member().user
    User.objects.filter(pk=user.pk).update(first_name="S" * 150, last_name="M" * 150)
    client.force_login(user)

    for action in ("resend", "reveal"):
        assert client.post(f"/orders/{order.number}/codes/{code.pk}/{action}/").status_code in {200, 302}


# The customer's link


def test_the_link_can_be_revoked_and_renewed(desk, order):
    token = order.link_token
    assert "The link to the customer’s order page is active." in text(desk.get(desk.page))

    page = text(desk.post(desk.url("link/revoke/"), follow=True))
    assert "Link revoked. Nobody can open the customer’s order page." in page and f"revoked, by {desk.who}" in page
    assert "Revoke link" not in page

    page = text(desk.post(desk.url("link/renew/"), follow=True))
    assert "Link renewed" in page and f"renewed, by {desk.who}" in page and "Revoke link" in page
    assert Order.objects.get().link_token not in (None, token)


@pytest.mark.parametrize("action", ["revoke", "renew"])
def test_changing_the_link_asks_for_confirmation(desk, order, action):
    response = desk.get(desk.url(f"link/{action}/"))

    assert f"{action.capitalize()} the link to the customer’s order page?" in text(response)
    assert Order.objects.get().link_token == order.link_token


def test_the_order_page_does_not_contain_the_link(desk, order):
    assert order.link_token not in desk.get(desk.page).content.decode()


def test_it_shows_that_the_customer_saw_a_code(desk, code):
    ActivationCode.objects.filter(pk=code.pk).update(seen_at=code.saved_at)

    assert text(desk.get(desk.page)).count("seen by the customer") == 2  # in the block and in the history


@pytest.mark.parametrize("action", ["resend", "reveal"])
def test_a_replaced_code_cannot_be_resent_or_revealed(action, support, pay, product):
    pay(product)
    order = Order.objects.latest("pk")
    code = order.codes().select_related("item__order").get()
    replace(code, actor="Sam")

    response = support.post(f"/orders/{order.number}/codes/{code.pk}/{action}/")

    assert response.status_code == 409
    assert "is no longer valid" in response.content.decode()


def test_it_shows_the_orders_of_a_subscription(desk, order, renew):
    renew("A1", "A2", "A3")
    Order.objects.filter(number="A2").update(status="deleted")

    def page(number):
        key = str(Order.objects.get(number=number).pk) if "admin" in desk.page else number
        return desk.page.replace(str(order.pk) if "admin" in desk.page else order.number, key)

    response = desk.get(page("A3"))

    assert "Subscription S-77, renews automatically every year: A1 (first) → A2 (deleted) → this" in text(response)
    assert f'<a href="{page("A2")}">A2</a>' in response.content.decode()


def test_a_held_code_can_be_released_or_rejected(desk, order, merchant):
    item = order.items.get()
    ActivationCode.objects.filter(unit=2).delete()
    service = WebService.objects.create(merchant=merchant, name="Gen", url="https://shop.example/", secret="whsec_")

    for action, code in [("refuse", "ERROR: product unknown"), ("release", "AAAA-BBBB-7Q2M")]:
        held = HeldCode.objects.create(source="web_service", upstream=service, item=item, unit=2, code=code)
        Fulfillment.objects.update(status="failed", reason="Held.")
        page = text(desk.get(desk.page))
        # An error is readable; a license is masked.
        assert ("ERROR: product unknown" if action == "refuse" else "••••7Q2M") in page
        assert "AAAA-BBBB" not in page and "Release" in page
        assert desk.get(desk.url(f"held/{held.pk}/{action}/")).status_code == 200
        assert desk.post(desk.url(f"held/{held.pk}/{action}/")).status_code == 302
        assert desk.post(desk.url(f"held/{held.pk}/{action}/")).status_code == 404

    assert ActivationCode.objects.get(unit=2).code == "AAAA-BBBB-7Q2M"
    assert f"Held code 2 for Photo Pro rejected, by {desk.who}" in text(desk.get(desk.page))
