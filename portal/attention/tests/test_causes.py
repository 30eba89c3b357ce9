"""Each cause appears, is dealt with, and comes back when it happens again."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from delivery.models import Delivery
from delivery.resending import resend
from fulfillment.attention import DEALT_WITH_RETENTION, digest, purge, read_occurrences
from fulfillment.attention import deal_with as deal_with_rows
from fulfillment.history import order_history
from fulfillment.models import DealtWith, Fulfillment, HeldCode
from fulfillment.sources.web_service.models import WebService, WebServiceMethod
from merchants.models import ApiKey
from orders.models import Order, OrderEvent
from outbound.models import MailAccount, Upstream
from pools.tests.factories import stock
from portal.attention.causes import count_needing_attention, count_things, find_rows, read_causes
from shops.connecting import connect

NOW = timezone.now()


def causes(merchant, **options):
    return {cause.slug: cause for cause in read_causes(merchant, **options)}


def titles(merchant, **options):
    return [cause.title for cause in read_causes(merchant, **options)]


def deal_with(merchant, slug, **options):
    rows = find_rows(causes(merchant)[slug], merchant, older=False)
    seen = digest(read_occurrences(rows))
    return deal_with_rows(merchant, rows, seen=seen, actor="Sam", **options)


@pytest.fixture
def make_service(merchant):
    def make_service(product, **fields):
        service = WebService.objects.create(
            merchant=merchant, name="Gen", url="https://gen.example/", secret="whsec_", **fields
        )
        WebServiceMethod.objects.create(product=product, web_service=service)
        return service

    return make_service


@pytest.fixture
def bounced(pay, product, work):
    pay(product)
    work()
    Delivery.objects.update(status="bounced", reason="The mailbox is full.")
    return Order.objects.latest("pk")


def fail(**fields):
    Fulfillment.objects.update(**{"status": "failed", "due_at": None, "ended_at": timezone.now()} | fields)


# Causes


def test_an_empty_pool_is_a_cause_with_its_orders(merchant, pay, make_product, make_pool):
    pool = make_pool(name="Video Cut")
    product, other = make_product(pool=pool), make_product(pool=make_pool(name="Lite"))
    for products in ([product], [product, product], [other]):
        pay(*products)

    first, second = read_causes(merchant)

    assert first.fix
    assert (first.title, first.count) == ("Video Cut is empty: 2 orders", 2)
    assert second.title == "Lite is empty: 1 order"
    assert (str(first.fix.label), first.fix.url) == ("Add keys", f"/pools/{pool.pk}/import/")
    assert count_needing_attention(merchant, 100) == 3


def test_it_comes_back_when_new_keys_run_out_again(merchant, pay, make_product, make_pool, work):
    pool = make_pool(name="Video Cut")
    pay(make_product(pool=pool), quantity=3)
    slug = f"pool-{pool.pk}"

    assert deal_with(merchant, slug) == 1
    assert causes(merchant) == {} and count_needing_attention(merchant, 100) == 0

    stock(pool, 1)
    work()

    assert titles(merchant) == ["Video Cut is empty: 1 order"]


def test_a_failing_server_is_a_cause_even_without_orders(merchant, make_product, make_service):
    service = make_service(make_product(source=None))
    away = Upstream.objects.filter(pk=service.pk)
    away.update(paused_at=NOW, failing_since=NOW)
    (title,) = titles(merchant)
    assert title.startswith("Gen has failed since")
    assert count_needing_attention(merchant, 100) == 1

    deal_with(merchant, f"server-{service.pk}")
    assert titles(merchant) == [] and count_needing_attention(merchant, 100) == 0

    away.update(paused_at=NOW, failing_since=NOW + timedelta(minutes=1))
    assert len(titles(merchant)) == 1


def test_orders_that_a_server_failed_belong_to_it(merchant, pay, make_product, make_service):
    product = make_product(source=None)
    service = make_service(product, failing_since=NOW - timedelta(minutes=30))
    pay(product)
    pay(product)
    fail()
    slug = f"server-{service.pk}"

    cause = causes(merchant)[slug]
    assert cause.title.startswith("Gen has failed since") and cause.title.endswith(": 2 orders")
    assert (str(cause.fix.label), cause.fix.is_question) == ("Retry all", True)
    assert cause.more.url == f"/web-services/{service.pk}/console/"
    assert count_needing_attention(merchant, 100) == 3  # the server, too

    assert deal_with(merchant, slug) == 3
    assert titles(merchant) == []

    fail(ended_at=timezone.now())
    Upstream.objects.update(failing_since=None)
    assert titles(merchant) == ["Gen works again: 2 orders failed"]


def test_a_service_for_all_products_is_the_cause_for_products_without_a_source(merchant, pay, make_product):
    WebService.objects.create(
        merchant=merchant, name="Gen", url="https://gen.example/", secret="whsec_", for_all_products=True
    )
    pay(make_product(source=None))
    fail()

    assert titles(merchant) == ["Gen works again: 1 order failed"]


def test_a_product_without_a_source_is_a_cause(merchant, pay, make_product):
    product = make_product(source=None)
    pay(product)

    (cause,) = read_causes(merchant)

    assert cause.title == "1 order has a product without a source of licenses"
    assert cause.fix and cause.fix.url == f"/products/{product.pk}/"


def test_orders_that_failed_while_their_pool_has_keys_are_retried(merchant, pay, make_product, make_pool):
    pool = make_pool(name="Photo")
    pay(make_product(pool=pool))
    fail()
    stock(pool, 3)

    (cause,) = read_causes(merchant)

    assert cause.title == "Pool “Photo”: 1 order failed"
    assert cause.fix
    assert (str(cause.fix.label), cause.fix.is_question) == ("Retry all", True)


def test_codes_that_a_person_enters_are_a_cause(merchant, pay, make_product):
    pay(make_product(source="manual"))

    (cause,) = read_causes(merchant)

    assert cause.title == "1 order waits for a person to enter codes"
    assert cause.item_fix == ("Enter codes", "codes")


def test_a_code_that_looks_wrong_is_a_cause(merchant, pay, make_product, make_service):
    product = make_product(source=None)
    service = make_service(product)
    pay(product)
    fail()
    item = Order.objects.get().items.get()
    HeldCode.objects.create(source="web_service", upstream=service, item=item, unit=1, code="ERROR")

    assert titles(merchant) == ["1 order has a code that looks wrong"]


def test_a_bounce_is_a_cause_until_it_is_dealt_with(merchant, bounced):
    assert titles(merchant) == ["1 address bounced"]

    assert deal_with(merchant, "bounced") == 1

    assert titles(merchant) == [] and count_needing_attention(merchant, 100) == 0
    line = order_history(bounced)[-1]
    assert (line.text, line.note, line.actor) == ("Marked as dealt with", "the e-mail bounced", "Sam")


def test_a_new_bounce_of_the_same_order_comes_back(merchant, bounced, work):
    deal_with(merchant, "bounced")
    delivery, _ = resend(bounced.items.get(), actor="Sam")
    work()
    Delivery.objects.filter(pk=delivery.pk).update(status="bounced")

    assert titles(merchant) == ["1 address bounced"]


def test_an_email_that_is_marked_as_spam_after_its_bounce_comes_back(merchant, bounced):
    deal_with(merchant, "bounced")

    Delivery.objects.update(status="complained")

    assert titles(merchant) == ["1 customer marked the e-mail as spam"]


@pytest.mark.parametrize(
    "fields, title",
    [
        ({"status": "rejected"}, "1 e-mail was rejected by the mail provider"),
        ({"status": "failed"}, "1 e-mail couldn’t be sent"),
        ({"status": "canceled"}, "1 e-mail was held back"),
        ({"status": "queued", "due_at": NOW, "created_at": NOW - timedelta(hours=2)}, "1 e-mail is late"),
    ],
)
def test_each_way_an_email_can_fail_is_a_cause(merchant, bounced, fields, title):
    Delivery.objects.update(**fields)
    (cause,) = read_causes(merchant)
    assert cause.title == title

    deal_with(merchant, cause.slug)

    assert titles(merchant) == []


def test_an_order_being_checked_is_a_cause_and_none_because_of_its_items(merchant, pay, make_product):
    pay(make_product(keys=0))
    Order.objects.update(held_until=timezone.now() + timedelta(days=1))

    assert titles(merchant) == ["1 order is being checked"]

    deal_with(merchant, "held")
    assert titles(merchant) == []


def test_items_that_match_a_product_now_are_a_cause(merchant, api, make_payment, make_product, product):
    payment = make_payment(product, order="A1")
    payment["items"][0]["product"] = "LATER"
    api.post("/api/v1/payments/", payment, format="json")
    assert titles(merchant) == []

    later = make_product(sku="LATER")

    assert titles(merchant) == ["LATER: 1 order can be mapped"]
    deal_with(merchant, f"product-{later.pk}")
    assert titles(merchant) == []


def make_event(shop, key="1", **fields):
    return shop.events.create(
        **{"key": key, "body": b"{}", "state": "parked", "cause": "unmapped", "due_at": None, "ended_at": NOW} | fields
    )


def test_parked_events_are_a_cause_per_shop_and_reason(merchant):
    shop, other = connect(merchant, "woocommerce", name="Main"), connect(merchant, "woocommerce", name="Second")
    for number in range(3):
        make_event(shop, str(number))
    make_event(shop, "4", cause="address")
    make_event(other, state="failed", cause="")
    make_event(other, "2", is_test=True)
    make_event(other, "3", cause="unpaid")

    assert sorted(titles(merchant)) == [
        "Main: 1 sale without an e-mail address",
        "Main: 3 sales of unmapped products",
        "Second: 1 event can’t be used",
    ]
    assert count_needing_attention(merchant, 100) == 5

    assert deal_with(merchant, f"shop-{shop.pk}-unmapped") == 3
    assert len(titles(merchant)) == 2

    event = shop.events.filter(key="1")
    event.update(ended_at=None, due_at=NOW)  # processed again
    assert len(titles(merchant)) == 2
    event.update(ended_at=NOW + timedelta(minutes=1), due_at=None)
    assert "Main: 1 sale of an unmapped product" in titles(merchant)


def test_a_shop_that_rejects_requests_is_a_cause_until_the_next_time(merchant):
    shop = connect(merchant, "woocommerce", name="Main")
    rows = type(shop).objects.filter(pk=shop.pk)
    rows.update(rejected_at=NOW)
    assert titles(merchant) == ["Main: we reject its requests"]

    deal_with(merchant, f"shop-{shop.pk}-rejecting")
    rows.update(rejected_at=NOW + timedelta(minutes=5))
    assert titles(merchant) == []

    make_event(shop, state="done", cause="", created_at=NOW + timedelta(minutes=6))
    rows.update(rejected_at=NOW + timedelta(minutes=7))
    assert titles(merchant) == ["Main: we reject its requests"]


def test_a_mail_server_that_rejects_the_login_is_a_cause(merchant):
    account = MailAccount.objects.create(
        merchant=merchant, kind="postmark", credentials='{"password": "", "tracking_secret": ""}'
    )
    assert titles(merchant) == []
    account.note_refusal("535 Authentication failed")
    (cause,) = read_causes(merchant)
    assert (cause.title, cause.reason) == ("Your mail server rejects our login", "535 Authentication failed")

    deal_with(merchant, cause.slug)
    assert titles(merchant) == []

    MailAccount.objects.get().note_success()
    MailAccount.objects.get().note_refusal("535 Authentication failed")
    MailAccount.objects.update(refused_at=NOW + timedelta(minutes=1))
    assert len(titles(merchant)) == 1


def test_an_expiring_key_in_use_is_a_cause(merchant):
    key, _ = ApiKey.objects.create_key(merchant=merchant, name="Shop", scopes=[], expires_at=NOW + timedelta(days=3))
    assert titles(merchant) == []
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=NOW)
    assert titles(merchant) == ["1 API key in use expires soon"]

    deal_with(merchant, "api_key")
    assert titles(merchant) == []

    ApiKey.objects.filter(pk=key.pk).update(expires_at=NOW + timedelta(days=4))
    assert len(titles(merchant)) == 1


def test_the_worst_cause_is_first(merchant, bounced, pay, make_product):
    pay(make_product(source="manual"))
    pay(make_product(keys=0))
    MailAccount.objects.create(
        merchant=merchant, kind="postmark", credentials='{"password": "", "tracking_secret": ""}', reason="401"
    )

    assert [cause.slug.partition("-")[0] for cause in read_causes(merchant)] == [
        "mailserver",
        "pool",
        "manual",
        "bounced",
    ]


# Old ones


def test_what_is_a_month_old_isnt_counted_and_is_listed_apart(merchant, bounced):
    Delivery.objects.update(created_at=NOW - timedelta(days=31))

    assert titles(merchant) == [] and count_needing_attention(merchant, 100) == 0
    assert titles(merchant, older=True) == ["1 address bounced"]

    rows = find_rows(causes(merchant, older=True)["bounced"], merchant, older=True)
    deal_with_rows(merchant, rows, seen=digest(read_occurrences(rows)), actor="Sam")
    assert titles(merchant, older=True) == []


# Whose


def test_it_shows_nothing_of_other_merchants(merchant, outsider, bounced, pay, make_product):
    pay(make_product(keys=0))
    connect(merchant, "woocommerce")

    assert read_causes(outsider) == [] and count_needing_attention(outsider, 100) == 0


def test_the_counts_of_the_page_and_the_navigation_agree(merchant, bounced, pay, make_product):
    products = [make_product(keys=0) for _ in range(3)]
    for number in range(3):
        pay(*products, order=f"B{number}")
    make_event(connect(merchant, "woocommerce"))

    assert count_needing_attention(merchant, 100) == count_things(read_causes(merchant)) == 5
    assert count_needing_attention(merchant, 2) == 2


# Rows of what was dealt with


def test_dealing_twice_leaves_one_line(merchant, bounced):
    rows = find_rows(causes(merchant)["bounced"], merchant, older=False)
    seen = digest(read_occurrences(rows))

    assert [deal_with_rows(merchant, rows, seen=seen, actor=actor) for actor in ("Sam", "Max")] == [1, 0]
    assert OrderEvent.objects.filter(kind="dealt").values_list("happened_by", flat=True).get() == "Sam"


@pytest.mark.django_db(transaction=True)
def test_two_people_who_deal_with_the_same_at_once_leave_one_line(merchant, bounced, in_threads):
    rows = find_rows(causes(merchant)["bounced"], merchant, older=False)
    seen = digest(read_occurrences(rows))

    counts = in_threads(
        lambda actor: deal_with_rows(merchant, rows, seen=seen, actor=actor), ["Sam", "Max", "Mia"], threads=3
    )

    assert sorted(counts) == [0, 0, 1]
    assert OrderEvent.objects.filter(kind="dealt").count() == DealtWith.objects.count() == 1


def test_what_was_dealt_with_is_kept_as_long_as_its_order(merchant, bounced):
    shop = connect(merchant, "woocommerce")
    make_event(shop)
    deal_with(merchant, f"shop-{shop.pk}-unmapped")
    deal_with(merchant, "bounced")
    DealtWith.objects.update(dealt_at=F("dealt_at") - DEALT_WITH_RETENTION)

    purge()

    assert [row.order for row in DealtWith.objects.all()] == [bounced]


@pytest.mark.parametrize("most, counted", [(1, 1), (2, 2), (3, 3), (4, 3), (100, 3)])
def test_orders_that_need_attention_are_counted_once(pay, make_product, merchant, most, counted):
    # The first order has more reasons than the count reads, and a lost e-mail besides.
    products = [make_product(keys=int(number == 0)) for number in range(9)]
    for sold in (products, products[1:2], products[1:2]):
        pay(*sold)
    Fulfillment.objects.update(status="failed")
    Delivery.objects.update(status="failed")

    assert count_needing_attention(merchant, most) == counted
