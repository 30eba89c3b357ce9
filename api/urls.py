from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path, resolve
from django.views.decorators.csrf import csrf_exempt

from api import orders, pools
from orders import converters  # noqa: F401 (registers `reference`)


@csrf_exempt  # as the API's views are
def add_slash(request: HttpRequest) -> HttpResponse:
    """Serve a URL whose final slash is missing. Django’s redirect would lose the body of a payment."""
    match = request.resolver_match = resolve(f"{request.path_info}/")
    return match.func(request, *match.args, **match.kwargs)


urlpatterns = [
    path("payments/", orders.PaymentView.as_view(), name="api-payments"),
    path("orders/", orders.OrderListView.as_view(), name="api-orders"),
    path("orders/<reference:number>/address/", orders.AddressView.as_view(), name="api-address"),
    path("orders/<reference:number>/link/", orders.LinkView.as_view(), name="api-link"),
    path("orders/<reference:number>/refund/", orders.RefundView.as_view(), name="api-refund"),
    path("orders/<reference:number>/items/<reference:item>/resend/", orders.ResendView.as_view(), name="api-resend"),
    path("orders/<reference:number>/", orders.OrderView.as_view(), name="api-order"),
    path("pools/", pools.PoolListView.as_view(), name="api-pools"),
    path("pools/<int:pk>/", pools.PoolView.as_view(), name="api-pool"),
    path("pools/<int:pk>/keys/", pools.PoolKeysView.as_view(), name="api-pool-keys"),
    path("pools/<int:pk>/imports/", pools.ImportsView.as_view(), name="api-imports"),
    path("pools/<int:pk>/imports/<int:number>/", pools.ImportView.as_view(), name="api-import"),
    path("pools/<int:pk>/imports/<int:number>/confirm/", pools.ConfirmView.as_view(), name="api-import-confirm"),
    path("pools/<int:pk>/batches/", pools.BatchListView.as_view(), name="api-batches"),
    path("pools/<int:pk>/batches/<int:number>/undo/", pools.UndoView.as_view(), name="api-batch-undo"),
    path("pools/<int:pk>/batches/<int:number>/withdraw/", pools.WithdrawView.as_view(), name="api-batch-withdraw"),
    re_path(r"^.*[^/]$", add_slash),
]
