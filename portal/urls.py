from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from api.docs import ApiSchema
from delivery.providers import receive_merchant_tracking, receive_tracking
from portal import sandbox
from portal.api_docs import views as api_docs
from portal.emails import views as emails
from portal.first_steps import hide_first_steps
from portal.home import home
from portal.search import search
from portal.team import invitations
from runtime.health import healthz
from runtime.metrics import metrics

# The admin uses the portal's sign-in, including the second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    # First, because Django tries the patterns in order, and customers wait for these.
    path("api/v1/", include("api.urls")),
    path("in/", include("shops.urls")),
    path("core/v2/rest/", include("licensing.urls")),
    path("", home, name="home"),
    path("search/", search, name="search"),
    path("first-steps/hide/", hide_first_steps, name="first-steps-hide"),
    path("", include("portal.orders.urls")),
    path("attention/", include("portal.attention.urls")),
    path("test-data/", sandbox.show, name="show-test-data"),
    path("test-data/delete/", sandbox.delete, name="delete-test-data"),
    path("pools/", include("portal.pools.urls")),
    path("products/", include("portal.products.urls")),
    path("setup/", include("portal.setup.urls")),
    path("test-order/", include("portal.test_orders.urls")),
    path("emails/", include("portal.emails.urls")),
    path("shops/", include("portal.shops.urls")),
    path("webhooks/", include("portal.webhooks.urls")),
    path("web-services/", include("portal.web_services.urls")),
    path("licensing/", include("portal.licensing.urls")),
    path("licensing-accounts/", include("portal.netlicensing.urls")),
    path("team/", include("portal.team.urls")),
    path("api-keys/", include("portal.api_keys.urls")),
    path("checkout-pages/", include("portal.checkout_pages.urls")),
    path("invitations/", invitations.invitation, name="invitation"),
    path("invitations/<str:token>/", invitations.open_invitation, name="open-invitation"),
    path("accounts/", include("portal.account.urls")),
    path("logos/<str:digest>.png", emails.logo, name="logo"),
    path("", include("portal.customer.urls")),
    path("anymail/<str:provider>/tracking/", receive_tracking, name="tracking"),
    path("anymail/<slug:merchant>/<str:provider>/tracking/", receive_merchant_tracking, name="tracking-of-merchant"),
    path("healthz", healthz, name="healthz"),
    path("metrics", metrics, name="metrics"),
    path("mailbox/", include("portal.mailbox.urls")),
    path("admin/", admin.site.urls),
    path("api/schema/", ApiSchema.as_view(), name="api-schema"),
    path("api/docs/", api_docs.index, name="api-docs"),
    path("api/docs/<slug:name>/", api_docs.operation, name="api-docs-operation"),
]

handler400 = "api.problems.bad_request"
handler404 = "api.problems.page_not_found"
handler500 = "api.problems.server_error"
