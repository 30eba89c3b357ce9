"""Test data is deleted on request and after a while, beside running payments, and nothing live is touched."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from delivery.link_requests import request_mail
from delivery.models import Delivery, LinkRequest
from fulfillment import sandbox as service
from fulfillment.actions import replace
from fulfillment.models import Fulfillment
from fulfillment.tasks import purge_parameters
from merchants.models import ApiKey
from notices.models import MerchantNotice
from orders.models import ActivationCode, Order, OrderEvent, Refund, RefusedReport, Subscription
from orders.services import refund
from outbound.models import OutgoingRequest
from pools.imports import import_keys
from pools.models import KeyMovement, LicenseKey, LicensePool
from pools.sandbox import add_test_pools
from pools.tests.factories import stock
from webhooks.models import WebhookEndpoint, WebhookEvent, WebhookMessage

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = [
    *(Order, ActivationCode, Delivery, Fulfillment, LicenseKey, MerchantNotice, OrderEvent, OutgoingRequest),
    *(Refund, RefusedReport, Subscription, WebhookMessage, LinkRequest, KeyMovement, LicensePool),
]


def count_rows():
    return {model.__name__: model._base_manager.count() for model in TABLES}


def make_data(pay, merchant, product, make_product, make_payment, make_api, work):
    """Orders in every state, with something in each table."""
    WebhookEndpoint.objects.create(
        merchant=merchant, url="https://shop.example/", events=list(WebhookEvent.values), secret="whsec_MfKQ9r8GKYqr"
    )
    subscribed = make_payment(product)
    subscribed["items"][0]["subscription"] = {"id": "S-1", "type": "AR", "period": "P1Y"}
    make_api(merchant).post("/api/v1/payments/", subscribed, format="json")
    make_api(merchant).post("/api/v1/payments/", {"order": "bad"}, format="json")
    pay(make_product(source="manual", sku=f"HAND-{merchant.pk}", merchant=merchant.vendor))
    refund(Order.objects.get(number=pay(product)["order"], merchant=merchant), actor="Ada")
    replaced = Order.objects.get(number=pay(product)["order"], merchant=merchant)
    code = replaced.codes().get()
    if code.source == "pool":
        replace(code, actor="Ada")
    request_mail(merchant, "ada@example.com", source="192.0.2.1")
    work()
    OutgoingRequest.objects.create(merchant=merchant, method="POST", url="https://shop.example/")


@pytest.fixture
def live_data(pay, merchant, product, make_product, make_payment, make_api, work):
    make_data(pay, merchant, product, make_product, make_payment, make_api, work)


@pytest.fixture
def test_data(live_data, pay_as_test, sandbox, product, make_product, make_payment, make_api, work):
    """The same in the sandbox, with test keys."""
    before = count_rows()
    add_test_pools(sandbox)
    stock(LicensePool.objects.get(live__fulfillment_methods__product=product), 20, prefix="T-")
    make_data(pay_as_test, sandbox, product, make_product, make_payment, make_api, work)
    after = count_rows()
    assert all(after[name] > before[name] for name in after), "each table has test data"
    return before


def assert_clean(capsys):
    call_command("audit", "--texts")
    assert capsys.readouterr().out.startswith("Clean")


def test_everything_of_the_sandbox_goes_and_everything_else_stays(test_data, sandbox, capsys):
    assert service.delete_test_data(sandbox, timeout=60)

    after = count_rows()
    kept = {"KeyMovement", "LicensePool"}  # the ledger is never changed
    assert {name: after[name] for name in after if name not in kept} == {
        name: test_data[name] for name in test_data if name not in kept
    }
    assert sandbox.api_keys.exists()
    assert sandbox.webhook_endpoints.exists()
    assert_clean(capsys)


def test_codes_are_generated_again_after_the_test_keys_are_deleted(test_data, pay_as_test, sandbox, product):
    service.delete_test_data(sandbox, timeout=60)

    assert pay_as_test(product)["items"][0]["activation_codes"][0]["code"].startswith("TEST-")


def test_a_worker_deletes_what_the_time_doesnt_suffice_for(test_data, sandbox, monkeypatch):
    published = []
    monkeypatch.setattr(service, "publish", lambda task, pk, **kwargs: published.append((task, pk)))
    monkeypatch.setattr(service, "BATCH_SIZE", 1)

    assert not service.delete_test_data(sandbox, timeout=0)

    assert published == [("fulfillment.tasks.delete_test_data", sandbox.pk)]
    assert sandbox.orders.exists()
    while not service.delete_test_data(sandbox, timeout=0):
        pass
    assert not sandbox.orders.exists()


def test_old_test_orders_are_deleted_and_old_real_ones_stay(test_data, merchant, sandbox, settings, capsys):
    real = merchant.orders.count()
    young = sandbox.orders.order_by("pk").last()
    Order.objects.exclude(pk=young.pk).update(
        reported_at=F("reported_at") - timedelta(days=settings.TEST_DATA_RETENTION, hours=1)
    )
    stocked = LicenseKey.objects.filter(pool__merchant=sandbox, item=None).count()

    purge_parameters()

    assert list(sandbox.orders.all()) == [young]
    assert merchant.orders.count() == real
    assert LicenseKey.objects.filter(pool__merchant=sandbox, item=None).count() == stocked
    assert_clean(capsys)


def test_test_orders_of_the_last_days_stay(test_data, sandbox, settings):
    count = sandbox.orders.count()
    sandbox.orders.update(reported_at=Now() - timedelta(days=settings.TEST_DATA_RETENTION - 1))

    service.purge()

    assert sandbox.orders.count() == count


def test_an_order_that_a_worker_holds_is_deleted_later(pay_as_test, sandbox, product, in_threads):
    order = Order.objects.get(number=pay_as_test(product)["order"])
    with transaction.atomic():
        Order.objects.select_for_update().get(pk=order.pk)
        in_threads(lambda _: service.delete_test_data(sandbox, timeout=60), [None], threads=1)
        assert Order.objects.filter(pk=order.pk).exists()

    service.delete_test_data(sandbox, timeout=60)
    assert not Order.objects.filter(pk=order.pk).exists()


def test_payments_continue_while_test_data_is_deleted(sandbox, product, make_api, make_payment, in_threads, capsys):
    add_test_pools(sandbox)
    pool = sandbox.pools.get()
    import_keys(pool, [f"T-{number}" for number in range(200)], actor="Ada")
    api = make_api(sandbox)
    payments = [make_payment(product, order=f"T-{number}") for number in range(40)]
    everything = [*payments[:20], None, *payments[20:30], None, *payments[30:]]

    def act(payment):
        if payment is None:
            return service.delete_test_data(sandbox, timeout=60)
        return api.post("/api/v1/payments/", payment, format="json").status_code == 201

    assert all(in_threads(act, everything, threads=5))
    assert_clean(capsys)


def test_the_keys_of_the_sandbox_work_afterwards(test_data, sandbox, make_api):
    service.delete_test_data(sandbox, timeout=60)

    assert ApiKey.objects.filter(merchant=sandbox, revoked_at=None).exists()
    assert make_api(sandbox).get("/api/v1/orders/").data["results"] == []
