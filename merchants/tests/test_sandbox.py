"""A merchant has one sandbox, and its API keys are for tests only."""

import pytest
from django.db import transaction

from merchants.models import ApiKey, Member, Merchant
from merchants.sandbox import get_sandbox

SCOPES = list(ApiKey.Scope.values)


def authenticate(text):
    """Return the merchant that a request with this key acts for."""
    key = ApiKey.authenticate(text)
    return key and key.merchant


@pytest.mark.django_db(transaction=True)
def test_a_merchant_has_one_sandbox_however_many_ask_for_it_at_once(make_merchant, in_threads):
    merchant = make_merchant()

    sandboxes = in_threads(get_sandbox, [merchant] * 12, threads=6)

    assert len({sandbox.pk for sandbox in sandboxes}) == 1
    assert Merchant.objects.exclude(live=None).get().live == merchant


def test_merchants_with_similar_slugs_have_sandboxes_of_their_own(make_merchant):
    first, second = make_merchant("A" * 45 + "1"), make_merchant("A" * 45 + "2")

    assert get_sandbox(first) != get_sandbox(second)
    assert all(len(sandbox.slug) <= 50 for sandbox in map(get_sandbox, (first, second)))


def test_a_sandbox_uses_what_belongs_to_its_vendor(merchant, sandbox, django_assert_num_queries):
    assert (sandbox.is_test, sandbox.vendor, sandbox.vendor_id) == (True, merchant, merchant.pk)
    assert sandbox.owners_addresses() == merchant.owners_addresses() == ["owner@northlight.example"]
    assert str(sandbox) == "Northlight (test data)"

    fresh = Merchant.objects.get(pk=merchant.pk)
    with django_assert_num_queries(0):
        assert (fresh.is_test, fresh.vendor, fresh.vendor_id) == (False, fresh, fresh.pk)


def test_the_text_of_a_test_key_says_that_it_is_one(sandbox):
    key, text = ApiKey.objects.create_key(merchant=sandbox, name="shop", scopes=SCOPES)

    assert text.startswith(f"kw_test_{key.prefix}_")
    assert authenticate(text) == sandbox


def test_a_key_isnt_valid_as_one_of_the_other_kind(merchant, sandbox):
    _, live = ApiKey.objects.create_key(merchant=merchant, name="shop", scopes=SCOPES)
    _, for_tests = ApiKey.objects.create_key(merchant=sandbox, name="shop", scopes=SCOPES)

    assert authenticate(live) == merchant
    assert authenticate(live.replace("kw_", "kw_test_")) is None
    assert authenticate(for_tests.replace("kw_test_", "kw_")) is None


@pytest.mark.parametrize(
    "address, recipients",
    [
        ("support-sam@northlight.example", ["support-sam@northlight.example"]),
        ("Support-SAM@Northlight.example", ["support-sam@northlight.example"]),
        ("ada@example.com", ["owner@northlight.example"]),
        ("owner@outsider.example", ["owner@northlight.example"]),
        ("gone-member@northlight.example", ["owner@northlight.example"]),
    ],
)
def test_test_emails_go_to_members_only(sandbox, outsider, make_member, address, recipients):
    make_member()
    gone = make_member(Member.Role.MANAGER, first_name="gone").user
    gone.email, gone.is_active = "gone-member@northlight.example", False
    gone.save()

    assert sandbox.test_recipients(address) == recipients


def test_a_sandbox_goes_with_its_merchant(merchant, sandbox):
    with transaction.atomic():
        merchant.delete()

    assert not Merchant.objects.filter(pk=sandbox.pk).exists()
