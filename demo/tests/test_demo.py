import stat
from base64 import b64encode
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count
from django.utils import timezone

from delivery.models import Delivery
from fulfillment.attention import needing_attention
from fulfillment.models import Fulfillment
from fulfillment.sources.netlicensing.models import LicensePackage
from licensing.models import Licensee, LicenseTemplate, Token, Transaction
from licensing.validation import read_holding, validate
from merchants.models import ApiKey, Member, Merchant, User
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order
from orders.placing import place_order
from pools.models import LicenseKey, LicensePool
from pools.replenishment import warn_low_pools


@pytest.fixture
def credentials(db, settings, tmp_path):
    settings.VAR = tmp_path / "var"

    def read():
        return dict(line.split("=", 1) for line in (settings.VAR / "demo.env").read_text().splitlines())

    return read


def test_it_makes_a_merchant_with_a_team_and_stock_and_a_payment(credentials):
    call_command("demo")

    merchant = Merchant.objects.get()
    assert set(merchant.members.values_list("role", flat=True)) == set(Member.Role.values)
    assert [pool.batches.get().key_count for pool in LicensePool.objects.all()] == [1000, 1000]
    assert Order.objects.get().status == "paid"
    assert ActivationCode.objects.count() == 2
    assert Delivery.objects.count() == 1


def test_it_writes_down_how_to_sign_in(credentials, settings):
    call_command("demo")

    written = credentials()
    assert {"BASE_URL", "API_KEY"} | {
        f"{role}_{what}" for role in ("OWNER", "SUPPORT", "STAFF") for what in ("LOGIN", "PASSWORD")
    } <= set(written)
    for role in ("OWNER", "MANAGER", "SUPPORT", "STAFF"):
        user = User.objects.get(email=written[f"{role}_LOGIN"])
        assert user.check_password(written[f"{role}_PASSWORD"])
        assert user.is_staff == (role == "STAFF")
    assert ApiKey.authenticate(written["API_KEY"])
    assert stat.S_IMODE((settings.VAR / "demo.env").stat().st_mode) == 0o600


def test_its_vendor_signs_in_to_the_licensing_service(credentials, client):
    call_command("demo")

    written = credentials()
    signed_in = b64encode(f"{written['NLIC_USER']}:{written['NLIC_PASSWORD']}".encode()).decode()
    headers = {"Authorization": f"Basic {signed_in}", "Accept": "application/json"}
    answer = client.get("/core/v2/rest/product", headers=headers).json()
    assert [item["type"] for item in answer["items"]["item"]] == ["Product"]


def test_its_licensees_are_valid_and_one_got_licenses_by_a_transfer(credentials):
    call_command("demo")

    ada, *_ = Licensee.objects.order_by("pk")
    results = {one.module.number: one.result.valid for one in validate(read_holding(ada), dry_run=True)}
    moved = Transaction.objects.get(source="AUTO_LICENSES_TRANSFER")
    assert results == {"M-UPDATES": True, "M-RENDER": True, "M-PLUGINS": True, "M-SEATS": False}
    assert moved.licensee == ada and moved.joins.count() == 2
    bought = Licensee.objects.get(transfers_away=moved)
    assert bought.marked_for_transfer and not bought.licenses.exists()
    assert moved.created_at < timezone.now() - timedelta(days=5)


def test_its_shop_sells_licenses_of_its_own_service(credentials):
    call_command("demo")

    package = LicensePackage.objects.get(fulfillment_methods__product__sku="PHOTO-MONTH")
    assert package.account.is_own
    assert Token.objects.live().get().number == package.account.api_key
    templates = LicenseTemplate.objects.filter(module__product__number=package.product_number)
    assert {template.number for template in package.templates.all()} <= {template.number for template in templates}


def test_it_never_touches_data_that_is_there(credentials, merchant):
    with pytest.raises(CommandError, match="needs an empty one"):
        call_command("demo")

    call_command("demo", if_empty=True)

    assert Merchant.objects.get() == merchant


ORDERS = 500


@pytest.fixture
def past(credentials):
    call_command("demo", orders=ORDERS)
    return Order.objects.filter(number__startswith="B")


