import pytest

from merchants.models import Invitation
from merchants.onboarding import create_merchant
from merchants.team import accept_as_new_user
from vault.fingerprints import fingerprint

pytestmark = pytest.mark.django_db


def test_it_creates_what_a_payment_needs_and_invites_the_owner():
    merchant, invitation, token = create_merchant("Foo Büro", "Ada@Foo.example", language="de")

    assert (merchant.slug, merchant.language) == ("foo-buro", "de")
    assert [page.code for page in merchant.checkout_pages.all()] == ["main"]
    assert Invitation.objects.current().get(fingerprint=fingerprint(token)) == invitation
    assert accept_as_new_user(invitation, "correct horse").role == "owner"


@pytest.mark.parametrize("name", ["Foo", "Ωμέγα", "-", "a" * 200])
def test_every_name_has_its_own_slug(name):
    slugs = {create_merchant(name, "ada@foo.example")[0].slug for _ in range(3)}

    assert len(slugs) == 3
    assert all(0 < len(slug) <= 50 for slug in slugs)
