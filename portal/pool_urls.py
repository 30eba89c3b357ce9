from django.urls import path

from portal.views import imports, pools

urlpatterns = [
    path("", pools.pools, name="pools"),
    path("<int:pk>/", pools.pool, name="pool"),
    path("<int:pk>/import/", imports.add, name="pool-import"),
    path("<int:pk>/batches/", imports.batches, name="pool-batches"),
]
