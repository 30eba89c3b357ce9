"""The list of what needs a person, its fixes, and what members with each role may do."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from delivery.models import Delivery
from fulfillment.models import DealtWith, Fulfillment
from fulfillment.sources.web_service.models import WebService, WebServiceMethod
from fulfillment.tests.factories import fulfill_due
from merchants.models import Member
from orders.models import Order, OrderEvent
from portal.attention.causes import read_causes
from shops.connecting import connect

LIST = "/attention/"
pytestmark = pytest.mark.django_db(transaction=True)


def text_of(response):
    return unescape(response.content.decode())


def fix(support, slug):
    """Answer the question of what fixes a cause."""
    question = support.get(f"/attention/{slug}/fix/")
    return support.post(f"/attention/{slug}/fix/", {"seen": seen_on(question)}, follow=True)


def seen_on(response, thing=None):
    """The hidden field of a form: of the only one, or of a row's."""
    pattern = r'name="seen" value="(\w+)"'
    if thing:
        pattern = rf'/{thing}/dealt-with/[^>]*>.*?name="seen" value="(\w+)"'
    return re.findall(pattern, response.content.decode(), re.DOTALL)[0]


@pytest.fixture
def bounced(pay, product, work):
    pay(product)
    pay(product, order="B2")
    work()
    Delivery.objects.update(status="bounced", reason="The mailbox is full.")
    return list(Order.objects.order_by("pk"))


@pytest.fixture
def manager(client, make_member):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def failed(merchant, pay, make_product):
    """Orders that a web service failed."""
    product = make_product(source=None)
    service = WebService.objects.create(merchant=merchant, name="Gen", url="https://gen.example/", secret="whsec_")
    WebServiceMethod.objects.create(product=product, web_service=service)
    for number in range(3):
        pay(product, order=f"F{number}")
    Fulfillment.objects.update(status="failed", due_at=None, ended_at=timezone.now(), reason="404 Not Found")
    return service


def test_it_lists_causes_with_their_rows_and_fixes(support, bounced):
    text = text_of(support.get(LIST))

    assert "2 addresses bounced" in text and "The mailbox is full." in text
    assert f'href="{reverse("order-fix-address", args=["B2"])}"' in text and "Fix address" in text
    assert '<span class="count">2</span>' in text


def test_zero_is_reachable(support, bounced):
    question = support.get("/attention/bounced/dealt-with/")
    assert "Mark all 2 as dealt with?" in text_of(question)

    page = support.post("/attention/bounced/dealt-with/", {"seen": seen_on(question)}, follow=True)

    text = text_of(page)
    assert "2 dealt with." in text and "Nothing needs attention" in text and 'class="count"' not in text
    order = text_of(support.get(reverse("order", args=["B2"])))
    assert "Marked as dealt with, by Sam" in " ".join(order.split())


def test_a_row_is_dealt_with_on_its_own(support, bounced):
    page = support.get(LIST)
    first, second = bounced

    response = support.post(
        f"/attention/bounced/{second.pk}/dealt-with/", {"seen": seen_on(page, second.pk)}, follow=True
    )

    text = text_of(response)
    assert "It comes back if it happens again." in text and "1 address bounced" in text
    assert ">B2<" not in text and f">{first.number}<" in text


def test_what_happened_since_the_page_was_opened_is_not_cleared(support, bounced, pay, product, work):
    question = support.get("/attention/bounced/dealt-with/")
    pay(product, order="B3")
    work()
    Delivery.objects.update(status="bounced")

    text = text_of(support.post("/attention/bounced/dealt-with/", {"seen": seen_on(question)}, follow=True))

    assert "More has happened since you opened the page." in text and "3 addresses bounced" in text
    assert not DealtWith.objects.exists()


def test_a_second_click_is_harmless(support, bounced):
    question = support.get("/attention/bounced/dealt-with/")
    form = {"seen": seen_on(question)}

    texts = [text_of(support.post("/attention/bounced/dealt-with/", form, follow=True)) for _ in range(2)]

    assert "Nothing is left to do there." in texts[1]
    assert OrderEvent.objects.filter(kind="dealt").count() == 2


