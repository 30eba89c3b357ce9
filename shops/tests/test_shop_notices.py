"""A merchant gets an e-mail when a shop's events wait for a person."""

from datetime import timedelta

import pytest
from django.db.models import F

from notices.models import MerchantNotice
from notices.sending import send_notice
from shops.mapping import map_product
from shops.models import Connection, Event
from shops.notices import notify_of_trouble
from shops.samples import send_sample
from shops.tests.factories import post, process_due
from shops.tests.senders import make_order

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def notices(mailoutbox):
    """Sweep, and return the notices that were sent since."""

    def notices():
        before = len(mailoutbox)
        notify_of_trouble()
        for notice in MerchantNotice.objects.due():
            send_notice(notice.pk)
        return mailoutbox[before:]

    return notices


def an_hour_later():
    period = timedelta(minutes=61)
    MerchantNotice.objects.update(created_at=F("created_at") - period)
    Event.objects.update(created_at=F("created_at") - period, ended_at=F("ended_at") - period)
    Connection.objects.update(created_at=F("created_at") - period, rejected_at=F("rejected_at") - period)


def test_parked_events_are_reported_once_and_new_ones_an_hour_later(notices, shop, send):
    send(shop, make_order())
    [notice] = notices()

    assert notice.subject == "“WooCommerce”: 1 event needs you"
    assert "1 × unknown product" in notice.body and shop.get_absolute_url() in notice.body
    assert notice.to == shop.merchant.notice_recipients()
    assert not notices()

    send(shop, make_order(id=728, number="728"))
    assert not notices()
    an_hour_later()
    [notice] = notices()
    assert "2 × unknown product" in notice.body
    an_hour_later()
    assert not notices()


def test_what_was_dealt_with_first_is_not_reported(notices, shop, send, make_product):
    send(shop, make_order())
    notify_of_trouble()
    map_product(shop, "PHOTO-PRO", {make_product(): 1})
    process_due()

    assert not notices()
    assert MerchantNotice.objects.get().reason == "It was dealt with first."


def test_what_comes_without_a_person_is_not_reported(notices, shop, send, make_product):
    send_sample(shop, external_id="no-such-product", quantity=1, email="")
    send(shop, make_order(status="refunded"))
    process_due()

    assert shop.events.filter(state="parked").count() == 2
    assert not notices()


def test_rejected_requests_are_reported_once_until_the_next_event(notices, shop, send, make_product):
    make_product(sku="PHOTO-PRO")
    for _ in range(2):
        assert post(shop, make_order(), X_WC_Webhook_Topic="order.updated").status_code == 401
        [notice] = notices()
        assert notice.subject == "“WooCommerce”: we reject what it reports"
        an_hour_later()
        assert not notices()
        send(shop, make_order())
        an_hour_later()
        assert not notices()
