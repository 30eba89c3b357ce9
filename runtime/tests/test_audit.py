import pytest
from django.core.management import call_command
from django.db import connection

from fulfillment.models import Fulfillment
from orders.models import ActivationCode, OrderItem
from pools.models import KeyBatch, LicenseKey, LicensePool
from pools.tests.factories import stock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sold(pay, make_product):
    product = make_product(keys=10)
    pay(product, quantity=2)
    pay(product, quantity=20)
    pay(make_product(source="manual"))
    LicenseKey.objects.available().filter(position=9).withdraw()


def violations(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        call_command("audit", *args)
    assert caught.value.code == 1
    return capsys.readouterr().out.splitlines()


def code_of(key):
    return ActivationCode.objects.get(item=key.item, unit=key.unit)


def test_a_sound_database_is_clean(sold, capsys):
    call_command("audit", "--texts")

    assert capsys.readouterr().out.startswith("Clean")


def test_a_key_that_vanished_is_named_by_batch_and_pool(sold, capsys):
    LicenseKey.objects.filter(position=0).delete()

    lines = violations(capsys)

    batch, pool = KeyBatch.objects.get().pk, LicensePool.objects.get().pk
    assert any(f"batch {batch} of pool {pool}: brought 10, holds 9" in line for line in lines)
    assert any(f"pool {pool}: imported 10, available 0, reserved 0, issued 9" in line for line in lines)


def test_a_key_that_cannot_be_reached_is_named(sold, capsys):
    pool = LicensePool.objects.get()
    stock(pool, 1)
    LicensePool.objects.update(head_hint=11)

    assert any(line.startswith("every available key can be reached") for line in violations(capsys))


def test_an_issued_key_without_its_code_is_named(sold, capsys):
    key = LicenseKey.objects.get(position=0)
    code_of(key).delete()

    lines = violations(capsys)

    assert any(line.startswith("every issued key") and f"key {key.pk} " in line for line in lines)
    assert any(line.startswith("an item is done") for line in lines)


def test_a_code_without_its_key_is_named(sold, capsys):
    key = LicenseKey.objects.get(position=0)
    code = code_of(key)
    LicenseKey.objects.filter(pk=key.pk).update(item=None, unit=None, issued_at=None)

    assert any(f"code {code.pk} of item" in line and "0 keys" in line for line in violations(capsys))


def test_a_license_sold_twice_is_named(sold, capsys):
    first, second = LicenseKey.objects.order_by("position")[:2]
    codes = [code_of(key).pk for key in (first, second)]
    ActivationCode.objects.filter(pk=codes[1]).update(fingerprint=first.fingerprint)

    lines = violations(capsys)

    assert any(f"codes {codes[0]}, {codes[1]}: the same text" in line for line in lines)


def test_a_key_given_to_another_merchants_order_is_named(sold, capsys, outsider):
    LicensePool.objects.update(merchant=outsider)

    assert any(line.startswith("a key is issued only to orders of its own merchant") for line in violations(capsys))


def test_a_code_too_many_is_named(sold, capsys):
    item = OrderItem.objects.filter(product__fulfillment_methods__source="manual").get()
    ActivationCode.build("AAAA", item=item, unit=2, source="manual").save()

    assert any(f"unit 2 of item {item.pk}, which has 1 units" in line for line in violations(capsys))


def test_an_item_that_claims_to_be_done_is_named(sold, capsys):
    waiting = Fulfillment.objects.filter(status="waiting")[0]
    Fulfillment.objects.filter(pk=waiting.pk).update(status="done")

    assert any(f"item {waiting.item_id} of order" in line and "done with" in line for line in violations(capsys))


def test_a_text_that_was_exchanged_is_named(sold, capsys):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pools_licensekey SET code = other.code FROM pools_licensekey other"
            " WHERE pools_licensekey.position = 0 AND other.position = 1"
        )
    key = LicenseKey.objects.get(position=0)

    assert any(
        f"license key {key.pk}: The stored text is damaged or comes from another row" in line
        for line in violations(capsys, "--texts")
    )
