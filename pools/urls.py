from django.urls import path

from pools import api

urlpatterns = [
    path("pools/", api.PoolListView.as_view(), name="api-pools"),
    path("pools/<int:pk>/keys/", api.PoolKeysView.as_view(), name="api-pool-keys"),
]