def test_all_failed_items_are_retried_together(support, failed, merchant):
    page = text_of(support.get(LIST))
    assert "Gen works again: 3 orders failed" in page and "404 Not Found" in page
    slug = f"server-{failed.pk}"
    question = text_of(support.get(f"/attention/{slug}/fix/"))
    assert "Retry all 3 orders?" in question and "No code is issued twice." in question
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"failed"}

    text = text_of(fix(support, slug))

    assert "Trying 3 items again." in text and "Nothing needs attention" in text
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"pending"}
    assert OrderEvent.objects.filter(kind="retry").count() == 3


def test_a_retry_that_fails_again_comes_back(support, failed):
    slug = f"server-{failed.pk}"
    question = support.get(f"/attention/{slug}/dealt-with/")
    support.post(f"/attention/{slug}/dealt-with/", {"seen": seen_on(question)})
    assert "Nothing needs attention" in text_of(support.get(LIST))

    Fulfillment.objects.update(ended_at=timezone.now())

    assert "3 orders failed" in text_of(support.get(LIST))


def test_all_held_orders_are_approved_together(support, pay, make_product):
    for number in range(3):
        pay(make_product(keys=1), order=f"H{number}")
    Order.objects.update(held_until=timezone.now() + timedelta(days=1))
    assert "3 orders are being checked" in text_of(support.get(LIST))
    assert "Approve all 3 orders?" in text_of(support.get("/attention/held/fix/"))

    text = text_of(fix(support, "held"))
    fulfill_due()

    assert "Approved 3 orders." in text
    assert not Order.objects.exclude(held_until=None).exists()
    assert OrderEvent.objects.filter(kind="approved").count() == 3


def test_an_order_held_after_the_question_is_not_approved(support, pay, make_product):
    pay(make_product(keys=1), order="H1")
    Order.objects.update(held_until=timezone.now() + timedelta(days=1))
    question = support.get("/attention/held/fix/")
    pay(make_product(keys=1), order="H2")
    Order.objects.update(held_until=timezone.now() + timedelta(days=1))

    text = text_of(support.post("/attention/held/fix/", {"seen": seen_on(question)}, follow=True))

    assert "More has happened since you opened the page." in text
    assert Order.objects.exclude(held_until=None).count() == 2


def test_emails_that_failed_are_sent_again_together(support, bounced, work, mailoutbox):
    Delivery.objects.update(status="failed")
    before = len(mailoutbox)
    assert "Resend to all 2 customers?" in text_of(support.get("/attention/failed/fix/"))

    text = text_of(fix(support, "failed"))
    work()

    assert "2 e-mails are on their way." in text and "Nothing needs attention" in text
    assert len(mailoutbox) - before == 2


def test_unmapped_items_are_mapped_together(support, api, make_payment, make_product, product):
    for number in range(2):
        payment = make_payment(product, order=f"U{number}")
        payment["items"][0]["product"] = "LATER"
        api.post("/api/v1/payments/", payment, format="json")
    later = make_product(sku="LATER", keys=2)

    text = text_of(fix(support, f"product-{later.pk}"))

    assert "Mapped 2 orders." in text and "Nothing needs attention" in text
    assert later.order_items.count() == 2


def test_a_bounce_has_no_fix_for_all(support, bounced):
    assert support.get("/attention/bounced/fix/").status_code == 404


def test_support_sees_what_only_managers_fix(support, merchant, pay, make_product, client):
    pay(make_product(keys=0))
    shop = connect(merchant, "woocommerce", name="Main")
    shop.events.create(key="1", body=b"{}", state="parked", cause="unmapped", due_at=None, ended_at=timezone.now())

    text = text_of(support.get(LIST))

    assert "is empty: 1 order" in text and "Main: 1 sale of an unmapped product" in text
    assert "Add keys" not in text and "Map products" not in text and "A manager can fix it." in text
    (slug,) = (cause.slug for cause in read_causes(merchant) if cause.slug.startswith("shop"))
    question = support.get(f"/attention/{slug}/dealt-with/")
    support.post(f"/attention/{slug}/dealt-with/", {"seen": seen_on(question)})
    assert "Main:" not in text_of(support.get(LIST))


