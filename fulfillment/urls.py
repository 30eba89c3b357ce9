from django.urls import path

from fulfillment import api

urlpatterns = [
    path("payments/", api.PaymentView.as_view(), name="api-payments"),
    path("orders/", api.OrderListView.as_view(), name="api-orders"),
    path("orders/<str:number>/", api.OrderView.as_view(), name="api-order"),
    path("orders/<str:number>/refund/", api.RefundView.as_view(), name="api-refund"),
    path("orders/<str:number>/items/<str:item>/resend/", api.ResendView.as_view(), name="api-resend"),
]
