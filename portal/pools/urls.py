from django.urls import include, path

from portal.pools import imports
from portal.pools import views as pools

import_urls = [
    path("", imports.key_import, name="import"),
    path("read/", imports.read, name="import-read"),
    path("confirm/", imports.confirm, name="import-confirm"),
    path("discard/", imports.discard, name="import-discard"),
]

urlpatterns = [
    path("", pools.pools, name="pools"),
    path("add/", pools.add, name="pool-add"),
    path("reconciliation/", pools.reconciliation, name="reconciliation"),
    path("<int:pk>/", pools.pool, name="pool"),
    path("<int:pk>/settings/", pools.change_settings, name="pool-settings"),
    path("<int:pk>/ledger/", pools.ledger, name="pool-ledger"),
    path("<int:pk>/keys/", pools.keys, name="pool-keys"),
    path("<int:pk>/keys/<int:key>/withdraw/", pools.withdraw, name="pool-withdraw"),
    path("<int:pk>/import/", imports.add, name="pool-import"),
    path("<int:pk>/imports/<int:number>/", include(import_urls)),
    path("<int:pk>/batches/", imports.batches, name="pool-batches"),
    path("<int:pk>/batches/<int:number>/undo/", imports.undo, name="batch-undo"),
    path("<int:pk>/batches/<int:number>/withdraw/", imports.withdraw, name="batch-withdraw"),
    path("<int:pk>/upload-links/end/", pools.end_upload_links, name="pool-end-links"),
]
