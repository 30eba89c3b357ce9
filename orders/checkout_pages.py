"""Checkout pages that owners manage. Support staff alone decide whether a page allows delivery."""

from django.db import transaction
from django.utils.translation import gettext

from merchants.models import CheckoutPage, Merchant
from work.refusals import Refused


class CheckoutPageRefused(Refused):
    code = "checkout_page_refused"


@transaction.atomic
def add_checkout_page(merchant: Merchant, *, code: str, name: str) -> CheckoutPage:
    """Add a page that allows delivery, unless support staff turned it off for another page of the merchant."""
    # Serializes with other requests that add or remove a page.
    Merchant.objects.select_for_update(no_key=True).get(pk=merchant.pk)
    allowed = not merchant.checkout_pages.filter(delivery_allowed=False).exists()
    return merchant.checkout_pages.create(code=code, name=name, delivery_allowed=allowed)


@transaction.atomic
def change_checkout_page(page: CheckoutPage, *, code: str, name: str) -> None:
    """Change the page. Raises CheckoutPageRefused for another code once there are orders: shops still report it."""
    locked = _lock(page)
    if code != locked.code and locked.orders.exists():
        raise CheckoutPageRefused(
            gettext("The code of “{page}” can’t be changed: orders from this page exist.").format(page=locked)
        )
    CheckoutPage.objects.filter(pk=page.pk).update(code=code, name=name)


@transaction.atomic
def remove_checkout_page(page: CheckoutPage) -> None:
    """Remove a page without orders. Raises CheckoutPageRefused."""
    Merchant.objects.select_for_update(no_key=True).get(pk=page.merchant_id)
    locked = _lock(page)
    if locked.orders.exists():
        raise CheckoutPageRefused(gettext("“{page}” can’t be removed: orders from it exist.").format(page=locked))
    if not locked.delivery_allowed:
        # Otherwise an owner could replace it with a page that allows delivery.
        raise CheckoutPageRefused(
            gettext("“{page}” doesn’t allow delivery, so only support staff can remove it.").format(page=locked)
        )
    locked.delete()


def _lock(page: CheckoutPage) -> CheckoutPage:
    # A new order locks the row of its page, so none can appear until this transaction ends.
    return CheckoutPage.objects.select_for_update().get(pk=page.pk)
