"""The first steps of a new merchant, checked off by what is in the database."""

from dataclasses import dataclass

from django.db.models import Exists
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from fulfillment.models import FulfillmentMethod
from merchants.models import ApiKey, Member, Merchant, Product
from orders.models import Order
from pools.models import LicenseKey
from portal.access import Role, member_required


@dataclass(frozen=True)
class FirstStep:
    name: str
    title: str | Promise
    text: str | Promise
    button: str | Promise
    page: str
    role: Member.Role = Role.MANAGER


STEPS = [
    FirstStep(
        "product",
        _("Add a product"),
        _("What your shop sells, with the SKU that it reports."),
        _("Add product"),
        "product-add",
    ),
    FirstStep(
        "keys",
        _("Add license keys"),
        _("Fill the product’s pool, or choose another source on its page."),
        _("Add keys"),
        "pools",
    ),
    FirstStep(
        "api_key",
        _("Create an API key"),
        _("With it, a shop that you program reports payments. Other shops don’t need it: connect yours below."),
        _("Create API key"),
        "api-key-add",
        Role.OWNER,
    ),
    FirstStep(
        "test_order",
        _("Send a test order"),
        _("See what your customers get."),
        _("Send test order"),
        "test-order",
    ),
    FirstStep(
        "live_order",
        _("Go live"),
        _("Connect your shop, so that it reports its payments. This is done when the first order is paid."),
        _("Connect a shop"),
        "shop-kinds",
    ),
]


@dataclass(frozen=True)
class ShownStep:
    step: FirstStep
    is_done: bool
    is_next: bool  # the first that isn't done
    is_allowed: bool

    @property
    def url(self) -> str:
        return reverse(self.step.page)


def is_new(merchant: Merchant, is_live: bool) -> bool:
    """Whether the merchant's home page shows the first steps. `is_live`: an order was paid."""
    return not is_live and merchant.first_steps_hidden_at is None and merchant.live_id is None


def get_first_steps(member: Member) -> list[ShownStep]:
    done = find_done(member.merchant)
    following = next((step for step in STEPS if step.name not in done), None)
    return [ShownStep(step, step.name in done, step is following, member.may(step.role)) for step in STEPS]


def find_done(merchant: Merchant) -> set[str]:
    """Return the names of the steps with evidence, except of going live."""
    products = Product.objects.filter(merchant=merchant)
    evidence = Merchant.objects.filter(pk=merchant.pk).values(
        product=Exists(products),
        keys=Exists(LicenseKey.objects.filter(pool__merchant=merchant))
        | Exists(FulfillmentMethod.objects.filter(product__in=products).exclude(source="pool")),
        without_source=Exists(products.filter(fulfillment_methods=None)),
        api_key=Exists(ApiKey.objects.active().filter(merchant=merchant)),
        shop=Exists(merchant.connections.kept()),
        test_order=Exists(Order.objects.filter(merchant__live=merchant)),
    )
    found = {name for name, is_there in evidence.get().items() if is_there}
    # Sources that serve all products serve those without a source of their own.
    if "without_source" in found and FulfillmentMethod.objects.for_all(Product(merchant=merchant)):
        found.add("keys")
    if "shop" in found:
        found.add("api_key")
    return found


@member_required(Role.MANAGER)
@require_POST
def hide_first_steps(request) -> HttpResponse:
    Merchant.objects.filter(pk=request.merchant.pk).update(first_steps_hidden_at=timezone.now())
    return redirect("home")