def test_managers_get_links_to_the_fixes(manager, merchant, pay, make_product):
    pay(make_product(keys=0))
    shop = connect(merchant, "woocommerce", name="Main")
    shop.events.create(key="1", body=b"{}", state="parked", cause="unmapped", due_at=None, ended_at=timezone.now())

    text = text_of(manager.get(LIST))

    assert "Add keys" in text and f'href="{reverse("shop-products", args=[shop.pk])}"' in text
    assert f'href="{reverse("shop-event", args=[shop.pk, shop.events.get().pk])}"' in text


def test_an_old_cause_is_listed_apart(support, bounced):
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=31))
    text = text_of(support.get(LIST))
    assert "Nothing new needs attention" in text and "Show older" in text and 'class="count"' not in text

    older = text_of(support.get(f"{LIST}?older=1"))
    assert "2 addresses bounced" in older and "Older than 30 days" in older
    question = support.get("/attention/bounced/dealt-with/?older=1")
    support.post("/attention/bounced/dealt-with/?older=1", {"seen": seen_on(question)})

    assert "Show older" not in text_of(support.get(LIST))


def test_a_cause_has_a_page_with_all_its_rows(support, pay, make_product, monkeypatch):
    monkeypatch.setattr("portal.attention.views.PAGE_SIZE", 4)
    product = make_product(keys=0)
    for number in range(9):
        pay(product, order=f"P{number}")
    page = text_of(support.get(LIST))
    (address,) = set(re.findall(r'href="(/attention/pool-\d+/)"', page))
    assert "Show all 9" in page and ">P8<" in page and ">P0<" not in page

    pages, link = [], address
    while link:
        response = support.get(link)
        pages.append(re.findall(r">(P\d)</a>", response.content.decode()))
        found = re.search(r'href="(\?[^"]+)" rel="next"', response.content.decode())
        link = found and f"{address}{unescape(found[1])}"

    assert pages == [["P8", "P7", "P6", "P5"], ["P4", "P3", "P2", "P1"], ["P0"]]


def test_causes_of_other_merchants_are_a_404(support, merchant, outsider, make_product, make_pool):
    theirs = make_pool(merchant=outsider)
    shop = connect(outsider, "woocommerce")
    service = WebService.objects.create(merchant=outsider, name="Gen", url="https://gen.example/", secret="whsec_")
    product = make_product(merchant=outsider, pool=theirs)
    for slug in (
        f"pool-{theirs.pk}",
        f"shop-{shop.pk}-unmapped",
        f"server-{service.pk}",
        f"product-{product.pk}",
        "nonsense",
        "toy-1",
    ):
        for action in ("", "fix/", "dealt-with/"):
            assert support.get(f"/attention/{slug}/{action}").status_code == 404, (slug, action)
        for action in ("fix/", "dealt-with/", "1/dealt-with/"):
            assert support.post(f"/attention/{slug}/{action}", {"seen": "x"}).status_code == 404, (slug, action)


def test_an_own_cause_that_is_gone_leads_back_to_the_list(support, make_pool, bounced):
    pool = make_pool(1)

    text = text_of(support.get(f"/attention/pool-{pool.pk}/", follow=True))

    assert "Nothing is left to do there." in text and "2 addresses bounced" in text


def test_an_order_of_another_merchant_is_not_dealt_with(support, bounced, outsider, api):
    Order.objects.filter(number="B2").update(merchant=outsider)
    Delivery.objects.filter(order__number="B2").update(merchant=outsider)

    response = support.post(f"/attention/bounced/{bounced[1].pk}/dealt-with/", {"seen": "x"})

    assert response.status_code == 404
    assert not DealtWith.objects.exists()


def test_test_orders_are_apart(support, pay_as_test, make_product, bounced, sandbox):
    pay_as_test(make_product(source="manual"))
    assert "enter codes" not in text_of(support.get(LIST))

    support.post(reverse("show-test-data"), {"test": "on"})

    text = text_of(support.get(LIST))
    assert "1 order waits for a person to enter codes" in text and "bounced" not in text
