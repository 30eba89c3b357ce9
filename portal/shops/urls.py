from django.urls import path

from portal.shops import events, products, views

urlpatterns = [
    path("", views.shops, name="shops"),
    path("connect/", views.kinds, name="shop-kinds"),
    path("connect/<slug:kind>/", views.connect, name="shop-connect"),
    path("<int:pk>/", views.shop, name="shop"),
    path("<int:pk>/start/", views.start, name="shop-start"),
    path("<int:pk>/change/", views.change, name="shop-change"),
    path("<int:pk>/secret/", views.change_secret, name="shop-secret"),
    path("<int:pk>/url/", views.change_url, name="shop-url"),
    path("<int:pk>/enable/", views.enable, name="shop-enable"),
    path("<int:pk>/disable/", views.disable, name="shop-disable"),
    path("<int:pk>/remove/", views.remove, name="shop-remove"),
    path("<int:pk>/sample/", views.send_sample, name="shop-sample"),
    path("<int:pk>/try/", views.try_request, name="shop-try"),
    path("<int:pk>/fetch/", views.fetch, name="shop-fetch"),
    path("<int:pk>/process/", events.process_all, name="shop-process"),
    path("<int:pk>/products/", products.products, name="shop-products"),
    path("<int:pk>/products/add/", products.add, name="shop-product-add"),
    path("<int:pk>/products/<int:external>/", products.change, name="shop-product"),
    path("<int:pk>/events/<int:event>/", events.event_page, name="shop-event"),
    path("<int:pk>/events/<int:event>/process/", events.process, name="shop-event-process"),
    path("<int:pk>/events/<int:event>/address/", events.enter_address, name="shop-event-address"),
]
