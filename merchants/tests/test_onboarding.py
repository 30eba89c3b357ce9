import pytest

from merchants.models import Invitation, Merchant
from merchants.onboarding import MerchantExists, create_merchant
from merchants.team import accept_as_new_user
from vault.fingerprints import fingerprint

pytestmark = pytest.mark.django_db


def test_it_creates_what_a_payment_needs_and_invites_the_owner():
    merchant, invitation, token = create_merchant("Foo Büro", "Ada@Foo.example", language="de")

    assert (merchant.slug, merchant.language) == ("foo-buro", "de")
    assert [page.code for page in merchant.checkout_pages.all()] == ["main"]
    assert Invitation.objects.current().get(fingerprint=fingerprint(token)) == invitation
    assert accept_as_new_user(invitation, "correct horse").role == "owner"


@pytest.mark.parametrize(
    "names", [["Foo", "Foo!", "foo?"], ["Ωμέγα", "Άλφα", "-"], ["a" * 198 + end for end in "bcd"]]
)
def test_every_merchant_has_its_own_slug(names):
    slugs = {create_merchant(name, "ada@foo.example")[0].slug for name in names}

    assert len(slugs) == 3
    assert all(0 < len(slug) <= 50 for slug in slugs)


def test_it_refuses_the_name_of_another_merchant():
    create_merchant("Foo", "ada@foo.example")

    with pytest.raises(MerchantExists, match="“Foo” already exists \\(foo\\)"):
        create_merchant("FOO", "bo@foo.example")

    assert Merchant.objects.count() == 1 and Invitation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_creations_at_once_one_is_refused(in_threads):
    def create(number):
        try:
            return create_merchant("Foo", f"ada{number}@foo.example")[0].name
        except MerchantExists:
            return "refused"

    assert sorted(in_threads(create, range(6), threads=3)) == ["Foo", *["refused"] * 5]


@pytest.mark.django_db(transaction=True)
def test_names_with_the_same_slug_can_be_created_at_once(in_threads):
    names = ["Foo", "Foo!", "Foo?", "Foo."]

    slugs = in_threads(lambda name: create_merchant(name, "ada@foo.example")[0].slug, names, threads=4)

    assert sorted(slugs) == ["foo", "foo-2", "foo-3", "foo-4"]
