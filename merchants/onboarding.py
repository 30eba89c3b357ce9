from django.db import connection, transaction
from django.utils.text import slugify
from django.utils.translation import gettext

from merchants.models import CheckoutPage, Invitation, Member, Merchant, User
from merchants.team import invite
from work.refusals import Refused

# The checkout page of payments that name none (docs/api.md).
FIRST_PAGE = "main"
MAX_SLUG = 40
LOCK = 1_905_116_227  # any number that nothing else locks


class MerchantExists(Refused):
    code = "merchant_exists"


@transaction.atomic
def create_merchant(
    name: str, owner: str, *, language: str = "en", actor: User | None = None
) -> tuple[Merchant, Invitation, str]:
    """Create a merchant that can receive payments at once, and invite its owner, an e-mail address.

    Also returns the token of the invitation's link, which isn't stored. Raises MerchantExists.
    """
    with connection.cursor() as cursor:
        # Serializes the creation of merchants, so that two can't get the same name.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    refuse_used_name(name)
    merchant = Merchant.objects.create(name=name, slug=_new_slug(name), language=language)
    CheckoutPage.objects.create(merchant=merchant, code=FIRST_PAGE, name=gettext("Main shop"))
    invitation, token = invite(merchant, owner, Member.Role.OWNER, actor=actor)
    return merchant, invitation, token


def refuse_used_name(name: str) -> None:
    """Raise MerchantExists: people couldn't tell two merchants of the same name apart."""
    used = Merchant.objects.filter(name__iexact=name, live=None).first()
    if used:
        raise MerchantExists(
            gettext(
                "The merchant “{name}” already exists ({slug}). Choose a name that tells them apart, for example with"
                " the city."
            ).format(name=used.name, slug=used.slug)
        )


def _new_slug(name: str) -> str:
    slug = slugify(name)[:MAX_SLUG].strip("-") or "merchant"
    taken = set(Merchant.objects.filter(slug__startswith=slug).values_list("slug", flat=True))
    numbered = [slug, *(f"{slug}-{number}" for number in range(2, len(taken) + 2))]
    return next(text for text in numbered if text not in taken)
