"""One sentence says how an order stands, next to the one action that helps."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone
from django.utils.html import strip_tags

from delivery import resending
from delivery.models import Delivery
from fulfillment.holds import UNTIL_APPROVED
from fulfillment.models import Fulfillment, HeldCode
from fulfillment.personal_data import PersonalData
from fulfillment.sources.web_service.models import WebService
from merchants.models import CheckoutPage, Member, User
from orders.models import Order
from orders.services import correct_email, refund

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(client, make_member):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def order(pay, make_product, work):
    pay(make_product(name="Photo Pro"), order="A1", quantity=2)
    work()
    return Order.objects.get()


def headline(client, page="/orders/A1/"):
    """The look, the text and the action of the order page's headline."""
    html = client.get(page).content.decode()
    section = re.search(r'<section class="headline (\w+)".*?</section>', html, re.DOTALL)
    assert section
    text, _, action = section[0].partition('<div class="reach">')
    return section[1], plain(text), plain(action)


def plain(html):
    return " ".join(unescape(strip_tags(html)).split())


def set_mail(**fields):
    Delivery.objects.update(**fields)


def test_sent(manager, order):
    assert headline(manager) == ("good", "2 licenses sent to ada@example.com just now.", "Resend all")


def test_the_time_has_seconds_and_zone_as_a_tooltip(manager, order):
    set_mail(sent_at="2026-11-22T10:00:01Z")

    assert 'title="22 Nov 2026, 10:00:01 UTC">' in manager.get("/orders/A1/").content.decode()


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("opened", "", ("good", "2 licenses sent to ada@example.com just now and opened.", "Resend all")),
        ("delivered", "", ("good", "2 licenses delivered to ada@example.com just now.", "Resend all")),
        (
            "bounced",
            "The mailbox is full.",
            (
                "bad",
                "2 licenses sent to ada@example.com just now; the e-mail bounced: The mailbox is full.",
                "Fix address and resend",
            ),
        ),
        (
            "rejected",
            "",
            ("bad", "2 licenses sent to ada@example.com just now; the e-mail was rejected.", "Fix address and resend"),
        ),
        (
            "failed",
            "No such address.",
            ("bad", "2 licenses couldn’t be e-mailed to ada@example.com: No such address.", "Fix address and resend"),
        ),
        ("queued", "", ("busy", "2 licenses on the way to ada@example.com.", "")),
        (
            "queued",
            "The mail server is unreachable.",
            (
                "busy",
                "2 licenses not sent to ada@example.com yet: The mail server is unreachable. We keep trying.",
                "",
            ),
        ),
    ],
)
def test_what_became_of_the_email(manager, order, status, reason, expected):
    set_mail(status=status, reason=reason)

    assert headline(manager) == expected


def test_a_bounce_counts_until_its_codes_are_sent_again(manager, order, work):
    set_mail(status="bounced")
    resending.resend(order.items.get(), order.codes().first(), actor="Sam")
    work()
    assert headline(manager)[0] == "bad"

    resending.resend_all(order, actor="Sam")
    work()

    assert headline(manager) == ("good", "2 licenses sent to ada@example.com just now.", "Resend all")


def test_after_a_code_was_sent_again_all_of_them_count(manager, order, work):
    resending.resend(order.items.get(), order.codes().first(), actor="Sam")
    work()

    text = "2 licenses sent to ada@example.com, the last just now."
    assert headline(manager) == ("good", text, "Resend all")


def test_after_a_code_was_sent_to_a_new_address_only_that_counts(manager, order, work):
    correct_email(order, "ada@byron.example", actor="Sam")
    resending.resend(order.items.get(), order.codes().first(), actor="Sam")
    work()

    assert headline(manager)[1] == "1 license sent to ada@byron.example just now."


def test_after_a_correction_nothing_has_been_sent_to_the_new_address(manager, order):
    correct_email(order, "right@example.com", actor="Sam")

    text = "2 licenses went to ada@example.com. Nothing has been sent to right@example.com yet."
    assert headline(manager) == ("warn", text, "Resend all")


def test_without_allowed_delivery_it_offers_no_resend(manager, order):
    CheckoutPage.objects.update(delivery_allowed=False)
    Delivery.objects.all().delete()

    look, text, action = headline(manager)

    assert (look, action) == ("warn", "")
    assert text.startswith("2 licenses saved, but not e-mailed. Delivery isn’t allowed for the checkout page “main”.")


def test_waiting_for_a_pool(manager, pay, make_product, work):
    product = make_product(keys=1, name="Photo Pro")
    pay(product, order="A1", quantity=2)
    work()
    pool = product.merchant.pools.get()

    sent, missing = "1 license sent to ada@example.com just now.", "1 license of Photo Pro is missing."
    assert headline(manager) == ("warn", f"{sent} {missing} The pool “{pool}” has no keys left.", "Add keys")
    html = manager.get("/orders/A1/").content.decode()
    assert f'<a href="/pools/{pool.pk}/">“{pool}”</a>' in html and f'href="/pools/{pool.pk}/import/"' in html


def test_support_members_get_no_link_to_a_pool(support, pay, make_product, work):
    product = make_product(keys=0)
    pay(product, order="A1")
    work()

    assert headline(support)[2] == ""
    assert f"/pools/{product.merchant.pools.get().pk}/" not in support.get("/orders/A1/").content.decode()


