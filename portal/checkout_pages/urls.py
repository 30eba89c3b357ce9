from django.urls import path

from portal.checkout_pages import views as checkout_pages

urlpatterns = [
    path("", checkout_pages.checkout_pages, name="checkout-pages"),
    path("add/", checkout_pages.add, name="checkout-page-add"),
    path("<int:pk>/change/", checkout_pages.change, name="checkout-page-change"),
    path("<int:pk>/remove/", checkout_pages.remove, name="checkout-page-remove"),
]
