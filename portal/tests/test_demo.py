import stat

import pytest
from django.core.management import CommandError, call_command

from fulfillment.models import Delivery
from merchants.models import ApiKey, Member, Merchant, User
from orders.models import ActivationCode, Order
from pools.models import LicensePool


@pytest.fixture
def credentials(db, settings, tmp_path):
    settings.VAR = tmp_path / "var"

    def read():
        return dict(line.split("=", 1) for line in (settings.VAR / "demo.env").read_text().splitlines())

    return read


def test_it_makes_a_merchant_with_a_team_and_stock_and_a_payment(credentials):
    call_command("demo")

    merchant = Merchant.objects.get()
    assert set(merchant.members.values_list("role", flat=True)) == set(Member.Role.values)
    assert [pool.batches.get().key_count for pool in LicensePool.objects.all()] == [1000, 1000]
    assert Order.objects.get().status == "paid"
    assert ActivationCode.objects.count() == 2
    assert Delivery.objects.count() == 1


def test_it_writes_down_how_to_sign_in(credentials, settings):
    call_command("demo")

    written = credentials()
    assert {"BASE_URL", "API_KEY"} | {
        f"{role}_{what}" for role in ("OWNER", "SUPPORT", "STAFF") for what in ("LOGIN", "PASSWORD")
    } <= set(written)
    for role in ("OWNER", "MANAGER", "SUPPORT", "STAFF"):
        user = User.objects.get(email=written[f"{role}_LOGIN"])
        assert user.check_password(written[f"{role}_PASSWORD"])
        assert user.is_staff == (role == "STAFF")
    assert ApiKey.objects.authenticate(written["API_KEY"])
    assert stat.S_IMODE((settings.VAR / "demo.env").stat().st_mode) == 0o600


def test_it_never_touches_data_that_is_there(credentials, merchant):
    with pytest.raises(CommandError, match="not empty"):
        call_command("demo")

    call_command("demo", if_empty=True)

    assert Merchant.objects.get() == merchant
