from django.urls import path

from pools import api

urlpatterns = [
    path("pools/", api.PoolListView.as_view(), name="api-pools"),
    path("pools/<int:pk>/", api.PoolView.as_view(), name="api-pool"),
    path("pools/<int:pk>/keys/", api.PoolKeysView.as_view(), name="api-pool-keys"),
    path("pools/<int:pk>/imports/", api.ImportsView.as_view(), name="api-imports"),
    path("pools/<int:pk>/imports/<int:number>/", api.ImportView.as_view(), name="api-import"),
    path("pools/<int:pk>/imports/<int:number>/confirm/", api.ConfirmView.as_view(), name="api-import-confirm"),
    path("pools/<int:pk>/batches/", api.BatchListView.as_view(), name="api-batches"),
    path("pools/<int:pk>/batches/<int:number>/undo/", api.UndoView.as_view(), name="api-batch-undo"),
    path("pools/<int:pk>/batches/<int:number>/withdraw/", api.WithdrawView.as_view(), name="api-batch-withdraw"),
]
