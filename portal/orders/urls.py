from django.urls import path

from orders import converters  # noqa: F401 (registers `reference`)
from portal.orders import lists, page

urlpatterns = [
    path("orders/", lists.order_list, name="orders"),
    path("orders.csv", lists.export, name="orders-export"),
    *[
        path(f"orders/<reference:number>/{route}", page.for_member(action), name=f"order-{name}")
        for name, (route, action) in page.ACTIONS.items()
    ],
    path("orders/<reference:number>/", page.for_member(page.order_page), name="order"),
    path("refused-reports/", lists.refused_reports, name="refused-reports"),
]
