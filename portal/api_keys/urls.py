from django.urls import path

from portal.api_keys import views as api_keys

urlpatterns = [
    path("", api_keys.api_keys, name="api-keys"),
    path("add/", api_keys.add, name="api-key-add"),
    path("<int:pk>/change/", api_keys.change, name="api-key-change"),
    path("<int:pk>/revoke/", api_keys.revoke, name="api-key-revoke"),
]
