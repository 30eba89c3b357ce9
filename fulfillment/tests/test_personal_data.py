import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from delivery import resending
from delivery.link_requests import request_mail
from delivery.models import Delivery
from fulfillment import actions
from fulfillment.attention import needing_attention
from fulfillment.history import order_history
from fulfillment.personal_data import PersonalData
from merchants.models import User
from orders.models import ActivationCode, Order, OrderItem
from orders.services import correct_email, show_to_customer

pytestmark = pytest.mark.django_db(transaction=True)

CUSTOMER = {"email": "Ada.Byron@example.com", "first_name": "Augusta", "last_name": "Lovelace", "company": "Engines"}
TRACES = ["byron", "augusta", "lovelace", "engines", "summer-trip"]


@pytest.fixture
def order(pay, make_product, work):
    """A customer's order with a long history."""
    pay(
        make_product(keys=1, name="Photo Pro"),
        quantity=2,
        customer=CUSTOMER | {"country": "GB"},
        additional_parameters={"referer1": "summer-trip"},
    )
    order = Order.objects.get()
    work()
    show_to_customer(order, 1, 1)
    correct_email(order, "ada.byron@example.org", actor="Sam")
    resending.resend(order.items.get(), actor="Sam")
    correct_email(order, CUSTOMER["email"], actor="Sam")
    request_mail(order.merchant, CUSTOMER["email"], language="en", source="192.0.2.1")
    return order


@pytest.fixture
def other_order(pay, make_product, work):
    """Another customer's order, first sent to our customer's address by mistake."""
    pay(make_product(), customer={"email": CUSTOMER["email"]}, order="OTHER")
    order = Order.objects.get(number="OTHER")
    work()
    correct_email(order, "bob@example.com", actor="Sam")
    return order


def dump():
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [row[0] for row in cursor.fetchall()]
        text = ""
        for table in tables:
            cursor.execute(f"SELECT coalesce(string_agg(t::text, chr(10)), '') FROM \"{table}\" t")
            text += cursor.fetchone()[0].lower()
    return text


def test_erasing_leaves_no_trace_in_any_table(order, other_order):
    assert all(trace in dump() for trace in TRACES)

    PersonalData("ADA.BYRON@example.com").erase(actor="Stella")
    assert set(order.deliveries.values_list("recipient", flat=True)) == {""}
    PersonalData("ada.byron@example.org").erase(actor="Stella")

    assert [trace for trace in TRACES if trace in dump()] == []
    other_order.refresh_from_db()
    assert other_order.email == "bob@example.com"


def test_erasing_removes_the_reason_of_a_replacement(pay, product):
    pay(product)
    code = Order.objects.get().codes().get()
    actions.replace(code, actor="Sam", reason="Mrs Lovelace cannot type it")

    PersonalData("ada@example.com").erase(actor="Stella")

    assert "lovelace" not in dump()


def test_the_history_still_shows_that_emails_were_sent(order):
    PersonalData(CUSTOMER["email"]).erase(actor="Stella")

    order.refresh_from_db()
    texts = [line.text for line in order_history(order)]
    assert any(text.endswith(" e-mailed to the customer") for text in texts)
    assert [text for text in texts if text.endswith(" ")] == []


def test_erasing_keeps_accounting_data_and_codes(order):
    PersonalData(CUSTOMER["email"]).erase(actor="Stella")

    order.refresh_from_db()
    assert (order.status, order.country, order.currency) == ("paid", "GB", "EUR")
    assert ActivationCode.objects.get().code.startswith("POOL")
    call_command("audit", stdout=StringIO())


def test_nothing_is_emailed_after_erasing(order, work, mailoutbox):
    resending.resend(order.items.get(), actor="Sam")
    before = len(mailoutbox)

    PersonalData(CUSTOMER["email"]).erase(actor="Stella")
    work()

    assert len(mailoutbox) == before
    assert set(Delivery.objects.values_list("status", flat=True)) <= {"sent", "canceled"}
    item = OrderItem.objects.get()
    with pytest.raises(resending.ResendRefused, match="was erased"):
        resending.resend(item, actor="Sam")


def test_queued_emails_to_other_people_are_still_sent(pay, product, work, mailoutbox):
    """The order first had the erased person's address by mistake."""
    pay(product, customer={"email": CUSTOMER["email"]})
    correct_email(Order.objects.get(), "bob@example.com", actor="Sam")

    PersonalData(CUSTOMER["email"]).erase(actor="Stella")
    assert "byron" not in dump()
    work()

    assert [message.to for message in mailoutbox] == [["bob@example.com"]]
    assert Delivery.objects.get().status == "sent"


def test_a_code_entered_after_erasing_is_saved_but_not_emailed(order, work, mailoutbox):
    item = OrderItem.objects.get()
    before = len(mailoutbox)
    PersonalData(CUSTOMER["email"]).erase(actor="Stella")

    actions.enter_codes(item, {2: "LATE-CODE"}, actor="Sam")
    work()

    assert item.activation_codes.count() == 2
    assert len(mailoutbox) == before


def test_a_delivery_in_progress_records_no_personal_data(pay, product):
    pay(product, customer={"email": CUSTOMER["email"]})
    claimed = Delivery.objects.claim(Delivery.objects.get().pk)

    PersonalData(CUSTOMER["email"]).erase(actor="Stella")
    claimed.end(status=Delivery.Status.FAILED, reason="550 <ada.byron@example.com>: no such user")

    assert "byron" not in dump()


