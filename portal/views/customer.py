from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orders.models import Order


@never_cache
@require_safe
def customer_order(request: HttpRequest, token: str) -> HttpResponse:
    """What became of an order, for the customer who holds its link. Codes are in the mail, not here."""
    order = Order.objects.with_link_token(token).filter(status=Order.Status.PAID).select_related("merchant").first()
    if order is None:
        raise Http404("There is no such order.")

    items = order.items.select_related("product", "fulfillment").prefetch_related("activation_codes").order_by("pk")
    response = render(request, "customer/order.html", {"order": order, "items": items})
    # The address is the key: it must not travel to other sites, nor into a search engine.
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response
