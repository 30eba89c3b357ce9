"""The pages on which a merchant sets up a web service, and sees what became of what it was asked."""

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
from orders.models import OrderEvent, OrderItem
from outbound.models import OutgoingRequest
from portal.web_services.forms import MAX_SERVICES
from portal.web_services.tests.conftest import FORM, PUBLIC, address, fail, note, said, shown

# Setting it up


def test_a_service_is_added_and_shown(page, merchant):
    assert "Do you generate license keys yourself?" in said(page.get(reverse("web-services")))

    response = page.post(reverse("web-service-add"), FORM | {"for_all_products": "on"}, follow=True)

    service = merchant.web_services.get()
    assert (service.name, service.url, service.for_all_products) == ("Gen", PUBLIC, True)
    assert service.secret.startswith("whsec_")
    assert list(service.parameters.values_list("name", flat=True)) == ["Order", "Item", "ID", "Quantity"]
    assert response.redirect_chain[-1][0] == address("parameters", service)
    assert "93.184.216.34" in said(page.get(reverse("web-services")))


@pytest.mark.parametrize(
    ("given", "why"),
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
def test_what_cannot_work_is_refused_beside_its_field(page, merchant, given, why):
    response = page.post(reverse("web-service-add"), FORM | given)

    assert why in said(response)
    assert "Please look at" in said(response)
    assert not merchant.web_services.exists()


def test_what_a_choice_leaves_without_a_use_is_emptied(page, merchant):
    useless = {"path": "$.key", "holds_list": "on", "same_code_allowed": "on", "username": "ada", "password": "x"}

    page.post(reverse("web-service-add"), FORM | useless | {"sends_itself": "on", "request_per": "item"})

    service = merchant.web_services.get()
    assert (service.path, service.holds_list, service.same_code_allowed) == ("", False, False)
    assert (service.username, service.password) == ("", "")


def test_a_merchants_names_are_unique_and_one_service_is_for_all(page, merchant, make_service, outsider):
    make_service(for_all_products=True)
    make_service(merchant=outsider, name="Other", for_all_products=True)

    response = page.post(reverse("web-service-add"), FORM | {"for_all_products": "on"})
    assert "Another web service has this name." in said(response)
    assert "“Gen” already serves all products." in said(response)

    page.post(reverse("web-service-add"), FORM | {"name": "Other"})
    assert merchant.web_services.count() == 2


def test_one_that_is_added_twice_at_the_same_time_is_one(make_member, merchant, in_threads, transactional_db):
    user = make_member(Member.Role.MANAGER).user

    def add(_):
        client = Client()
        client.force_login(user)
        return client.post(reverse("web-service-add"), FORM).status_code

    answers = in_threads(add, range(6), threads=6)

    assert sorted(answers) == [200] * 5 + [302]
    assert merchant.web_services.count() == 1


def test_there_are_not_endless_services(page, make_service):
    for number in range(MAX_SERVICES):
        make_service(name=f"Gen {number}")

    assert "reached the limit of" in said(page.post(reverse("web-service-add"), FORM))


def test_changing_it_keeps_how_it_stands_and_has_it_asked_at_once(page, service, sold, pay):
    add_source(sold, "web_service", service)
    pay(sold)
    later = timezone.now() + timedelta(minutes=9)
    Fulfillment.objects.update(status="waiting", due_at=later)
    WebService.objects.update(paused_at=timezone.now(), failing_since=timezone.now(), failures=6, probe_at=later)

    page.post(address("change", service), FORM | {"url": PUBLIC + "/2"})

    service.refresh_from_db()
    assert (service.url, service.failures, service.state) == (PUBLIC + "/2", 6, "paused")
    assert service.probe_at <= timezone.now()
    assert Fulfillment.objects.due().count() == 1


def test_changing_it_does_not_undo_what_happens_meanwhile(page, service, monkeypatch):
    monkeypatch.setattr("portal.web_services.forms.check", lambda url: WebService.objects.update(failures=7))

    page.post(address("change", service), FORM | {"name": "Renamed"})

    service.refresh_from_db()
    assert (service.name, service.failures) == ("Renamed", 7)


# Its password


def test_a_password_is_kept_encrypted_and_not_shown(page, guarded):
    form = FORM | {"login": "basic", "username": "ada"}
    page.post(address("change", guarded), form | {"password": "new sésame"})

    guarded.refresh_from_db()
    assert guarded.password == "new sésame"
    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM web_service_webservice")
        assert b"sesame" not in bytes(cursor.fetchone()[0])
    assert "sésame" not in shown(page, guarded) + said(page.get(address("change", guarded)))


@pytest.mark.parametrize("url", [PUBLIC, PUBLIC + "/2?a=1"])
def test_an_empty_password_keeps_the_one_there_is(page, guarded, url):
    page.post(address("change", guarded), FORM | {"login": "basic", "username": "ada", "url": url})

    guarded.refresh_from_db()
    assert (guarded.password, guarded.url) == ("sésame", url)


@pytest.mark.parametrize(
    "given",
    [
        {"url": "https://93.184.216.35/keys"},
        {"url": "https://93.184.216.34:8443/keys"},
        {"username": "eve"},
        {"login": "bearer"},
    ],
)
def test_a_password_is_not_sent_to_another_server_than_it_was_saved_for(page, guarded, given):
    response = page.post(address("change", guarded), FORM | {"login": "basic", "username": "ada"} | given)

    assert "This field is required." in said(response)
    guarded.refresh_from_db()
    assert (guarded.url, guarded.username) == (PUBLIC, "ada")


# Where it may lead


@pytest.fixture
def listening():
    """A port of this machine, and whether somebody came."""
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
def test_no_address_trick_is_saved_or_reaches_a_local_port(page, merchant, dns, listening, trick, pay, work, sold):
    for name in ("localhost", "localhost.", "127.0.0.1."):
        dns(name, ["127.0.0.1"])
    dns("ip6-localhost", ["::1"])
    dns("mixed.example", ["93.184.216.34", "127.0.0.1"])
    url = trick.format(port=listening.getsockname()[1])

    response = page.post(reverse("web-service-add"), FORM | {"url": url})

    assert 'class="errorlist' in said(response)
    assert not merchant.web_services.exists()
    # Nor if it was saved some other way.
    service = merchant.web_services.create(name="Gen", url=url, secret=WebService.make_secret())
    add_source(sold, "web_service", service)
    pay(sold)
    work()
    assert OutgoingRequest.objects.get().outcome == "fatal"
    assert Fulfillment.objects.get().status == "failed"
    with pytest.raises(BlockingIOError):
        listening.accept()


def test_a_name_that_moves_here_once_it_is_saved_is_not_followed(page, merchant, dns, listening, pay, work, sold):
    dns("moves.example", ["93.184.216.34"], ["127.0.0.1"])
    url = f"https://moves.example:{listening.getsockname()[1]}/"

    page.post(reverse("web-service-add"), FORM | {"url": url})
    add_source(sold, "web_service", merchant.web_services.get(url=url))
    pay(sold)
    work()

    assert "isn’t on the public internet" in OutgoingRequest.objects.get().error
    with pytest.raises(BlockingIOError):
        listening.accept()


# Status


def test_it_says_what_it_is_asked_for_and_how_it_stands(page, make_service, sold):
    service = make_service(sold, url=PUBLIC)
    add_source(sold, "manual")
    for milliseconds in range(1, 251):
        note(service, milliseconds=milliseconds)
    OutgoingRequest.objects.filter(milliseconds__lte=30).update(called_at=timezone.now() - timedelta(days=2))

    text = shown(page, service)
    assert "healthy" in text and "Photo Pro" in text
    assert "<dd>220</dd>" in text
    assert "240 <span" in text  # of 51 to 250
    WebService.objects.update(failing_since=timezone.now())
    assert "No code received since" in shown(page, service)
    WebService.objects.update(paused_at=timezone.now(), probe_at=timezone.now() + timedelta(minutes=5))
    assert "We’ll try again" in shown(page, service)
    for name in ("products", "product"):
        assert "paused" in said(page.get(reverse(name, args=[sold.pk] if name == "product" else [])))


def test_a_product_without_a_source_names_the_service_for_all(page, make_service, sold):
    assert "none yet, so orders wait" in said(page.get(reverse("products")))

    make_service(for_all_products=True)

    assert "Web service “Gen”" in said(page.get(reverse("products")))
    assert "which serves all such products" in said(page.get(reverse("product", args=[sold.pk])))


def test_the_secret_is_shown_when_asked_for_and_changed(page, service):
    secret = service.secret
    assert secret not in shown(page, service)
    response = page.post(address("secret", service))
    assert secret in response.content.decode() and "no-store" in response["Cache-Control"]

    page.post(address("rotate", service))

    service.refresh_from_db()
    assert service.previous_secret == secret != service.secret
    assert "The previous secret is valid until" in shown(page, service)


# The log


def test_it_shows_each_call_and_what_was_sent_and_answered(page, service, sold, pay):
    add_source(sold, "web_service", service)
    pay(sold, order="A77")
    item = OrderItem.objects.get()
    call = note(
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
    note(service, is_test=True)

    text = shown(page, service)
    assert "503 · 1,234 ms" in text and "attempt 3" in text and "The service answered &lt;503&gt;." in text
    assert reverse("order", args=["A77"]) in text and "sample data" in text
    detail = said(page.get(address("request", service, call)))
    assert "Order=A77&amp;token=••••" in detail and "&lt;b&gt;busy&lt;/b&gt;" in detail and "req_1" in detail


def test_the_log_is_narrowed_and_goes_on_on_further_pages(page, service):
    failed = [note(service, outcome="fatal", error=f"Failure {number}.") for number in range(30)]
    note(service, is_test=True, error="A test.", outcome="temporary")
    note(service, milliseconds=7654321)

    of_failed = page.get(address("", service) + "?show=failed")
    text = of_failed.content.decode()
    assert "Failure 29." in text and "A test." in text and "7,654,321 ms" not in text and "Failure 0." not in text
    older = page.get(address("", service) + f"?show=failed&before={of_failed.context['page'].older}")
    tests = page.get(address("", service) + "?show=tests").content.decode()

    assert f"?show=failed&amp;before={of_failed.context['page'].older}" in text
    assert failed[0].error in older.content.decode()
    assert "A test." in tests and "Failure" not in tests


def test_it_asks_the_database_as_often_for_many_as_for_few(page, service, sold, pay, django_assert_num_queries):
    add_source(sold, "web_service", service)
    fail(service, pay, sold, count=2)
    shown(page, service)
    with CaptureQueriesContext(connection) as queries:
        shown(page, service)
    count = len(queries)
    fail(service, pay, sold, count=6)

    with django_assert_num_queries(count):
        shown(page, service)


# Trying again


def test_a_failed_item_is_sent_again(page, service, sold, pay):
    add_source(sold, "web_service", service)
    fail(service, pay, sold)
    call = OutgoingRequest.objects.get()
    WebService.objects.update(paused_at=timezone.now(), probe_at=timezone.now() + timedelta(minutes=5))
    OutgoingRequest.objects.create(
        merchant=service.merchant, upstream=service, item=call.item, method="POST", url=service.url
    )
    assert page.get(address("", service)).content.decode().count("Send again for order") == 1
    assert "same Idempotency-Key" in said(page.get(address("send", service, call)))

    first = page.post(address("send", service, call), follow=True)
    second = page.post(address("send", service, call), follow=True)

    assert "will be retried within seconds" in said(first) and "not failed" in said(second)
    assert Fulfillment.objects.due().get().status == "pending"
    assert OrderEvent.objects.get().details == {"status": "failed", "reason": "The service answered 404."}
    # It is let through, though the service is paused.
    assert WebService.objects.filter(probe_at__lte=timezone.now()).exists()


def test_all_that_failed_is_tried_again_once(page, service, sold, pay, make_product, make_service):
    add_source(sold, "web_service", service)
    other = make_product(source=None)
    make_service(other, name="Other")
    pay(other)
    fail(service, pay, sold, count=3)
    refunded = Fulfillment.objects.filter(item__product=sold).latest("pk").item.order
    refunded.status = "deleted"
    refunded.save()
    assert "2 failed items" in said(page.get(address("", service)))
    assert "again for 2 items" in said(page.get(address("retry-failed", service)))

    first = page.post(address("retry-failed", service), follow=True)
    second = page.post(address("retry-failed", service), follow=True)

    assert "2 items will be retried" in said(first) and "0 items" in said(second)
    assert Fulfillment.objects.due().count() == 2
    assert not Fulfillment.objects.due().filter(item__product=other).exists()
    assert OrderEvent.objects.filter(kind="retry").count() == 2
    assert "failed-title" not in shown(page, service)


def test_a_service_for_all_products_has_those_tried_again_that_have_no_source(make_service, make_product, pay):
    service = make_service(for_all_products=True)
    pay(make_product(source=None), make_product(source="manual"))
    Fulfillment.objects.update(status="failed", due_at=None)

    assert retry_failed(service, actor="Max") == 1


def test_it_retries_by_clicks_at_the_same_time_once(make_service, sold, pay, in_threads, transactional_db):
    service = make_service(sold)
    for _ in range(5):
        pay(sold)
    Fulfillment.objects.update(status="failed", due_at=None)

    counts = in_threads(lambda actor: retry_failed(service, actor=actor), ["Max", "Mia", "Moe"], threads=3)

    assert sorted(counts) == [0, 0, 5]
    assert OrderEvent.objects.count() == 5


# Deleting it


def test_one_that_is_a_source_is_not_deleted(page, service, sold):
    method = add_source(sold, "web_service", service)
    response = page.post(address("delete", service), follow=True)
    assert "is a source of “Photo Pro”. Remove it there first." in said(response)
    method.delete()

    call = note(service)
    page.post(address("delete", service))

    assert not WebService.objects.exists()
    call.refresh_from_db()
    assert call.upstream is None


def test_one_that_customers_wait_for_is_not_deleted(page, make_service, sold, pay):
    service = make_service(for_all_products=True)
    pay(sold)

    assert "Customers still wait" in said(page.post(address("delete", service), follow=True))
    Fulfillment.objects.update(status="done")
    page.post(address("delete", service))
    assert not WebService.objects.exists()


# Whose it is


def test_another_merchants_service_and_callout_are_not_found(client, page, outsider, make_service, service):
    others = make_service(merchant=outsider, name="Other")
    call = note(others)

    for name in ("", "change", "parameters", "secret", "rotate", "delete", "retry-failed"):
        assert page.get(address(name, others)).status_code == 404
        assert page.post(address(name, others)).status_code == 404
    for name in ("request", "send"):
        assert page.get(address(name, others, call)).status_code == 404
        assert page.get(address(name, service, call)).status_code == 404


# What needs attention


def test_the_dashboard_names_services_in_trouble(page, make_service, service, sold, pay):
    now = timezone.now()
    make_service(name="Away", paused_at=now, failing_since=now, probe_at=now)
    make_service(name="Fails", failing_since=now)
    assert "Gen" not in said(page.get("/"))
    add_source(sold, "web_service", service)
    fail(service, pay, sold, count=2)

    text = said(page.get("/"))

    assert "Away</a> is paused since" in text and "Fails</a> fails since" in text
    assert "Gen</a> works again; 2 items failed" in text
