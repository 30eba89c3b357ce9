from django.urls import path

from orders import converters  # noqa: F401 (registers `reference`)
from portal.test_orders import views as test_orders

urlpatterns = [
    path("", test_orders.send, name="test-order"),
    path("<reference:number>/emails/<int:pk>/", test_orders.email, name="test-order-email"),
    path("<reference:number>/", test_orders.result, name="test-order-result"),
]
