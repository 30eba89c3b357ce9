from django.urls import path

from portal.views import imports, pools

urlpatterns = [
    path("", pools.pools, name="pools"),
    path("add/", pools.add, name="pool-add"),
    path("<int:pk>/", pools.pool, name="pool"),
    path("<int:pk>/settings/", pools.change_settings, name="pool-settings"),
    path("<int:pk>/keys/", pools.keys, name="pool-keys"),
    path("<int:pk>/keys/<int:key>/withdraw/", pools.withdraw, name="pool-withdraw"),
    path("<int:pk>/import/", imports.add, name="pool-import"),
    path("<int:pk>/batches/", imports.batches, name="pool-batches"),
]