@pytest.mark.parametrize("status", ["queued", "failed", "bounced"])
def test_an_erased_order_needs_no_attention(order, work, status):
    Delivery.objects.update(status=status)

    PersonalData(CUSTOMER["email"]).erase(actor="Stella")
    actions.enter_codes(OrderItem.objects.get(), {2: "LATE-CODE"}, actor="Sam")
    work()

    assert not needing_attention(Order.objects.all()).exists()


@pytest.mark.parametrize("address", ["", " ", "ada", "a@\0"])
def test_the_command_rejects_an_invalid_address(order, address):
    """An empty address must not match the orders erased earlier."""
    PersonalData(CUSTOMER["email"]).erase(actor="Stella")

    with pytest.raises(CommandError, match="not an e-mail address"):
        call_command("forget", address)

    assert order.events.filter(kind="erased").count() == 1


def test_reporting_the_payment_again_restores_no_personal_data(api, make_payment, product):
    payment = make_payment(product, customer=CUSTOMER)
    api.post("/api/v1/payments/", payment, format="json")
    PersonalData(CUSTOMER["email"]).erase(actor="Stella")

    answer = api.post("/api/v1/payments/", payment, format="json")

    assert answer.status_code == 200 and answer.json()["email"] == ""


def test_it_can_erase_the_data_of_one_merchant_only(order, outsider, make_api, make_payment, make_product):
    theirs = make_payment(make_product(merchant=outsider), customer=CUSTOMER, order="THEIRS")
    make_api(outsider).post("/api/v1/payments/", theirs, format="json")

    call_command("forget", "ada.byron@example.com", merchant=outsider.slug, stdout=StringIO())

    assert Order.objects.get(number="THEIRS").email == ""
    assert Order.objects.exclude(number="THEIRS").get().email == CUSTOMER["email"]


def test_the_command_reports_what_it_erased_and_finds_nothing_the_second_time(order):
    first, second = StringIO(), StringIO()
    call_command("forget", CUSTOMER["email"], stdout=first)
    call_command("forget", CUSTOMER["email"], stdout=second)

    assert first.getvalue() == "Erased: orders: 1, e-mails: 1, address corrections: 2, lost link requests: 1.\n"
    assert second.getvalue() == "Erased: nothing.\n"


def test_the_export_contains_everything_but_the_codes(order, other_order):
    out = StringIO()
    call_command("forget", CUSTOMER["email"], export=True, stdout=out)

    exported = json.loads(out.getvalue())
    assert exported["orders"][0]["company"] == "Engines"
    assert exported["orders"][0]["additional_parameters"] == {"referer1": "summer-trip"}
    assert exported["orders"][0]["items"][0]["licenses"][0]["hint"] == order.items.get().activation_codes.get().hint
    assert exported["orders"][0]["items"][0]["licenses"][0]["seen_at"]
    assert exported["orders"][0]["e-mails"][0]["recipient"] == CUSTOMER["email"]
    assert [mail["order"] for mail in exported["e-mails of other orders"]] == ["OTHER"]
    assert "bob@example.com" not in out.getvalue()
    assert not [code for code in ActivationCode.objects.all() if code.code in out.getvalue()]
    assert Order.objects.filter(email=CUSTOMER["email"]).exists()


class TestAdmin:
    URL = "/admin/orders/order/customer/"

    @pytest.fixture
    def staff(self, client):
        client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
        return client

    def test_staff_can_preview_export_and_erase(self, staff, order):
        data = {"email": CUSTOMER["email"], "merchant": ""}

        assert "orders: 1, e-mails: 1" in staff.post(self.URL, data).content.decode()
        export = staff.post(self.URL, data | {"export": "1"})
        assert export.json()["address"] == CUSTOMER["email"]
        assert "attachment" in export["Content-Disposition"]
        answer = staff.post(self.URL, data | {"erase": "1"}, follow=True)

        assert "Erased: orders: 1" in answer.content.decode()
        order.refresh_from_db()
        assert order.email == ""
        assert order.events.get(kind="erased").happened_by == "stella@keywell.example, support staff"

    def test_staff_without_permission_to_delete_orders_cant_erase(self, client, order):
        client.force_login(User.objects.create_user("new@keywell.example", "correct horse", is_staff=True))

        assert client.post(self.URL, {"email": CUSTOMER["email"], "erase": "1"}).status_code == 403
        assert Order.objects.get().email == CUSTOMER["email"]


def test_it_finds_and_erases_requests_to_web_services(pay, make_product, make_service, receiver, work):
    product = make_product(source=None)
    make_service(product, parameters=["Order", "Email", "Last_name"])
    receiver.respond = lambda received: (404, {}, b"No license for Augusta Lovelace")
    pay(product, customer=CUSTOMER)
    work()

    exported = PersonalData(CUSTOMER["email"])
    assert exported.count()["requests to servers"] == 1
    [order] = exported.export()["orders"]
    assert "Byron" in order["requests to servers"][0]["sent"]
    exported.erase(actor="Stella")

    assert [trace for trace in TRACES if trace in dump()] == []
    assert "requests to servers" not in exported.count()
