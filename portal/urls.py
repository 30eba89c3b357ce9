from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from portal.health import healthz
from portal.views.customer import customer_order

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", healthz, name="healthz"),
    path("o/<str:token>/", customer_order, name="customer-order"),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    path("api/v1/", include("fulfillment.urls")),
    path("api/v1/", include("pools.urls")),
]

handler400 = "rest.problems.bad_request"
handler404 = "rest.problems.page_not_found"
handler500 = "rest.problems.server_error"
