from django.urls import path, register_converter
from django.urls.converters import StringConverter

from fulfillment import api


class ReferenceConverter(StringConverter):
    """A number that the shop gave an order or an item, or `id:` and our own.

    A number may contain slashes, which WSGI servers decode: as little as possible is taken for it. Where that is
    ambiguous, as for an order “A/refund”, the id is not.
    """

    regex = r"[^\x00-\x1f\x7f]+?"


register_converter(ReferenceConverter, "reference")

urlpatterns = [
    path("payments/", api.PaymentView.as_view(), name="api-payments"),
    path("orders/", api.OrderListView.as_view(), name="api-orders"),
    path("orders/<reference:number>/address/", api.AddressView.as_view(), name="api-address"),
    path("orders/<reference:number>/link/", api.LinkView.as_view(), name="api-link"),
    path("orders/<reference:number>/refund/", api.RefundView.as_view(), name="api-refund"),
    path("orders/<reference:number>/items/<reference:item>/resend/", api.ResendView.as_view(), name="api-resend"),
    path("orders/<reference:number>/", api.OrderView.as_view(), name="api-order"),
]
