"""The page with the refused reports of a merchant's shop: the reason, and nothing about the customer."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now

from merchants.models import ApiKey
from orders.models import Order, OtherItem, RefusedReport
from orders.refusals import purge_refusals

URL = "/api/v1/payments/"
PAGE = "/refused-reports/"


@pytest.mark.parametrize(
    "fields, shown",
    [
        ({"currency": "EURO"}, "#/currency"),
        ({"paid_at": "yesterday"}, "#/paid_at"),
        ({"checkout_page": "side"}, "The checkout page “…” doesn’t exist."),
        ({"items": []}, "#/items"),
    ],
)
def test_it_shows_a_refused_payment_with_the_reason(api, make_payment, product, support, fields, shown):
    payment = make_payment(product) | fields
    assert api.post(URL, payment, format="json").status_code == 400
    page = support.get(PAGE).content.decode()

    assert payment["order"] in page and shown in page and "API key shop-1" in page
    assert PAGE in support.get("/orders/").content.decode()


def test_repeated_reports_are_one_line(api, make_payment, product, support):
    payment = make_payment(product, currency="XYZ")
    for _ in range(3):
        api.post(URL, payment, format="json")

    assert RefusedReport.objects.get().times == 3
    assert "×&nbsp;3" in support.get(PAGE).content.decode()


def test_it_shows_conflicts_refused_refunds_and_unreadable_reports(api, pay, make_payment, product, support):
    payment = make_payment(product)
    api.post(URL, payment, format="json")
    api.post(URL, payment | {"currency": "USD"}, format="json")
    api.post(f"/api/v1/orders/{payment['order']}/refund/", {"amount": "99.00"}, format="json")
    api.post("/api/v1/orders/NO-SUCH/refund/", {}, format="json")
    api.post(URL, "not json", content_type="application/json")
    api.post(URL, "order=1", content_type="application/x-www-form-urlencoded")

    seen = RefusedReport.objects.order_by("pk").values_list("kind", "order_number", "status")
    assert list(seen) == [
        ("payment", payment["order"], 409),
        ("refund", payment["order"], 409),
        ("refund", "NO-SUCH", 404),
        ("payment", "", 400),
        ("payment", "", 415),
    ]
    page = support.get(PAGE).content.decode()
    assert "#/currency" in page and f'href="/orders/{payment["order"]}/"' in page


def test_it_shows_a_report_whose_key_lacks_the_scope(make_api, merchant, make_payment, product):
    make_api(merchant, [ApiKey.Scope.ORDERS]).post(URL, make_payment(product), format="json")

    assert RefusedReport.objects.get().status == 403


def test_it_does_not_store_reports_without_an_api_key(client, make_payment, product):
    assert client.post(URL, make_payment(product), content_type="application/json").status_code == 401
    assert not RefusedReport.objects.exists()


SECRETS = ["eve@example.com", "Mallory", "Evil Ltd", "4111111111111111"]


@pytest.mark.parametrize("misplaced", SECRETS)
@pytest.mark.parametrize(
    "place",
    ["currency", "checkout_page", "paid_at", "customer", "items", "product", "total_price", "item", "type", "period"],
)
def test_it_stores_nothing_about_the_customer(api, make_payment, product, misplaced, place):
    payment = make_payment(product, product)
    payment["customer"] = {"email": "eve@example.com", "first_name": "Mallory", "company": "Evil Ltd"}
    payment["additional_parameters"] = {"card": "4111111111111111"}
    first, second = payment["items"]
    subscription = {"id": "S-1", "type": "AR", "period": "P1Y"}
    first["subscription"] = subscription
    payment["language"] = misplaced
    for target in (payment, first, subscription):
        if place in target:
            target[place] = misplaced
    if place == "item":
        second["item"] = misplaced
    payment["currency"] = payment["currency"] if place == "currency" else "XYZ"
    assert api.post(URL, payment, format="json").status_code == 400

    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(report)::text FROM orders_refusedreport report")
        stored = cursor.fetchone()[0]
    assert payment["order"] in stored
    assert not [secret for secret in SECRETS if secret in stored]


def test_it_can_store_any_order_number(api, make_payment, product):
    for number in ["A" * 500, "A\0", "A\ud800", 17, None, ["x"], {"a": 1}, "=1+1"]:
        payment = json.dumps(make_payment(product, order=number, currency="XYZ"))
        assert api.post(URL, payment, content_type="application/json").status_code == 400

    numbers = set(RefusedReport.objects.values_list("order_number", flat=True))
    assert numbers == {"A" * 64, "A", "17", "", "=1+1"}


def test_another_merchant_cannot_see_a_refused_report(api, make_payment, product, client, outsider, support):
    api.post(URL, make_payment(product, order="A77", currency="XYZ"), format="json")
    client.force_login(outsider.members.get().user)

    assert "A77" not in client.get(PAGE).content.decode()


def test_a_refused_report_is_kept_for_thirty_days(api, make_payment, product, support):
    api.post(URL, make_payment(product, order="OLD", currency="XYZ"), format="json")
    RefusedReport.objects.update(last_at=Now() - timedelta(days=30, minutes=1))
    api.post(URL, make_payment(product, order="NEW", currency="XYZ"), format="json")
    RefusedReport.objects.filter(order_number="NEW").update(last_at=Now() - timedelta(days=29))
    purge_refusals()

    assert [report.order_number for report in RefusedReport.objects.all()] == ["NEW"]


def test_many_refused_reports_are_paginated(api, merchant, support):
    RefusedReport.objects.bulk_create(
        RefusedReport(merchant=merchant, kind="payment", status=400, order_number=f"A{number}", digest=b"%d" % number)
        for number in range(60)
    )
    page = support.get(PAGE).content.decode()
    assert page.count("<tr>") == 26 and "Older" in page


# Items that are not ours, on other pages


@pytest.fixture
def unmapped(api, make_payment):
    payment = make_payment("T-SHIRT", "LATER", order="A1")
    assert api.post(URL, payment, format="json").status_code == 202
    return payment


def test_the_list_shows_unmapped_orders_and_filters_them(unmapped, pay, product, support):
    pay(product, order="A2")
    everything = support.get("/orders/").content.decode()
    found = support.get("/orders/?fulfillment=unmapped").content.decode()
    done = support.get("/orders/?fulfillment=done").content.decode()

    assert "T-SHIRT" in everything and "unmapped" in everything
    assert ">A1<" in found and ">A2<" not in found
    assert ">A2<" in done and ">A1<" not in done


def test_unmapped_orders_are_those_without_an_item_of_ours(unmapped, pay, product):
    pay(product)
    pay(product, "T-SHIRT")

    assert list(Order.objects.unmapped()) == list(Order.objects.filter(items=None))
    assert Order.objects.unmapped().count() == 1 < Order.objects.filter(other_items__isnull=False).distinct().count()


def test_the_export_contains_items_that_are_not_ours(unmapped, support):
    text = b"".join(support.get("/orders.csv").streaming_content).decode()

    assert '"T-SHIRT × 1, LATER × 1",unmapped' in text and "119.96" in text


def test_the_order_page_offers_to_map_an_item_once_its_product_exists(
    unmapped, support, make_product, work, mailoutbox
):
    page = support.get("/orders/A1/").content.decode()
    assert "Not ours" in page and "T-SHIRT" in page and "/map/" not in page
    assert ">A1<" not in support.get("/attention/").content.decode()
    assert support.post("/orders/A1/map/").status_code == 409

    make_product(sku="LATER")
    assert "/map/" in support.get("/orders/A1/").content.decode()
    assert ">A1<" in support.get("/attention/").content.decode()
    page = support.post("/orders/A1/map/", follow=True).content.decode()
    work()

    assert "Mapped 1 item" in page and "Item 2 mapped to a product, by Sam" in page
    assert [item.product for item in OtherItem.objects.all()] == ["T-SHIRT"]
    assert len(mailoutbox) == 1
    assert ">A1<" not in support.get("/attention/").content.decode()


def test_the_customers_page_of_an_unmapped_order_shows_no_items(api, unmapped, client):
    order = api.get("/api/v1/orders/A1/").json()
    page = client.get(order["order_url"].partition("8000")[2])

    assert page.status_code == 200 and "T-SHIRT" not in page.content.decode()


def test_the_dashboard_works_with_unmapped_orders(unmapped, support, client, merchant):
    client.force_login(merchant.members.get(role="owner").user)

    assert client.get("/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_audit_reports_an_item_that_is_both_ours_and_not_ours(pay, product, capsys):
    order = pay(product)
    call_command("audit")
    OtherItem.objects.create(order_id=order["id"], reference="1", quantity=1, total_price=1)

    with pytest.raises(SystemExit):
        call_command("audit")
    assert "is also kept as not ours" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["#1001", "gid://shopify/Order/1", "A/refund", "id:x5", "100%?", "a\\b"])
def test_an_order_with_any_number_has_working_pages(pay, product, support, number):
    order = pay(product, order=number)
    listed = support.get("/orders/").content.decode()
    url = listed.split('<th scope="row"><a href="')[1].split('"')[0]

    page = support.get(url)
    assert page.status_code == 200 and "//" not in url
    for action in ("refund/", "address/", f"codes/{order['items'][0]['activation_codes'][0]['id']}/resend/"):
        assert url + action in page.content.decode()
        assert support.get(url + action).status_code == 200