@pytest.mark.django_db(transaction=True)
def test_orders_of_the_past_break_no_rule(past, capsys):
    call_command("demo", orders=ORDERS)

    call_command("audit", "--texts")

    assert past.count() == 2 * ORDERS
    assert "Clean" in capsys.readouterr().out


def test_they_are_of_every_kind(past):
    assert set(past.values_list("status", flat=True)) == {"paid", "deleted", "terminated"}
    assert {1, 2, 3} <= set(past.annotate(count=Count("items")).values_list("count", flat=True))
    assert set(Fulfillment.objects.values_list("status", flat=True)) == {"done", "waiting", "failed"}
    assert set(Delivery.objects.filter(order__in=past).values_list("kind", "status")) == {
        ("automatic", "sent"),
        ("automatic", "failed"),
        ("resend", "sent"),
    }
    assert set(ActivationCode.objects.values_list("source", flat=True)) == {"pool", "manual"}
    assert past.filter(status="paid", refunds__isnull=False).exists()
    assert needing_attention(past).count() > 2


def test_they_stand_in_the_last_two_years_in_order(past):
    newest = past.order_by("-pk")

    assert list(newest) == list(past.order_by("-number")) == list(past.order_by("-paid_at", "-pk"))
    assert newest[0].reported_at < timezone.now()
    assert timedelta(days=600) < newest[0].paid_at - newest[ORDERS - 1].paid_at < timedelta(days=730)


def test_they_leave_nothing_to_do(past, work, mailoutbox):
    Delivery.objects.filter(order__number="A0012345678").delete()

    work()
    warn_low_pools()

    assert not mailoutbox
    assert not MerchantNotice.objects.exists()
    assert not Fulfillment.objects.due().exists()


def test_a_payment_afterwards_gets_a_key_of_the_stock(past, credentials, client):
    response = client.post(
        "/api/v1/payments/",
        {
            "order": "A0012345679",
            "paid_at": "2026-11-22T10:00:00Z",
            "currency": "EUR",
            "customer": {"email": "ada@example.com"},
            "items": [{"item": "1", "product": "PHOTO-PRO", "quantity": 1, "total_price": "29.99"}],
        },
        content_type="application/json",
        headers={"Authorization": f"Bearer {credentials()['API_KEY']}"},
    )

    [code] = response.json()["items"][0]["activation_codes"]
    key = LicenseKey.objects.get(item__order__number="A0012345679")
    assert code["code"] == key.code
    assert key.batch.file_name == "photo-pro-keys.txt"


def test_a_repeated_report_of_one_is_recognized(past):
    order = past.select_related("merchant", "checkout_page").first()
    items = [
        {
            "item": item.reference,
            "product": item.product,
            "sku": item.product.sku,
            "quantity": item.quantity,
            "total_price": str(item.total_price),
            "subscription": None,
        }
        for item in order.items.select_related("product")
    ]
    fields = ("email", "first_name", "last_name", "company", "country")
    payment = {
        "order": order.number,
        "paid_at": order.paid_at,
        "currency": order.currency,
        "language": order.language,
        "checkout_page": order.checkout_page,
        "customer": {field: getattr(order, field) for field in fields},
        "items": items,
        "additional_parameters": {},
    }

    assert place_order(order.merchant, payment) == (order, False)


def test_customers_of_the_past_can_open_their_page(past, client):
    response = client.get(f"/o/{past.filter(status='paid')[0].link_token}/")

    assert response.status_code == 200


@pytest.mark.parametrize("count", [1, 2, 11])
def test_a_few_will_do(credentials, count):
    call_command("demo", orders=count)

    assert Order.objects.filter(number__startswith="B").count() == count


@pytest.mark.parametrize("count", [0, -1])
def test_it_refuses_to_make_no_orders(db, count):
    with pytest.raises(CommandError, match="a number from 1"):
        call_command("demo", orders=count)

    assert not Merchant.objects.exists()


def test_it_adds_no_orders_to_others(credentials, merchant):
    Merchant.objects.update(slug="another")

    with pytest.raises(CommandError, match="no demo merchant"):
        call_command("demo", orders=1)

    assert not Order.objects.exists()
