"""A test order goes all the way, and leaves everything live untouched."""

import re

import pytest
from django.core.management import call_command

from delivery.link_requests import request_mail
from delivery.models import Delivery
from delivery.resending import resend
from fulfillment.actions import CodeRefused, ReplaceRefused, enter_codes, issue_from_reserve
from fulfillment.models import Fulfillment
from fulfillment.personal_data import PersonalData
from merchants.models import EmailTemplate, Member
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderItem
from orders.search import find
from orders.services import refund
from pools.imports import import_keys
from pools.models import KeyMovement, LicenseKey, LicensePool, StockChange
from pools.replenishment import forecast
from pools.sandbox import add_test_pools
from portal.attention.causes import count_needing_attention, read_causes
from portal.orders.export import export_orders
from portal.pools.stock import get_stock
from portal.sales import read_today

pytestmark = pytest.mark.django_db(transaction=True)
OWNER = "owner@northlight.example"


def figures(merchant):
    """Everything that a merchant's pages count."""
    [stock] = get_stock(merchant)
    return {
        "stock": (stock.available, stock.waiting, stock.forecast),
        "movements": KeyMovement.objects.filter(pool__merchant=merchant).count(),
        "changes": StockChange.objects.filter(pool__merchant=merchant).count(),
        "sales": read_today(merchant),
        "problems": [cause.title for cause in read_causes(merchant)],
        "attention": count_needing_attention(merchant, most=100),
        "export": "".join(export_orders(merchant.orders.all())),
        "found": find(merchant.orders, "ada@example.com"),
        "notices": merchant.notices.count(),
    }


def test_it_leaves_stock_figures_exports_and_searches_untouched(merchant, pay, pay_as_test, work, product):
    pay(product)
    work()
    MerchantNotice.objects.all().delete()
    keep = ("stock", "movements", "changes", "problems", "attention", "export", "notices")
    before = figures(merchant)
    orders = list(merchant.orders.values_list("pk", flat=True))

    pay_as_test(product, quantity=3)
    refund(Order.objects.get(number=pay_as_test(product)["order"]), actor="Ada")
    work()

    after = figures(merchant)
    assert {name: after[name] for name in keep} == {name: before[name] for name in keep}
    assert list(merchant.orders.values_list("pk", flat=True)) == orders
    assert {order.pk for found in after["found"].values() for order in found} == set(orders)
    assert list(after["sales"]) == list(before["sales"])
    assert forecast(product.fulfillment_methods.get().poolmethod.pool, 9).sold == 1


def test_it_gets_generated_codes_that_are_the_same_when_reported_again(pay_as_test, make_api, sandbox, make_product):
    product = make_product(keys=0)
    order = pay_as_test(product, quantity=2)

    codes = [code["code"] for code in order["items"][0]["activation_codes"]]
    assert all(re.fullmatch(r"TEST-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}", code) for code in codes)
    assert len(set(codes)) == 2
    again = make_api(sandbox).get(f"/api/v1/orders/{order['order']}/").data
    assert [code["code"] for code in again["items"][0]["activation_codes"]] == codes
    assert not LicensePool.objects.filter(merchant=sandbox).exists()


def test_the_email_says_that_it_is_a_test_and_goes_to_the_owners(pay_as_test, work, product, mailoutbox):
    pay_as_test(product)
    work()

    [mail] = mailoutbox
    assert mail.to == [OWNER]
    assert mail.subject.startswith("[Test] ")
    assert "This is a test." in mail.body
    assert "In a real order, this e-mail goes to ada@example.com." in mail.body
    html = mail.alternatives[0][0]
    assert "This is a test." in html
    assert "TEST-" in html


def test_the_email_is_marked_in_the_language_of_the_order(pay_as_test, work, product, mailoutbox):
    pay_as_test(product, language="de")
    work()

    [mail] = mailoutbox
    assert mail.subject.startswith("[Test] ")
    assert "Dies ist ein Test." in mail.body


def test_a_member_who_orders_gets_the_email(pay_as_test, work, product, make_member, mailoutbox):
    member = make_member()
    pay_as_test(product, customer={"email": member.user.email.upper()})
    work()

    assert [mail.to for mail in mailoutbox] == [[member.user.email]]


def test_a_resend_goes_to_the_owners_too(pay_as_test, work, product, mailoutbox):
    pay_as_test(product)
    work()
    Delivery.objects.update(created_at="2026-01-01T00:00Z")
    resend(OrderItem.objects.get(), actor="Ada")
    work()

    assert [mail.to for mail in mailoutbox] == [[OWNER], [OWNER]]


def test_without_an_active_owner_nobody_gets_the_email(pay_as_test, work, product, merchant, mailoutbox):
    pay_as_test(product)
    merchant.members.get().user.__class__.objects.update(is_active=False)
    work()

    assert not mailoutbox
    delivery = Delivery.objects.get()
    assert (delivery.status, "members" in delivery.reason) == ("canceled", True)


