"""API keys: owners are notified of new and revoked keys, and a week before a key in use expires."""

from datetime import timedelta

import pytest
from django.utils import timezone

from fulfillment.tasks import sweep
from merchants.models import ApiKey, Member
from notices.api_keys import ApiKeyRefused, create_api_key, revoke_api_key, warn_of_expiry
from notices.models import MerchantNotice

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def make_key(merchant):
    def make(*, used=True, **fields):
        fields = {"merchant": merchant, "name": "shop", "scopes": ["payments"]} | fields
        key, _ = ApiKey.objects.create_key(**fields, last_used_at=timezone.now() if used else None)
        return key

    return make


def days(number):
    return timezone.now() + timedelta(days=number)


def test_owners_are_notified_of_a_new_key(merchant, make_member, work, mailoutbox):
    make_member(Member.Role.MANAGER)

    key, text = create_api_key(merchant, name="<Shop>", scopes=["payments", "pools"], actor="Ada (ada@foo.example)")
    work()

    (message,) = mailoutbox
    assert message.to == ["owner@northlight.example"]
    assert message.subject == "New API key of Northlight: <Shop>"
    assert f"Ada (ada@foo.example) created the API key kw_{key.prefix}_… of Northlight." in message.body
    assert "- Report payments and refunds\n- Read pools and add keys\n" in message.body
    assert "http://127.0.0.1:8000/api-keys/?merchant=northlight" in message.body
    assert text.rpartition("_")[2] not in message.body


def test_owners_are_notified_once_when_a_key_is_revoked(make_key, work, mailoutbox, in_threads):
    key = make_key()

    in_threads(lambda actor: revoke_api_key(key, actor=actor), ["Bo", "Bo", "Bo"], threads=3)
    work()

    key.refresh_from_db()
    assert key.revoked_by == "Bo"
    assert [message.subject for message in mailoutbox] == ["API key of Northlight revoked: shop"]
    assert f"Bo revoked the API key kw_{key.prefix}_… of Northlight." in mailoutbox[0].body


def test_a_later_revocation_changes_nothing(make_key):
    key = make_key()
    revoke_api_key(key, actor="Ada")
    key.refresh_from_db()
    revoked_at = key.revoked_at

    revoke_api_key(key, actor="Bo")

    key.refresh_from_db()
    assert (key.revoked_at, key.revoked_by) == (revoked_at, "Ada")


def test_of_two_keys_with_one_name_created_at_once_one_is_refused(merchant, in_threads):
    def create(actor):
        try:
            return create_api_key(merchant, name="shop", scopes=["orders"], actor=actor)[0].created_by
        except ApiKeyRefused as error:
            return str(error)

    results = in_threads(create, ["Ada"] * 4, threads=4)

    assert sorted(results) == ["Ada", *["Another API key already has this name."] * 3]


def test_the_name_of_a_revoked_key_can_be_used_again(merchant, make_key):
    revoke_api_key(make_key(), actor="Ada")

    assert create_api_key(merchant, name="shop", scopes=["orders"], actor="Ada")


def test_owners_are_notified_once_before_a_key_expires(make_key, work, mailoutbox):
    key = make_key(expires_at=days(6))

    sweep()
    warn_of_expiry()
    work()

    (message,) = mailoutbox
    assert message.subject == "API key of Northlight expires soon: shop"
    assert message.to == ["owner@northlight.example"]
    assert f"{key.expires_at:%-d %b %Y, %H:%M} UTC" in message.body


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": None},
        {"expires_at": days(8)},
        {"expires_at": days(-1)},
        {"expires_at": days(6), "used": False},
        {"expires_at": days(6), "revoked_at": days(-1)},
    ],
    ids=["never", "later", "expired", "unused", "revoked"],
)
def test_other_keys_need_no_notice(make_key, fields):
    make_key(**fields)

    warn_of_expiry()

    assert not MerchantNotice.objects.exists()


def test_a_postponed_expiration_needs_a_new_notice_in_time(make_key, work, mailoutbox):
    key = make_key(expires_at=days(6))
    warn_of_expiry()
    work()
    MerchantNotice.objects.update(created_at=days(-30))
    ApiKey.objects.update(expires_at=days(5))

    warn_of_expiry()
    work()

    assert len(mailoutbox) == 2
    assert MerchantNotice.objects.about(key).count() == 2


def test_a_notice_that_is_no_longer_true_is_dropped(make_key, work, mailoutbox):
    make_key(name="postponed", expires_at=days(6))
    make_key(name="revoked", expires_at=days(6))
    warn_of_expiry()
    ApiKey.objects.filter(name="postponed").update(expires_at=days(90))
    ApiKey.objects.filter(name="revoked").update(revoked_at=timezone.now())

    work()

    assert mailoutbox == []
    assert {notice.reason for notice in MerchantNotice.objects.all()} == {
        "The key’s expiration was changed first.",
        "The key was revoked first.",
    }


def test_two_sweeps_at_once_send_one_notice(make_key, in_threads):
    make_key(expires_at=days(6))

    in_threads(lambda _: warn_of_expiry(), range(8), threads=4)

    assert MerchantNotice.objects.count() == 1
