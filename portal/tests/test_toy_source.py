"""A new kind of source takes one class and one line. This one is registered here, and no other file imports it."""

import re
from urllib.parse import urlsplit

import pytest
from django.urls import reverse

from fulfillment.attention import needing_attention
from fulfillment.history import HistoryLine, order_history
from fulfillment.models import Fulfillment
from fulfillment.product_sources import SourceChangeRefused, add_source
from fulfillment.sources.base import Source, SourceError
from fulfillment.tasks import nudge_due
from merchants.models import Member
from notices.models import MerchantNotice
from orders.kinds import SOURCES
from orders.models import ActivationCode, Order
from orders.services import refund, reinstate

pytestmark = pytest.mark.django_db(transaction=True)


class ToySource(Source):
    code, name, origin = "toy", "Toy", "out of the toy box"
    waiting_rank = 3
    waiting = "The toy of %(merchant)s is thinking."
    answer = "TOY-{unit}"
    pages = ("Toy boxes", "setup")
    calls: list[str] = []

    def describe_stuck(self, orders):
        return f"The toy box is jammed: {orders}"

    @classmethod
    def history(cls, item):
        yield HistoryLine(item.fulfillment.created_at, "codes", f"The toy was wound up for {item.product.name}")

    @classmethod
    def stop(cls, order):
        cls.calls.append(f"stop {order.number}")

    @classmethod
    def restart(cls, order):
        cls.calls.append(f"restart {order.number}")

    @classmethod
    def work(cls):
        cls.calls.append("work")
        return [Fulfillment.objects.none()]

    def issue(self, item, units, *, attempt):
        if not self.answer:
            raise SourceError("The toy is broken.", permanent=True)
        return [(unit, self.answer.format(unit=unit)) for unit in units]

    def shortage(self):
        return "The toy box is empty."


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(SOURCES, ToySource.code, ToySource)
    monkeypatch.setattr(ToySource, "answer", "TOY-{unit}")
    monkeypatch.setattr(ToySource, "calls", [])
    return ToySource


@pytest.fixture
def manager(client, make_member):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def test_a_product_with_the_source_gets_its_codes(toy, manager, make_product, pay, work):
    product = make_product(source=None)
    page = reverse("product", args=[product.pk])
    assert '<option value="toy">Toy</option>' in manager.get(page).content.decode()

    manager.post(reverse("product-add-source", args=[product.pk]), {"source": "toy"})
    pay(product)
    work()

    assert ActivationCode.objects.get().code == "TOY-1"
    lines = [line.text for line in order_history(Order.objects.get()) if line.kind == "codes"]
    assert sorted(lines) == [
        f"1 activation code for {product.name} saved, out of the toy box",
        f"The toy was wound up for {product.name}",
    ]
    page_of_order = manager.get(reverse("order", args=[Order.objects.get().number])).content.decode()
    assert re.search(r"</time>,\s+out of the toy box", page_of_order)
    assert "Toy" in manager.get(page).content.decode()
    with pytest.raises(SourceChangeRefused):
        add_source(product, "toy")


def test_an_error_of_the_source_needs_attention_and_sends_a_notice(
    toy, manager, make_product, pay, work, mailoutbox, monkeypatch
):
    monkeypatch.setattr(toy, "answer", "")
    product = make_product(source=None)
    add_source(product, "toy")
    pay(product)
    order = Order.objects.get()
    assert f"The toy of {order.merchant} is thinking." not in customer_page(manager, order)

    Fulfillment.objects.update(status=Fulfillment.Status.WAITING)
    assert f"The toy of {order.merchant} is thinking." in customer_page(manager, order)
    Fulfillment.objects.update(status=Fulfillment.Status.PENDING)
    work()

    assert list(needing_attention(Order.objects.all())) == [order]
    assert "The toy is broken." in manager.get(reverse("order", args=[order.number])).content.decode()
    assert MerchantNotice.objects.get().kind == "item_failed"
    assert any("The toy is broken." in mail.body for mail in mailoutbox)


@pytest.mark.parametrize("immediate", [True, False])
def test_codes_issued_before_an_error_are_saved(immediate, toy, make_product, pay, work, monkeypatch):
    def issue(source, item, units, *, attempt):
        yield units[0], "TOY-FIRST"
        raise SourceError("The toy is broken.", permanent=True)

    monkeypatch.setattr(toy, "immediate", immediate)
    monkeypatch.setattr(toy, "issue", issue)
    product = make_product(source=None)
    add_source(product, "toy")
    pay(product, quantity=2)
    work()

    assert [code.code for code in ActivationCode.objects.all()] == ["TOY-FIRST"]
    assert Fulfillment.objects.get().status == "failed"


def customer_page(client, order):
    return client.get(urlsplit(order.url).path).content.decode()


def test_its_pages_and_what_it_cannot_deliver_are_shown(toy, manager, make_product, pay, work, monkeypatch):
    monkeypatch.setattr(toy, "answer", "")
    product = make_product(source=None)
    add_source(product, "toy")
    pay(product)
    work()

    page = manager.get(reverse("attention"), follow=True).content.decode()

    assert f'<li><a href="{reverse("setup")}">Toy boxes</a></li>' in page
    assert "The toy box is jammed: 1" in page and "Retry all" in page
    assert 'aria-current="page">Toy boxes' in manager.get(reverse("setup")).content.decode()


def test_it_is_called_for_refunds_reinstatements_and_sweeps(toy, make_product, pay):
    pay(make_product(source=None), order="A1")
    refund(Order.objects.get(), actor="shop")
    reinstate(Order.objects.get(), actor="shop")
    nudge_due()

    assert toy.calls == ["stop A1", "restart A1", "work"]


def test_support_staff_can_add_it_to_a_product(toy, make_product, admin_client):
    product = make_product(source=None)
    page = reverse("admin:merchants_product_change", args=[product.pk])
    assert "Sources: Toy" in admin_client.get(page).content.decode()

    kinds = [code for code, kind in SOURCES.items() if kind.selectable]
    inlines = ["fulfillment_methods", *(f"fulfillment_methods-{number}" for number in range(2, len(kinds) + 1))]
    forms = {f"{inline}-{name}_FORMS": 0 for inline in inlines for name in ("TOTAL", "INITIAL")}
    inline = inlines[kinds.index("toy")]
    forms |= {f"{inline}-TOTAL_FORMS": 1, f"{inline}-0-product": product.pk, f"{inline}-0-position": 1}
    admin_client.post(page, {"sku": product.sku, "name": product.name, "quantity_rule": "unit"} | forms)

    method = product.fulfillment_methods.get()
    assert str(method) == "Toy"
    assert method.kind.shortage() == "The toy box is empty."
