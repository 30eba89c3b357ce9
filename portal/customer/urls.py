from django.urls import path

from portal.customer.lost_key import lost_key
from portal.customer.order import customer_order
from portal.customer.upload_link import upload, upload_import

urlpatterns = [
    path("o/<str:token>/", customer_order, name="customer-order"),
    path("lost/<slug:slug>/", lost_key, name="lost-key"),
    path("upload/<str:token>/", upload, name="upload"),
    path("uploaded/<str:token>/", upload_import, name="upload-import"),
]
