"""The pages on which a merchant sets up a web service and sees its requests."""

import socket
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from fulfillment.actions import retry_failed
from fulfillment.models import Fulfillment
from fulfillment.product_sources import add_source
from fulfillment.sources.web_service.models import WebService
from merchants.models import Member
from orders.models import Order, OrderEvent, OrderItem
from outbound.models import OutgoingRequest
from portal.web_services.forms import MAX_SERVICES
from portal.web_services.tests.conftest import (
    FORM,
    PUBLIC,
    address,
    log_request,
    make_failed_orders,
    page_text,
    service_page,
)

# Setup


def test_a_service_is_added_and_shown(manager, merchant):
    assert "Do you generate license keys yourself?" in page_text(manager.get(reverse("web-services")))

    response = manager.post(reverse("web-service-add"), FORM | {"for_all_products": "on"}, follow=True)

    service = merchant.web_services.get()
    assert (service.name, service.url, service.for_all_products) == ("Gen", PUBLIC, True)
    assert service.secret.startswith("whsec_")
    assert list(service.parameters.values_list("name", flat=True)) == ["Order", "Item", "ID", "Quantity"]
    assert response.redirect_chain[-1][0] == address("parameters", service)
    assert "93.184.216.34" in page_text(manager.get(reverse("web-services")))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"timeout": "0"}, "greater than or equal to 1"),
        ({"timeout": "31"}, "less than or equal to 30"),
        ({"url": PUBLIC + "#top"}, "Servers never receive that part"),
        ({"answer": "json", "path": ""}, "Enter the path of the code"),
        ({"answer": "json", "path": "$.[["}, "Enter a JSON path such as"),
        ({"answer": "xml", "path": "a/b/@"}, "Enter an XML path such as"),
        ({"temporary_pattern": "(busy"}, "Enter a valid RE2 regular expression"),
        ({"temporary_pattern": "(?=busy)"}, "Enter a valid RE2 regular expression"),
        ({"temporary_pattern": "busy|"}, "matches every answer"),
        ({"request_per": "item"}, "can return several codes"),
        ({"login": "basic", "password": "x"}, "This field is required"),
        ({"login": "basic", "username": "ada"}, "This field is required"),
        ({"login": "basic", "username": "ada:b", "password": "x"}, "can’t contain a colon"),
        ({"login": "bearer"}, "This field is required"),
        ({"login": "bearer", "password": "token\r\nX-Evil: 1"}, "only ASCII characters"),
        ({"login": "bearer", "password": "two words"}, "without spaces"),
        ({"login": "bearer", "password": "two words"}, "without spaces"),
        ({"login": "bearer", "password": "käse"}, "only ASCII characters"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_it_shows_errors_next_to_their_fields(manager, merchant, changes, error):
    response = manager.post(reverse("web-service-add"), FORM | changes)

    assert error in page_text(response)
    assert "Please check these fields" in page_text(response)
    assert not merchant.web_services.exists()


def test_fields_that_a_choice_makes_irrelevant_are_cleared(manager, merchant):
    useless = {"path": "$.key", "holds_list": "on", "same_code_allowed": "on", "username": "ada", "password": "x"}

    manager.post(reverse("web-service-add"), FORM | useless | {"sends_itself": "on", "request_per": "item"})

    service = merchant.web_services.get()
    assert (service.path, service.holds_list, service.same_code_allowed) == ("", False, False)
    assert (service.username, service.password) == ("", "")


def test_names_are_unique_per_merchant_and_only_one_service_is_for_all_products(
    manager, merchant, make_service, outsider
):
    make_service(for_all_products=True)
    make_service(merchant=outsider, name="Other", for_all_products=True)

    response = manager.post(reverse("web-service-add"), FORM | {"for_all_products": "on"})
    assert "Another web service has this name." in page_text(response)
    assert "“Gen” already serves all products." in page_text(response)

    manager.post(reverse("web-service-add"), FORM | {"name": "Other"})
    assert merchant.web_services.count() == 2


def test_concurrent_submissions_add_one_service(make_member, merchant, in_threads, transactional_db):
    user = make_member(Member.Role.MANAGER).user

    def add(_):
        client = Client()
        client.force_login(user)
        return client.post(reverse("web-service-add"), FORM).status_code

    answers = in_threads(add, range(6), threads=6)

    assert sorted(answers) == [200] * 5 + [302]
    assert merchant.web_services.count() == 1


def test_the_number_of_services_is_limited(manager, make_service):
    for number in range(MAX_SERVICES):
        make_service(name=f"Gen {number}")

    assert "reached the limit of" in page_text(manager.post(reverse("web-service-add"), FORM))


def test_changing_a_service_keeps_its_state_and_retries_immediately(manager, service, sold, pay):
    add_source(sold, "web_service", service)
    pay(sold)
    later = timezone.now() + timedelta(minutes=9)
    Fulfillment.objects.update(status="waiting", due_at=later)
    WebService.objects.update(paused_at=timezone.now(), failing_since=timezone.now(), failures=6, probe_at=later)

    manager.post(address("change", service), FORM | {"url": PUBLIC + "/2"})

    service.refresh_from_db()
    assert (service.url, service.failures, service.state) == (PUBLIC + "/2", 6, "paused")
    assert service.probe_at <= timezone.now()
    assert Fulfillment.objects.due().count() == 1


def test_changing_a_service_does_not_overwrite_concurrent_changes(manager, service, monkeypatch):
    monkeypatch.setattr("portal.web_services.forms.check", lambda url: WebService.objects.update(failures=7))

    manager.post(address("change", service), FORM | {"name": "Renamed"})

    service.refresh_from_db()
    assert (service.name, service.failures) == ("Renamed", 7)


# The password


def test_a_password_is_stored_encrypted_and_not_shown(manager, guarded):
    form = FORM | {"login": "basic", "username": "ada"}
    manager.post(address("change", guarded), form | {"password": "new sésame"})

    guarded.refresh_from_db()
    assert guarded.password == "new sésame"
    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM web_service_webservice")
        assert b"sesame" not in bytes(cursor.fetchone()[0])
    assert "sésame" not in service_page(manager, guarded) + page_text(manager.get(address("change", guarded)))


@pytest.mark.parametrize("url", [PUBLIC, PUBLIC + "/2?a=1"])
def test_an_empty_password_field_keeps_the_saved_password(manager, guarded, url):
    manager.post(address("change", guarded), FORM | {"login": "basic", "username": "ada", "url": url})

    guarded.refresh_from_db()
    assert (guarded.password, guarded.url) == ("sésame", url)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://93.184.216.35/keys"},
        {"url": "https://93.184.216.34:8443/keys"},
        {"username": "eve"},
        {"login": "bearer"},
    ],
)
def test_a_saved_password_is_not_sent_to_another_server(manager, guarded, changes):
    response = manager.post(address("change", guarded), FORM | {"login": "basic", "username": "ada"} | changes)

    assert "This field is required." in page_text(response)
    guarded.refresh_from_db()
    assert (guarded.url, guarded.username) == (PUBLIC, "ada")


