"""A kind of source is one class and one line: this one is registered here, and no other file knows it."""

from urllib.parse import urlsplit

import pytest
from django.urls import reverse

from fulfillment.attention import needing_attention
from fulfillment.chains import ChainRefused, add_source
from fulfillment.history import order_history
from fulfillment.models import Fulfillment
from fulfillment.sources.base import Source, SourceError
from merchants.models import Member
from notices.models import MerchantNotice
from orders.kinds import SOURCES
from orders.models import ActivationCode, Order

pytestmark = pytest.mark.django_db(transaction=True)


class ToySource(Source):
    code, name, origin = "toy", "Toy", "out of the toy box"
    waiting_rank = 3
    waiting = "The toy of %(merchant)s is thinking."
    answer = "TOY-{unit}"

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
    return ToySource


@pytest.fixture
def manager(client, make_member):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


def test_a_product_chooses_it_and_gets_its_codes(toy, manager, make_product, pay, work):
    product = make_product(source=None)
    page = reverse("product", args=[product.pk])
    assert '<option value="toy">Toy</option>' in manager.get(page).content.decode()

    manager.post(reverse("product-add-source", args=[product.pk]), {"source": "toy"})
    pay(product)
    work()

    assert ActivationCode.objects.get().code == "TOY-1"
    [line] = [line.text for line in order_history(Order.objects.get()) if line.kind == "codes"]
    assert line == f"1 activation code for {product.name} saved, out of the toy box"
    assert (
        "</time>, out of the toy box"
        in manager.get(reverse("order", args=[Order.objects.get().number])).content.decode()
    )
    assert "Toy" in manager.get(page).content.decode()
    with pytest.raises(ChainRefused):
        add_source(product, "toy")


def test_what_it_does_not_give_needs_attention_and_is_told(
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


def customer_page(client, order):
    return client.get(urlsplit(order.url).path).content.decode()


def test_support_staff_give_it_to_a_product(toy, make_product):
    product = make_product(source=None)

    assert str(add_source(product, "toy")) == "Toy"
    assert product.fulfillment_methods.get().kind.shortage() == "The toy box is empty."