def test_the_email_uses_the_merchants_text_and_sender(pay_as_test, work, merchant, product, mailoutbox):
    merchant.sender_name, merchant.reply_to = "Northlight Shop", "help@northlight.example"
    merchant.save()
    EmailTemplate.objects.create(
        merchant=merchant, language="en", subject="Thanks, {FNAME}", body="Your key: {KEY}", saved_by="Ada"
    )
    pay_as_test(product)
    work()

    [mail] = mailoutbox
    assert mail.subject == "[Test] Thanks, Ada"
    assert mail.from_email.startswith("Northlight Shop <")
    assert mail.reply_to == ["help@northlight.example"]
    assert "Northlight Shop · A" in mail.body
    assert "Your key: TEST-" in mail.body


def test_links_to_test_orders_go_to_the_owners(pay_as_test, work, merchant, sandbox, product, mailoutbox):
    pay_as_test(product)
    request_mail(merchant, "ada@example.com", source="192.0.2.1")
    request_mail(sandbox, "ada@example.com", source="192.0.2.1")
    Delivery.objects.all().delete()
    work()

    [mail] = mailoutbox
    assert (mail.to, mail.subject) == ([OWNER], "[Test] Your orders at Northlight")


def test_notices_go_to_the_merchants_people_and_say_that_they_are_tests(
    pay_as_test, work, sandbox, make_product, make_member, mailoutbox
):
    make_member(Member.Role.MANAGER)
    order = pay_as_test(make_product(source="manual"))["order"]
    work()

    [mail] = mailoutbox
    assert set(mail.to) == {OWNER, "manager-sam@northlight.example"}
    assert mail.subject.startswith("[Test] ")
    assert mail.body.startswith("This is a test.")
    assert f"/orders/{order}/?merchant={sandbox.slug}" in mail.body


def test_an_empty_test_pool_is_noticed_as_a_test(pay_as_test, work, sandbox, product, mailoutbox):
    add_test_pools(sandbox)
    import_keys(sandbox.pools.get(), ["T-1"], actor="Ada")
    pay_as_test(product)
    work()

    [notice] = MerchantNotice.objects.all()
    assert (notice.merchant, notice.kind) == (sandbox, "pool_empty")
    assert {mail.subject[:7] for mail in mailoutbox} == {"[Test] "}


def test_a_person_enters_codes_for_it(pay_as_test, work, make_product, mailoutbox):
    pay_as_test(make_product(source="manual"))
    item = OrderItem.objects.get()
    enter_codes(item, {1: "HAND-1"}, actor="Ada")
    work()

    assert Fulfillment.objects.get().status == "done"
    assert "HAND-1" in mailoutbox[0].body


def test_a_person_cant_enter_a_key_of_the_live_stock(pay_as_test, product, make_product):
    import_keys(LicensePool.objects.get(), ["LIVE-1"], actor="Ada")
    pay_as_test(make_product(source="manual"))

    with pytest.raises(CodeRefused):
        enter_codes(OrderItem.objects.get(), {1: "LIVE-1"}, actor="Ada")


def test_it_gets_nothing_from_the_reserve_of_a_live_pool(pay_as_test, make_product, sandbox):
    product = make_product(keys=3)
    pool = LicensePool.objects.get()
    LicenseKey.objects.update(reserved=True)
    add_test_pools(sandbox)
    import_keys(pool.test_pool, ["T-1"], actor="Ada")
    pay_as_test(product, quantity=2)

    with pytest.raises(ReplaceRefused):
        issue_from_reserve(OrderItem.objects.get(), actor="Ada")
    assert pool.keys.reserved().count() == 3


def test_it_does_not_belong_to_a_live_subscription(pay, pay_as_test, make_api, sandbox, make_payment, product):
    subscription = {"id": "S-1", "type": "AR", "period": "P1Y"}

    def subscribed(number, **fields):
        payment = make_payment(product, order=number)
        payment["items"][0]["subscription"] = subscription | fields
        return payment

    make_api(sandbox.vendor).post("/api/v1/payments/", subscribed("A-1"), format="json")
    make_api(sandbox).post("/api/v1/payments/", subscribed("A-2", parent_order="A-1"), format="json")

    live, test = OrderItem.objects.order_by("pk")
    assert live.subscription != test.subscription
    assert list(sandbox.subscriptions.all()) == [test.subscription]


def test_a_customers_data_in_test_orders_is_found_and_erased(pay_as_test, merchant, product):
    pay_as_test(product)

    held = PersonalData("ada@example.com", merchant)
    assert held.count()["orders"] == 1
    held.erase(actor="Ada")
    assert Order.objects.get().email == ""


def test_the_audit_is_clean(pay, pay_as_test, work, product, sandbox, capsys):
    pay(product)
    pay_as_test(product)
    add_test_pools(sandbox)
    import_keys(sandbox.pools.get(), ["T-1", "T-2"], actor="Ada")
    pay_as_test(product)
    work()

    call_command("audit", "--texts")
    assert capsys.readouterr().out.startswith("Clean")
    assert set(ActivationCode.objects.values_list("source", flat=True)) == {"pool", "test"}
