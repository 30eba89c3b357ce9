"""The page of a test order shows each step, what is still to come and what to do about it, and the e-mail."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from merchants.models import Member
from orders.models import ActivationCode, Order
from orders.services import correct_email
from outbound.mail import MailError, MailSession
from pools.imports import import_keys
from pools.sandbox import add_test_pools
from portal.orders.tests.conftest import text
from portal.test_orders.placing import send_test_order
from portal.test_orders.progress import format_elapsed
from portal.test_orders.views import result_url
from portal.tests.test_every_page import MAX_QUERIES
from webhooks.models import WebhookEndpoint, WebhookMessage

pytestmark = pytest.mark.django_db

POLLS = 'hx-trigger="every 1s"'


@pytest.fixture
def manager(make_member):
    return make_member(Member.Role.MANAGER, first_name="Max")


@pytest.fixture
def send(merchant, manager):
    def send(product, quantity=1, recipient=manager, page="main", language="en"):
        return send_test_order(
            merchant,
            product=product,
            quantity=quantity,
            recipient=recipient.user,
            checkout_page=merchant.checkout_pages.get(code=page),
            language=language,
            actor=str(manager.user),
        )

    return send


@pytest.fixture
def page(client, manager):
    client.force_login(manager.user)
    return client


@pytest.fixture
def show(page):
    return lambda order, **headers: page.get(result_url(order), headers=headers)


def make_endpoint(merchant, url="https://shop.example/hook"):
    return WebhookEndpoint.objects.create(
        merchant=merchant, url=url, events=["order.paid", "product.delivered"], secret="whsec_MfKQ9r8GK"
    )


def age(order, seconds):
    """Let everything about an order have happened earlier."""
    before = timedelta(seconds=seconds)
    order.refresh_from_db()
    Order.objects.filter(pk=order.pk).update(reported_at=order.reported_at - before)
    for work in (*order.deliveries.all(), *Fulfillment.objects.filter(order=order)):
        moved = {name: getattr(work, name) and getattr(work, name) - before for name in ("created_at", "due_at")}
        type(work).objects.filter(pk=work.pk).update(**moved)


def test_it_shows_each_step_with_its_time(show, send, product, manager, work):
    order = send(product, quantity=2)
    work()

    response = show(order)
    shown = text(response)
    steps = [
        "Paid in the shop",
        f"Payment reported, by {manager.user}",
        f"2 activation codes for {product.name} saved, generated for the test",
        f"E-mail to {manager.user.email} queued",
        f"2 activation codes e-mailed to {manager.user.email}",
    ]
    places = [shown.index(step) for step in steps]
    assert places == sorted(places)
    assert "accepted by the mail server" in shown
    assert len(re.findall(r"\d\d:\d\d:\d\d\.\d{3} · [\d.]+ m?s after the report", shown)) == 3
    assert "Finished after" in shown
    assert POLLS not in response.content.decode()


def test_it_says_that_it_is_a_test_and_where_to_go(show, send, product, merchant):
    order = send(product)
    page = show(order).content.decode()

    assert "This was only a test." in page
    assert f"{reverse('order', args=[order.number])}?merchant={merchant.sandbox.slug}" in page
    assert f'action="{reverse("show-test-data")}"' in page
    assert reverse("test-order") in page
    assert "Go live: what to change" in page


def test_it_polls_while_work_is_under_way_and_reloads_at_the_end(show, send, product, work):
    order = send(product)

    waiting = show(order, **{"HX-Request": "true"})
    assert POLLS in waiting.content.decode()
    assert "being e-mailed to" in text(waiting)
    assert "Refresh" in text(waiting)
    assert "HX-Refresh" not in waiting
    work()
    assert show(order, **{"HX-Request": "true"})["HX-Refresh"] == "true"
    assert "HX-Refresh" not in show(order)


def test_it_says_if_no_worker_starts(show, send, product):
    order = send(product)
    assert "no worker has started it" not in text(show(order))

    age(order, 15)
    response = show(order)
    assert "no worker has started it" in text(response)
    assert POLLS in response.content.decode()


def test_it_stops_polling_after_a_minute(show, send, product):
    order = send(product)
    age(order, 70)

    response = show(order)
    assert POLLS not in response.content.decode()
    assert "Refresh" in text(response)
    assert "no worker has started it" in text(response)


def fail_with(monkeypatch, error):
    def refuse(session, message):
        raise error

    monkeypatch.setattr(MailSession, "send", refuse)


def test_it_shows_why_the_mail_server_didnt_accept_the_email(show, send, product, work, monkeypatch, manager):
    fail_with(monkeypatch, MailError("The mail server can’t be reached.", unreachable=True))
    order = send(product)
    work()

    shown = text(show(order))
    assert f"{manager.user.email} wasn’t accepted by the mail server. The mail server can’t be reached." in shown
    assert "Next attempt: in" in shown
    assert "no worker" not in shown
    assert "Finished" not in shown


def test_it_shows_that_the_email_failed_for_good(show, send, product, work, monkeypatch):
    fail_with(monkeypatch, MailError("550 5.1.1 No such mailbox.", permanent=True))
    order = send(product)
    work()

    response = show(order)
    assert "didn’t arrive. 550 5.1.1 No such mailbox. Fix the cause, then resend the code." in text(response)
    assert '<span class="badge bad">' in response.content.decode()
    assert POLLS not in response.content.decode()


def test_it_shows_what_an_item_waits_for(show, send, make_product, work):
    order = send(make_product(source="manual", name="Handmade"))
    work()

    response = show(order)
    assert "No codes for Handmade yet." in text(response)
    assert order.items.get().fulfillment.reason in text(response)
    assert "Open the order" in text(response)
    assert POLLS not in response.content.decode()
    assert "There is no e-mail yet." in text(response)


def test_it_shows_that_the_test_stock_is_empty(show, send, product, sandbox):
    add_test_pools(sandbox)
    import_keys(sandbox.pools.get(), ["T-1"], actor="Max")
    order = send(product, quantity=2)

    shown = text(show(order))
    assert "from pool" in shown
    assert "has no keys left" in shown
    assert product.merchant.pools.get(live=None).keys.issued().count() == 0


def test_it_shows_why_an_item_failed(show, send, make_product, work):
    order = send(make_product(source="manual"))
    Fulfillment.objects.filter(order=order).update(status="failed", due_at=None, reason="The service answered 404.")

    response = show(order)
    assert "The service answered 404." in text(response)
    assert '<span class="badge bad">' in response.content.decode()


def test_it_says_that_a_page_without_delivery_sends_no_email(show, send, product, merchant):
    merchant.checkout_pages.create(code="quiet", delivery_allowed=False)
    order = send(product, page="quiet")

    shown = text(show(order))
    assert "delivery isn’t allowed for the checkout page “quiet”" in shown
    assert "Finished" in shown


def test_it_says_that_an_order_of_unknown_products_gets_no_email(show, sandbox, make_api, make_payment):
    make_api(sandbox).post("/api/v1/payments/", make_payment("UNKNOWN", order="SHOP-1"), format="json")

    shown = text(show(Order.objects.get()))
    assert "none of its items is one of your products" in shown
    assert "Finished" not in shown


def test_it_says_that_the_source_sends_the_codes_itself(show, send, product):
    order = send(product)
    Delivery.objects.all().delete()

    assert "the source sends the codes itself" in text(show(order))


def test_it_shows_test_webhooks_but_never_live_ones(show, send, product, merchant, sandbox, work, monkeypatch):
    make_endpoint(sandbox, "https://test.example/hook")
    make_endpoint(merchant, "https://live.example/hook")
    order = send(product)
    shown = text(show(order))
    assert "Webhook order.paid to test.example queued" in shown
    assert "The webhook order.paid to test.example is queued." in shown

    WebhookMessage.objects.update(status="delivered", due_at=None, ended_at=timezone.now())
    shown = text(show(order))
    assert "Webhook order.paid delivered to test.example" in shown
    assert "live.example" not in shown
    WebhookMessage.objects.update(status="failed", reason="The endpoint answered 500.")
    shown = text(show(order))
    assert "Webhook order.paid not delivered to test.example" in shown
    assert "wasn’t accepted. The endpoint answered 500. Open the endpoint" in shown


def test_it_suggests_a_test_endpoint_if_there_is_none(show, send, product, work):
    order = send(product)
    work()

    assert "You have no test webhook endpoint for these events." in text(show(order))


def test_the_request_is_shown_only_if_the_order_is_as_reported(show, send, product, work, pay_as_test, sandbox):
    order = send(product)
    assert "curl" in text(show(order))

    correct_email(order, "new@northlight.example", actor="Max")
    assert "This order has changed since it was reported" in text(show(order))
    pay_as_test(product, order="SHOP-1", additional_parameters={"referer1": "mail"})
    shown = show(Order.objects.get(number="SHOP-1"))
    assert "or a shop reported it with more" in text(shown)
    assert "Payment reported" in text(shown)


def test_the_page_contains_no_whole_code(show, send, product, work):
    order = send(product)
    work()

    assert ActivationCode.objects.get().code not in show(order).content.decode()


def test_the_page_of_a_test_order_links_to_its_steps(page, show, send, pay, product, support):
    pay(product, order="REAL-1")
    order = send(product)
    link = f'href="{result_url(order)}"'
    page.force_login(order.merchant.vendor.members.get(role=Member.Role.MANAGER).user)

    assert link in page.get(reverse("order", args=[order.key])).content.decode()
    assert "Show steps" not in text(page.get(reverse("order", args=["REAL-1"])))
    page.force_login(order.merchant.vendor.members.get(role=Member.Role.SUPPORT).user)
    assert link not in page.get(reverse("order", args=[order.key])).content.decode()


# The e-mail


@pytest.fixture
def show_email(page):
    def show_email(order, delivery=None):
        pk = delivery or order.deliveries.get().pk
        return page.get(reverse("test-order-email", args=[order.key, pk]))

    return show_email


def test_the_email_is_shown_as_the_customer_gets_it(show_email, send, product, work):
    order = send(product, language="de")
    before = show_email(order)
    work()

    sent: Any = mail.outbox[0]
    html = sent.alternatives[0][0]
    assert ActivationCode.objects.get().code in html
    for response in (before, show_email(order)):
        shown = response.context["mail"]
        assert (shown.subject, shown.from_email, shown.to) == (sent.subject, sent.from_email, sent.to)
        assert (shown.body, response.context["html"]) == (sent.body, html)
        assert f"to {sent.to[0]}" in text(response)
    assert sent.subject.startswith("[Test]")


def test_the_email_cant_run_scripts_and_isnt_cached(show_email, show, send, product):
    order = send(product)
    response = show_email(order)

    policy = response["Content-Security-Policy"]
    assert "script-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert "no-store" in response["Cache-Control"]
    assert " sandbox></iframe>" in response.content.decode()
    assert "frame-src 'self'" in show(order)["Content-Security-Policy"]


def test_an_email_without_codes_is_a_404(show_email, show, send, product):
    order = send(product)
    ActivationCode.objects.update(withdrawn_at=timezone.now())

    assert show_email(order).status_code == 404
    assert show(order).status_code == 200


# Access


def test_live_orders_and_those_of_others_are_a_404(
    page, send, show_email, pay, product, outsider, make_api, make_payment
):
    order = send(product)
    pay(product, order="REAL-1")
    live = Order.objects.get(number="REAL-1")
    for key in ("REAL-1", f"id:{live.pk}", "TEST-0"):
        assert page.get(reverse("test-order-result", args=[key])).status_code == 404, key
    assert show_email(order, live.deliveries.get().pk).status_code == 404
    assert page.get(reverse("test-order-email", args=["REAL-1", live.deliveries.get().pk])).status_code == 404

    page.force_login(outsider.members.get().user)
    assert page.get(reverse("test-order-result", args=[order.number])).status_code == 404
    assert show_email(order).status_code == 404


def test_support_members_dont_see_it(support, send, product):
    order = send(product)

    assert support.get(result_url(order)).status_code == 403
    assert support.get(reverse("test-order-email", args=[order.key, order.deliveries.get().pk])).status_code == 403


def test_a_member_of_two_merchants_sees_it_from_the_other(page, manager, send, product, outsider):
    Member.objects.create(merchant=outsider, user=manager.user, role=Member.Role.OWNER)
    order = send(product)
    page.get(f"/?merchant={outsider.slug}")

    assert page.get(result_url(order)).status_code == 200


def test_it_runs_few_queries(show, send, make_product, sandbox, work, page):
    for _ in range(3):
        make_endpoint(sandbox)
    order = send(make_product(), quantity=10)
    work()
    show(order)

    for address in (result_url(order), reverse("test-order-email", args=[order.key, order.deliveries.get().pk])):
        with CaptureQueriesContext(connection) as queries:
            assert page.get(address).status_code == 200
        assert len(queries) <= MAX_QUERIES, address


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, ""), (0, ""), (0.0124, "12 ms"), (0.9996, "1000 ms"), (1.26, "1.3 s"), (61, "1 min 1 s")],
)
def test_the_time_since_the_report_has_a_fitting_unit(seconds, shown):
    with translation.override("en"):
        assert format_elapsed(timedelta(seconds=seconds)) == shown


def test_deliveries_of_each_state_have_a_line(show, send, product):
    order = send(product)
    for status in Delivery.Status.values:
        Delivery.objects.update(status=status)
        assert show(order).status_code == 200
