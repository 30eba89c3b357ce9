"""Orders whose licenses come from Keywell's own service, through a proxy that drops connections."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.db.models.functions import Now

from fulfillment.actions import retry
from fulfillment.models import Fulfillment
from fulfillment.product_sources import add_source
from fulfillment.sources.netlicensing import client as net_licensing
from fulfillment.sources.netlicensing.models import Deactivation, LicensingAccount
from fulfillment.sources.netlicensing.tests.licensing_server import Proxy
from licensing.models import License, Licensee, LicensingProduct, Role, Token
from licensing.transfer import transfer
from orders.models import ActivationCode, Order, OrderItem
from orders.services import refund
from outbound.models import OutgoingRequest

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = 7
# For the service, every failure is one of these: the request or the answer is lost.
FAILURES = ["dies before", "dies after"]


@pytest.fixture
def proxy(live_server, settings, monkeypatch):
    def forward(method, target, headers, body):
        url = f"{live_server.url}{target}"
        request = Request(url, body or None, dict(headers.items()), method=method)  # noqa: S310 (loopback)
        try:
            with urlopen(request, timeout=10) as response:  # noqa: S310
                return response.status, {"Content-Type": response.headers["Content-Type"]}, response.read()
        except HTTPError as error:
            return error.code, {"Content-Type": error.headers["Content-Type"]}, error.read()

    proxy = Proxy(forward)
    monkeypatch.setattr(net_licensing, "call", proxy.with_short_timeout(net_licensing.call))
    settings.LICENSING_URL = proxy.url
    yield proxy
    proxy.stop()


@pytest.fixture
def product(merchant):
    """A product with a template of each kind, and one that is automatic."""
    product = LicensingProduct.objects.create(merchant=merchant, number="P-1", name="Photo Pro")
    models = {"SUB": "Subscription", "PPU": "PayPerUse", "FEATURE": "MultiFeature", "AUTO": "MultiFeature"}
    types = {"SUB": "TIMEVOLUME", "PPU": "QUANTITY", "FEATURE": "FEATURE", "AUTO": "FEATURE"}
    terms: dict[str, dict] = {"SUB": {"time_volume": 1, "time_volume_period": "MONTH"}, "PPU": {"quantity": 100}}
    for name, model in models.items():
        module = product.modules.create(merchant=merchant, number=f"M-{name}", name=name, licensing_model=model)
        module.templates.create(
            merchant=merchant,
            number=f"T-{name}",
            name=name,
            license_type=types[name],
            automatic=name == "AUTO",
            **terms.get(name, {}),
        )
    return product


@pytest.fixture
def sold(merchant, make_product, product, proxy):
    key = Token.objects.create(merchant=merchant, token_type="APIKEY", api_key_role=Role.OPERATION)  # noqa: S106
    account = merchant.licensing_accounts.create(name="Own", api_key=key.number)
    package = merchant.license_packages.create(account=account, name="Pro", product_number="P-1", start_date="payment")
    package.templates.create(position=1, number="T-SUB")
    package.templates.create(position=2, number="T-PPU")
    sold = make_product(source=None)
    add_source(sold, "netlicensing", package)
    return sold


def codes_of(number):
    return [code.code for code in ActivationCode.objects.filter(item__order__number=number)]


def make_all_due():
    LicensingAccount.objects.update(failures=0, paused_at=None)
    for item in OrderItem.objects.filter(fulfillment__status="failed"):
        retry(item, actor="Sam")
    for model in (Fulfillment, Deactivation):
        model.objects.filter(due_at__isnull=False).update(due_at=Now())


def template_numbers(licensee):
    return sorted(licensee.licenses.values_list("template__number", flat=True))


def test_a_failure_at_any_step_still_leads_to_one_marked_licensee_with_its_licenses(pay, work, sold, proxy, merchant):
    for failure in FAILURES:
        for step in range(1, STEPS + 1):
            before = set(Licensee.objects.values_list("pk", flat=True))
            proxy.fail_at(failure, step)
            order = pay(sold)["order"]
            work()
            assert codes_of(order) == [], (failure, step)

            proxy.stop_failing()
            make_all_due()
            work()

            [code] = codes_of(order)
            [licensee] = Licensee.objects.exclude(pk__in=before)
            assert (licensee.number, licensee.marked_for_transfer) == (code, True), (failure, step)
            assert template_numbers(licensee) == ["T-PPU", "T-SUB"], (failure, step)

    # A refund also deactivates licenses that were transferred.
    customer = Licensee.objects.create(merchant=merchant, product=licensee.product, number="CUSTOMER")
    transfer(customer, licensee, actor="test")
    refund(Order.objects.get(number=order), actor="Olivia")
    work()
    assert set(customer.licenses.values_list("active", flat=True)) == {False}
    assert License.objects.filter(active=False).count() == 2
    assert not OutgoingRequest.objects.filter(answer__contains="CUSTOMER").exists()
