from django.urls import path

from portal.products import views as products

urlpatterns = [
    path("", products.products, name="products"),
    path("add/", products.add, name="product-add"),
    path("<int:pk>/", products.product, name="product"),
    path("<int:pk>/change/", products.change, name="product-change"),
    path("<int:pk>/sources/", products.add_source, name="product-add-source"),
    path("<int:pk>/sources/<int:method>/up/", products.move_up, name="product-move-up"),
    path("<int:pk>/sources/<int:method>/remove/", products.remove_source, name="product-remove-source"),
]
