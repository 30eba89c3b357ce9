"""Test orders from the portal: a form, and a page that shows how the order goes all the way."""

from allauth.core.internal import ratelimit
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_http_methods, require_safe

from delivery.facts import read_facts
from merchants.models import ApiKey, Merchant
from orders.models import Order, named
from portal.access import Role, member_required
from portal.emails.views import show_preview
from portal.snippets import make_snippets
from portal.test_orders.forms import SendForm
from portal.test_orders.placing import read_payment, send_test_order
from portal.test_orders.progress import Progress

MAX_PER_HOUR = 60  # per merchant
LIMIT = {"send": f"{MAX_PER_HOUR}/h/key"}


@member_required(Role.MANAGER)
@require_http_methods(["GET", "HEAD", "POST"])
def send(request) -> HttpResponse:
    form = SendForm(request.member, request.POST or None, initial={"product": request.GET.get("product")})
    if form.is_valid() and may_send(request, form):
        order = send_test_order(
            request.merchant,
            product=form.cleaned_data["product"],
            quantity=form.cleaned_data["quantity"],
            recipient=form.cleaned_data["recipient"].user,
            checkout_page=form.cleaned_data["checkout_page"],
            language=form.cleaned_data["language"],
            actor=str(request.user),
        )
        return redirect(result_url(order))
    context = {
        "section": "test-order",
        "form": form,
        "lacks_products": not request.merchant.products.exists(),
        "lacks_pages": not request.merchant.checkout_pages.exists(),
    }
    return render(request, "portal/test_orders/send.html", context)


def may_send(request: HttpRequest, form: SendForm) -> bool:
    key = str(request.merchant.pk)  # type: ignore[attr-defined]
    if ratelimit.consume(request, app="test_orders", action="send", config=LIMIT, key=key):
        return True
    text = gettext(
        "Your team has sent {count} test orders within an hour. Please wait, or report some with a test key."
    )
    form.add_error(None, text.format(count=MAX_PER_HOUR))
    return False


@never_cache
@member_required(Role.MANAGER)
@require_safe
def result(request, number: str) -> HttpResponse:
    """Show the steps of a test order. While it is under way, htmx asks again, and reloads the page at the end."""
    order = get_test_order(request, number)
    progress = Progress(order)
    payment = read_payment(order, progress.items)
    key = find_key(order.merchant)
    context = {
        "section": "test-order",
        "order": order,
        "progress": progress,
        "emails": [delivery for delivery in progress.deliveries if delivery.code_count],  # type: ignore[attr-defined]
        "snippets": make_snippets("POST", reverse("api-payments"), payment, key=key) if payment else [],
        "key": key,
        "may_add_keys": request.member.may(Role.OWNER),
        "address": result_url(order),
    }
    response = render(request, "portal/test_orders/result.html", context)
    response.content_security_policy = {"frame-src": "'self'"}  # type: ignore[attr-defined]
    if request.htmx and not progress.is_under_way:
        response["HX-Refresh"] = "true"
    return response


@never_cache
@member_required(Role.MANAGER)
@xframe_options_sameorigin
@require_safe
def email(request, number: str, pk: int) -> HttpResponse:
    """Show an e-mail of a test order, composed as it is when it is sent."""
    order = get_test_order(request, number)
    delivery = get_object_or_404(order.deliveries, pk=pk)
    facts = read_facts([delivery])[delivery.pk]
    if not facts.codes:
        raise Http404(gettext("This e-mail’s codes were replaced."))
    return show_preview(request, facts.compose(delivery))


def get_test_order(request, number: str) -> Order:
    """Return an order of the merchant's sandbox. Its live orders are a 404, like another merchant's."""
    orders = Order.objects.select_related("merchant__live", "checkout_page")
    return get_object_or_404(orders, named(number, "number"), merchant__live=request.merchant)


def result_url(order: Order) -> str:
    """The page of a test order. A member of several merchants gets there from each of them."""
    return f"{reverse('test-order-result', args=[order.key])}?merchant={order.merchant.vendor.slug}"


def find_key(sandbox: Merchant) -> ApiKey | None:
    """Return the newest test key that can report payments."""
    keys = sandbox.api_keys.active().filter(scopes__contains=[ApiKey.Scope.PAYMENTS])
    return keys.order_by("-pk").first()