def test_support_staff_get_links_into_the_admin(client, pay, make_product, work):
    product = make_product(keys=0)
    pay(product, order="A1")
    work()
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    page = f"/admin/orders/order/{Order.objects.get().pk}/change/"

    assert headline(client, page)[2] == "Add keys"
    assert f'"/admin/pools/licensepool/{product.merchant.pools.get().pk}/change/"' in client.get(page).content.decode()


def test_waiting_for_a_person(manager, pay, make_product, work):
    pay(make_product(source="manual", name="Custom"), order="A1")
    work()

    look, text, action = headline(manager)

    assert (look, action) == ("warn", "Enter codes")
    assert text == "1 license of Custom is missing. Waiting for a person to enter the activation code."


def test_waiting_for_a_web_service(manager, pay, make_product, make_service):
    product = make_product(source=None, name="Photo Pro")
    service = make_service(product)
    pay(product, order="A1")
    Fulfillment.objects.update(status="waiting", reason="Web service “Gen”: The service answered 503.")

    look, text, action = headline(manager)

    assert (look, action) == ("warn", "Retry")
    assert text == "1 license of Photo Pro is missing. Web service “Gen”: The service answered 503."
    assert f'<a href="/web-services/{service.pk}/">“Gen”</a>' in manager.get("/orders/A1/").content.decode()


def test_failed(manager, pay, make_product):
    pay(make_product(keys=0, name="Photo Pro"), order="A1")
    Fulfillment.objects.update(status="failed", reason="<b>Unknown</b> product.")

    assert headline(manager) == ("bad", "No license for Photo Pro: <b>Unknown</b> product.", "Retry")
    assert "<b>Unknown" not in manager.get("/orders/A1/").content.decode()


def test_all_failed_items_are_retried_with_one_click(manager, pay, make_product):
    pay(make_product(keys=0, name="Pro"), make_product(keys=0, name="Lite"), order="A1")
    Fulfillment.objects.update(status="failed", reason="Unknown product.")
    assert headline(manager) == ("bad", "2 items failed. Pro: Unknown product.", "Retry all")

    page = manager.post("/orders/A1/retry/", follow=True).content.decode()

    assert "Trying 2 items again." in page
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"pending"}
    assert headline(manager) == ("busy", "2 licenses being issued.", "")
    assert manager.post("/orders/A1/retry/").status_code == 409


def test_the_more_urgent_fact_decides_about_the_action(manager, pay, make_product, work):
    pay(make_product(keys=1, name="Photo Pro"), order="A1", quantity=2)
    work()
    set_mail(status="bounced")

    look, text, action = headline(manager)

    assert (look, action) == ("bad", "Fix address and resend")
    assert "the e-mail bounced. 1 license of Photo Pro is missing." in text


@pytest.mark.parametrize("until", [UNTIL_APPROVED, timezone.now() + timedelta(days=1)])
def test_held_for_a_check(manager, pay, make_product, until):
    pay(make_product(keys=0), order="A1")
    Order.objects.update(held_until=until)

    look, text, action = headline(manager)

    assert (look, action) == ("warn", "Approve") and text.endswith("until you approve it.")


def test_a_held_code(manager, order):
    service = WebService.objects.create(merchant=order.merchant, name="Gen", url="https://x.example/", secret="whsec_")
    order.codes().filter(unit=2).delete()
    Fulfillment.objects.update(status="failed", reason="Held.")
    HeldCode.objects.create(source="web_service", upstream=service, item=order.items.get(), unit=2, code="ERROR")

    look, text, action = headline(manager)

    assert (look, action) == ("warn", "Check the code") and "is it a license or an error message?" in text


def test_refunded(manager, order):
    refund(order, actor="Sam")

    assert headline(manager) == ("idle", "Refunded in full just now. Its licenses are no longer sent.", "")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("unpaid", "Not paid yet. Its licenses follow when the shop reports the payment."),
        ("terminated", "Terminated. Its licenses are no longer sent."),
        ("deleted", "Deleted without a payment. It gets no licenses."),
    ],
)
def test_not_paid(manager, order, status, text):
    Order.objects.update(status=status)

    assert headline(manager) == ("idle", text, "")


def test_erased(manager, order):
    PersonalData("ada@example.com").erase(actor="Stella")

    look, text, action = headline(manager)

    assert (look, action) == ("idle", "") and "The customer’s data was erased" in text


def test_unmapped_then_mappable(manager, api, make_payment, make_product, merchant):
    payment = make_payment(make_product(), order="A1")
    payment["items"][0]["product"] = "NEW"
    api.post("/api/v1/payments/", payment, format="json")
    assert headline(manager) == ("idle", "It has no item of yours, so there is nothing to send.", "")

    make_product(sku="NEW", name="New")

    assert headline(manager) == ("warn", "It has items whose products exist now.", "Map to products")


def test_sent_by_the_vendor(manager, pay, make_product):
    pay(make_product(keys=0, name="Photo Pro"), order="A1")
    Fulfillment.objects.update(status="done", sent_by_vendor=True)

    assert headline(manager)[:2] == ("good", "The web service sends the license of Photo Pro directly.")
