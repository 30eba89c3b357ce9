from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext

from merchants.models import CheckoutPage, Invitation, Member, Merchant, User
from merchants.team import invite

# The checkout page of payments that name none (docs/api.md).
FIRST_PAGE = "main"
MAX_SLUG = 40


@transaction.atomic
def create_merchant(
    name: str, owner: str, *, language: str = "en", actor: User | None = None
) -> tuple[Merchant, Invitation, str]:
    """Create a merchant that can receive payments at once, and invite its owner, an e-mail address.

    Also returns the token of the invitation's link, which isn't stored.
    """
    merchant = Merchant.objects.create(name=name, slug=_new_slug(name), language=language)
    CheckoutPage.objects.create(merchant=merchant, code=FIRST_PAGE, name=gettext("Main shop"))
    invitation, token = invite(merchant, owner, Member.Role.OWNER, actor=actor)
    return merchant, invitation, token


def _new_slug(name: str) -> str:
    slug = slugify(name)[:MAX_SLUG].strip("-") or "merchant"
    taken = set(Merchant.objects.filter(slug__startswith=slug).values_list("slug", flat=True))
    numbered = [slug, *(f"{slug}-{number}" for number in range(2, len(taken) + 2))]
    return next(text for text in numbered if text not in taken)
