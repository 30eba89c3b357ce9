"""Codes, keys and secrets don't leak into the database, logs and error pages."""

import logging

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from delivery.facts import read_facts
from delivery.models import Delivery
from merchants.models import ApiKey
from orders.models import ActivationCode
from outbound.mail import send_email
from pools.imports import import_keys
from pools.models import LicenseKey

CODE = "SECRET-CODE-7Q2M"


@pytest.fixture
def paid_order(make_product, merchant, pay):
    product = make_product(keys=0)
    import_keys(merchant.pools.get(), [CODE], actor="test")
    return pay(product)


@pytest.mark.django_db(transaction=True)
def test_no_table_contains_a_code_an_api_key_or_a_customers_link(paid_order, work, api):
    work()
    secret = api._credentials["HTTP_AUTHORIZATION"].rpartition("_")[2]
    token = paid_order["order_url"].rstrip("/").rpartition("/")[2]

    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [row[0] for row in cursor.fetchall()]
        dump = ""
        for table in tables:
            cursor.execute(f"SELECT coalesce(string_agg(t::text, chr(10)), '') FROM \"{table}\" t")
            dump += cursor.fetchone()[0]

    assert paid_order["order"] in dump  # the dump has content
    for text in (CODE, secret, token):
        assert text not in dump
        assert text.encode().hex() not in dump


def test_no_log_contains_a_code_or_an_api_key(make_product, merchant, pay, work, api, caplog, settings):
    settings.DEBUG = True
    for logger in (None, "django"):
        caplog.set_level(logging.DEBUG, logger)
    connection.force_debug_cursor = True
    try:
        product = make_product(keys=0)
        import_keys(merchant.pools.get(), [CODE], actor="test")
        link = pay(product)["order_url"]
        work()
    finally:
        connection.force_debug_cursor = False

    assert "INSERT INTO" in caplog.text  # logging at DEBUG works
    assert CODE not in caplog.text
    assert link.split("/o/")[1] not in caplog.text
    assert api._credentials["HTTP_AUTHORIZATION"].rpartition("_")[2] not in caplog.text


@pytest.mark.parametrize("debug", [True, False])
def test_no_traceback_page_contains_a_code(paid_order, monkeypatch, settings, debug):
    settings.DEBUG = debug
    request = RequestFactory().post("/x/", {"codes": CODE}, headers={"Authorization": CODE})
    request.user = AnonymousUser()

    def fail(message, server):
        assert CODE in message.body
        raise ZeroDivisionError

    monkeypatch.setattr("outbound.mail._hand_over", fail)

    delivery = Delivery.objects.get()
    message = read_facts([delivery])[delivery.pk].compose(delivery)
    with pytest.raises(ZeroDivisionError) as caught, send_email(message):
        pass
    reporter = ExceptionReporter(request, caught.type, caught.value, caught.tb)

    for page in (reporter.get_traceback_html(), reporter.get_traceback_text()):
        assert "ZeroDivisionError" in page and "_hand_over(message" in page
        assert CODE not in page


def test_a_code_is_not_in_the_repr_of_its_rows(paid_order):
    for row in (ActivationCode.objects.get(), LicenseKey.objects.get()):
        assert CODE not in repr(row) + str(row)


def test_an_api_key_is_stored_as_a_hash(api):
    secret = api._credentials["HTTP_AUTHORIZATION"].rpartition("_")[2]

    assert bytes(ApiKey.objects.get().secret_hash) == ApiKey.hash_secret(secret)
