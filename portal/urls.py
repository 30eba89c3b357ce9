from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from fulfillment import urls as orders_api
from fulfillment.providers import take_tracking, take_tracking_of_merchant
from portal.health import healthz
from portal.views import emails, invitations, order, orders
from portal.views.api_docs import ApiDocs, ApiSchema
from portal.views.customer import customer_order
from portal.views.home import home
from portal.views.lost_key import lost_key
from portal.views.upload_link import upload, upload_import

# Support staff sign in as everybody does, second factor and all.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", home, name="home"),
    path("orders/", orders.order_list, name="orders"),
    path("orders.csv", orders.export, name="orders-export"),
    *[
        path(f"orders/<reference:number>/{address}", order.for_member(act), name=f"order-{name}")
        for name, (address, act) in order.ACTS.items()
    ],
    path("orders/<reference:number>/", order.for_member(order.order_page), name="order"),
    path("refused-reports/", orders.refused_reports, name="refused-reports"),
    path("attention/", orders.attention, name="attention"),
    path("pools/", include("portal.pool_urls")),
    path("products/", include("portal.product_urls")),
    path("setup/", include("portal.setup_urls")),
    path("emails/", include("portal.email_urls")),
    path("webhooks/", include("portal.webhook_urls")),
    path("web-services/", include("portal.web_service_urls")),
    path("licensing/", include("portal.licensing_urls")),
    path("licensing-accounts/", include("portal.licensing_account_urls")),
    path("team/", include("portal.team_urls")),
    path("invitations/", invitations.invitation, name="invitation"),
    path("invitations/<str:token>/", invitations.open_invitation, name="open-invitation"),
    path("accounts/", include("portal.account_urls")),
    path("logos/<str:digest>.png", emails.logo, name="logo"),
    path("o/<str:token>/", customer_order, name="customer-order"),
    path("lost/<slug:slug>/", lost_key, name="lost-key"),
    path("upload/<str:token>/", upload, name="upload"),
    path("uploaded/<str:token>/", upload_import, name="upload-import"),
    path("anymail/<str:provider>/tracking/", take_tracking, name="tracking"),
    path("anymail/<slug:merchant>/<str:provider>/tracking/", take_tracking_of_merchant, name="tracking-of-merchant"),
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("api/schema/", ApiSchema.as_view(), name="api-schema"),
    path("api/docs/", ApiDocs.as_view(), name="api-docs"),
    path("api/v1/", include(orders_api)),
    path("api/v1/", include("pools.urls")),
    path("core/v2/rest/", include("licensing.urls")),
]

handler400 = "rest.problems.bad_request"
handler404 = "rest.problems.page_not_found"
handler500 = "rest.problems.server_error"