# Allowed addresses


@pytest.fixture
def listener():
    """A listening port on this machine that must get no connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


TRICKS = [
    "https://127.0.0.1:{port}/",
    "https://2130706433:{port}/",  # decimal
    "https://0177.0.0.1:{port}/",  # octal
    "https://0x7f000001:{port}/",
    "https://127.1:{port}/",
    "https://0:{port}/",
    "https://１２７.0.0.1:{port}/",
    "https://127。0。0。1:{port}/",
    "https://[::1]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::127.0.0.1]:{port}/",
    "https://[64:ff9b::7f00:1]:{port}/",  # NAT64
    "https://[2002:7f00:1::]:{port}/",  # 6to4
    "https://[2001:0:7f00:1::]:{port}/",  # Teredo
    "https://[fe80::1%25lo]:{port}/",
    "https://169.254.169.254/latest/meta-data/",
    "https://93.184.216.34@127.0.0.1:{port}/",
    r"https://93.184.216.34\@127.0.0.1:{port}/",
    "https://localhost:{port}/",
    "https://localhost.:{port}/",
    "https://ip6-localhost:{port}/",
    "https://mixed.example:{port}/",
    "https://127.0.0.1.:{port}/",
    "http://127.0.0.1:{port}/",
    "https://93.184.216.34:22/",
]


@pytest.mark.parametrize("trick", TRICKS)
def test_no_address_trick_is_saved_or_reaches_a_local_port(manager, merchant, dns, listener, trick, pay, work, sold):
    for name in ("localhost", "localhost.", "127.0.0.1."):
        dns(name, ["127.0.0.1"])
    dns("ip6-localhost", ["::1"])
    dns("mixed.example", ["93.184.216.34", "127.0.0.1"])
    url = trick.format(port=listener.getsockname()[1])

    response = manager.post(reverse("web-service-add"), FORM | {"url": url})

    assert 'class="errorlist' in page_text(response)
    assert not merchant.web_services.exists()
    # It is rejected even if it was saved some other way.
    service = merchant.web_services.create(name="Gen", url=url, secret=WebService.make_secret())
    add_source(sold, "web_service", service)
    pay(sold)
    work()
    assert OutgoingRequest.objects.get().outcome == "fatal"
    assert Fulfillment.objects.get().status == "failed"
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_name_that_resolves_to_a_local_address_later_is_not_called(
    manager, merchant, dns, listener, pay, work, sold
):
    dns("moves.example", ["93.184.216.34"], ["127.0.0.1"])
    url = f"https://moves.example:{listener.getsockname()[1]}/"

    manager.post(reverse("web-service-add"), FORM | {"url": url})
    add_source(sold, "web_service", merchant.web_services.get(url=url))
    pay(sold)
    work()

    assert "isn’t on the public internet" in OutgoingRequest.objects.get().error
    with pytest.raises(BlockingIOError):
        listener.accept()


# Status


def test_it_shows_the_products_and_the_state_of_a_service(manager, make_service, sold):
    service = make_service(sold, url=PUBLIC)
    add_source(sold, "manual")
    for milliseconds in range(1, 251):
        log_request(service, milliseconds=milliseconds)
    OutgoingRequest.objects.filter(milliseconds__lte=30).update(called_at=timezone.now() - timedelta(days=2))

    text = service_page(manager, service)
    assert "healthy" in text and "Photo Pro" in text
    assert "<dd>220</dd>" in text
    assert "240 <span" in text  # of 51 to 250 ms
    WebService.objects.update(failing_since=timezone.now())
    assert "No code received since" in service_page(manager, service)
    WebService.objects.update(paused_at=timezone.now(), probe_at=timezone.now() + timedelta(minutes=5))
    assert "We’ll try again" in service_page(manager, service)
    for name in ("products", "product"):
        assert "paused" in page_text(manager.get(reverse(name, args=[sold.pk] if name == "product" else [])))


def test_a_product_without_a_source_shows_the_service_for_all_products(manager, make_service, sold):
    assert "none yet, so orders wait" in page_text(manager.get(reverse("products")))

    make_service(for_all_products=True)

    assert "Web service “Gen”" in page_text(manager.get(reverse("products")))
    assert "which serves all such products" in page_text(manager.get(reverse("product", args=[sold.pk])))


def test_the_secret_can_be_shown_and_rotated(manager, service):
    secret = service.secret
    assert secret not in service_page(manager, service)
    response = manager.post(address("secret", service))
    assert secret in response.content.decode() and "no-store" in response["Cache-Control"]

    manager.post(address("rotate", service))

    service.refresh_from_db()
    assert service.previous_secret == secret != service.secret
    assert "The previous secret is valid until" in service_page(manager, service)


# The log


def test_the_log_shows_each_request_and_its_answer(manager, service, sold, pay):
    add_source(sold, "web_service", service)
    pay(sold, order="A77")
    item = OrderItem.objects.get()
    call = log_request(
        service,
        item=item,
        unit=1,
        attempt=3,
        status_code=503,
        milliseconds=1234,
        outcome="temporary",
        error="The service answered <503>.",
        sent="Order=A77&token=••••",
        answer="<b>busy</b>",
        request_id="req_1",
    )
    log_request(service, is_test=True)

    text = service_page(manager, service)
    assert ">503</span>" in text and "1,234 ms" in text and "attempt 3" in text
    assert "The service answered &lt;503&gt;." in text and "A77" in text and "sample data" in text
    detail = page_text(manager.get(address("request", service, call)))
    assert reverse("order", args=["A77"]) in detail and "?order=A77&amp;reference=" in detail
    assert "Order=A77&amp;token=••••" in detail and "&lt;b&gt;busy&lt;/b&gt;" in detail and "req_1" in detail


def test_the_log_can_be_filtered_and_has_several_pages(manager, service):
    failed = [log_request(service, outcome="fatal", error=f"Failure {number}.") for number in range(30)]
    log_request(service, is_test=True, error="A test.", outcome="temporary")
    log_request(service, milliseconds=7654321)

    failed_page = manager.get(address("", service) + "?show=failed")
    text = failed_page.content.decode()
    assert "Failure 29." in text and "A test." in text and "7,654,321 ms" not in text and "Failure 0." not in text
    older = manager.get(address("", service) + f"?show=failed&before={failed_page.context['page'].older}")
    tests = manager.get(address("", service) + "?show=tests").content.decode()

    assert f"?show=failed&amp;before={failed_page.context['page'].older}" in text
    assert failed[0].error in older.content.decode()
    assert "A test." in tests and "Failure" not in tests
    assert "7,654,321 ms" in manager.get(address("", service) + "?show=ok").content.decode()
    assert "Failure 29." in manager.get(address("", service) + "?show=odd").content.decode()


def test_the_log_is_searched_by_order_number(manager, service, sold, pay):
    add_source(sold, "web_service", service)
    make_failed_orders(service, pay, sold, count=2)
    first, second = Order.objects.order_by("pk")

    text = manager.get(address("", service) + f"?order={first.number}&show=failed").content.decode()
    entries = text.partition('class="entries"')[2]
    assert first.number in entries and second.number not in entries
    assert f"?show=ok&amp;order={first.number}#log" in text
    assert "No matching requests" in manager.get(address("", service) + "?order=none%00").content.decode()


def test_a_request_of_the_log_opens_in_the_console(manager, service, sold, pay):
    add_source(sold, "web_service", service)
    order = pay(sold)["order"]

    text = page_text(manager.get(address("console", service) + f"?order={order}&reference=1"))

    assert f"Order={order}" in text and f'value="{order}"' in text
    assert "No order has this number" in page_text(manager.get(address("console", service) + "?order=none"))


def test_the_number_of_queries_does_not_depend_on_the_number_of_requests(
    manager, service, sold, pay, django_assert_num_queries
):
    add_source(sold, "web_service", service)
    make_failed_orders(service, pay, sold, count=2)
    service_page(manager, service)
    with CaptureQueriesContext(connection) as queries:
        service_page(manager, service)
    count = len(queries)
    make_failed_orders(service, pay, sold, count=6)

    with django_assert_num_queries(count):
        service_page(manager, service)


# Retries


def test_a_failed_item_can_be_retried(manager, service, sold, pay):
    add_source(sold, "web_service", service)
    make_failed_orders(service, pay, sold)
    call = OutgoingRequest.objects.get()
    WebService.objects.update(paused_at=timezone.now(), probe_at=timezone.now() + timedelta(minutes=5))
    OutgoingRequest.objects.create(
        merchant=service.merchant, upstream=service, item=call.item, method="POST", url=service.url
    )
    assert "Send again" in page_text(manager.get(address("request", service, call)))
    assert "same Idempotency-Key" in page_text(manager.get(address("send", service, call)))

    first = manager.post(address("send", service, call), follow=True)
    second = manager.post(address("send", service, call), follow=True)

    assert "will be retried within seconds" in page_text(first) and "not failed" in page_text(second)
    assert Fulfillment.objects.due().get().status == "pending"
    assert OrderEvent.objects.get().details == {"status": "failed", "reason": "The service answered 404."}
    # The retry may probe the paused service immediately.
    assert WebService.objects.filter(probe_at__lte=timezone.now()).exists()


def test_all_failed_items_can_be_retried_once(manager, service, sold, pay, make_product, make_service):
    add_source(sold, "web_service", service)
    other = make_product(source=None)
    make_service(other, name="Other")
    pay(other)
    make_failed_orders(service, pay, sold, count=3)
    refunded = Fulfillment.objects.filter(item__product=sold).latest("pk").item.order
    refunded.status = "deleted"
    refunded.save()
    assert "2 failed items" in page_text(manager.get(address("", service)))
    assert "again for the failed items of paid orders (2)" in page_text(manager.get(address("retry-failed", service)))

    first = manager.post(address("retry-failed", service), follow=True)
    second = manager.post(address("retry-failed", service), follow=True)

    assert "2 items will be retried" in page_text(first) and "0 items" in page_text(second)
    assert Fulfillment.objects.due().count() == 2
    assert not Fulfillment.objects.due().filter(item__product=other).exists()
    assert OrderEvent.objects.filter(kind="retry").count() == 2
    assert "failed-title" not in service_page(manager, service)


def test_a_service_for_all_products_retries_items_of_products_without_a_source(make_service, make_product, pay):
    service = make_service(for_all_products=True)
    pay(make_product(source=None), make_product(source="manual"))
    Fulfillment.objects.update(status="failed", due_at=None)

    assert retry_failed(service, actor="Max") == 1


def test_concurrent_clicks_retry_once(make_service, sold, pay, in_threads, transactional_db):
    service = make_service(sold)
    for _ in range(5):
        pay(sold)
    Fulfillment.objects.update(status="failed", due_at=None)

    counts = in_threads(lambda actor: retry_failed(service, actor=actor), ["Max", "Mia", "Moe"], threads=3)

    assert sorted(counts) == [0, 0, 5]
    assert OrderEvent.objects.count() == 5


# Deletion


def test_a_service_that_is_a_source_cant_be_deleted(manager, service, sold):
    method = add_source(sold, "web_service", service)
    response = manager.post(address("delete", service), follow=True)
    assert "is a source of “Photo Pro”. Remove it there first." in page_text(response)
    method.delete()

    call = log_request(service)
    manager.post(address("delete", service))

    assert not WebService.objects.exists()
    call.refresh_from_db()
    assert call.upstream is None


def test_a_service_that_customers_wait_for_cant_be_deleted(manager, make_service, sold, pay):
    service = make_service(for_all_products=True)
    pay(sold)

    assert "Customers still wait" in page_text(manager.post(address("delete", service), follow=True))
    Fulfillment.objects.update(status="done")
    manager.post(address("delete", service))
    assert not WebService.objects.exists()


# Other merchants


def test_another_merchants_service_and_requests_are_not_found(client, manager, outsider, make_service, service):
    other_service = make_service(merchant=outsider, name="Other")
    call = log_request(other_service)

    for name in ("", "change", "parameters", "secret", "rotate", "delete", "retry-failed"):
        assert manager.get(address(name, other_service)).status_code == 404
        assert manager.post(address(name, other_service)).status_code == 404
    for name in ("request", "send"):
        assert manager.get(address(name, other_service, call)).status_code == 404
        assert manager.get(address(name, service, call)).status_code == 404


# What needs attention


def test_the_dashboard_lists_services_with_problems(manager, make_service, service, sold, pay):
    now = timezone.now()
    make_service(name="Away", paused_at=now, failing_since=now, probe_at=now)
    make_service(name="Fails", failing_since=now - timedelta(minutes=6))
    make_service(name="Hiccup", failing_since=now)
    assert "Gen" not in page_text(manager.get("/"))
    add_source(sold, "web_service", service)
    make_failed_orders(service, pay, sold, count=2)

    text = page_text(manager.get("/"))

    assert "Away has failed since" in text and "Fails has failed since" in text and "Hiccup" not in text
    assert "Gen works again: 2 orders failed" in text
