from django.urls import include, path

from portal.licensing import access as licensing_access
from portal.licensing import licensees
from portal.licensing import views as licensing

license_urls = [
    path("change/", licensees.change_license, name="license-change"),
    path("activate/", licensees.switch_license, {"active": True}, name="license-activate"),
    path("deactivate/", licensees.switch_license, {"active": False}, name="license-deactivate"),
]

urlpatterns = [
    path("", licensees.licensees, name="licensing"),
    path("licensees/add/", licensees.add, name="licensee-add"),
    path("licensees/<int:pk>/", licensees.licensee, name="licensee"),
    path("licensees/<int:pk>/number/", licensees.reveal, name="licensee-number"),
    path("licensees/<int:pk>/change/", licensees.change, name="licensee-change"),
    path("licensees/<int:pk>/activate/", licensees.switch, {"active": True}, name="licensee-activate"),
    path("licensees/<int:pk>/deactivate/", licensees.switch, {"active": False}, name="licensee-deactivate"),
    path("licensees/<int:pk>/mark/", licensees.mark, {"marked": True}, name="licensee-mark"),
    path("licensees/<int:pk>/unmark/", licensees.mark, {"marked": False}, name="licensee-unmark"),
    path("licensees/<int:pk>/transfer/", licensees.transfer_licenses, name="licensee-transfer"),
    path("licensees/<int:pk>/licenses/add/", licensees.add_license, name="license-add"),
    path("licensees/<int:pk>/licenses/<int:license>/", include(license_urls)),
    path("products/", licensing.products, name="licensed-products"),
    path("products/add/", licensing.add_product, name="licensed-product-add"),
    path("products/<int:pk>/", licensing.product, name="licensed-product"),
    path("products/<int:pk>/change/", licensing.change_product, name="licensed-product-change"),
    path("products/<int:pk>/remove/", licensing.remove_product, name="licensed-product-remove"),
    path("products/<int:pk>/modules/add/", licensing.add_module, name="module-add"),
    path("modules/<int:pk>/change/", licensing.change_module, name="module-change"),
    path("modules/<int:pk>/remove/", licensing.remove_module, name="module-remove"),
    path("modules/<int:pk>/templates/add/", licensing.add_template, name="template-add"),
    path("templates/<int:pk>/change/", licensing.change_template, name="template-change"),
    path("templates/<int:pk>/remove/", licensing.remove_template, name="template-remove"),
    path("access/", licensing_access.access, name="licensing-access"),
    path("access/logins/add/", licensing_access.add_login, name="login-add"),
    path("access/logins/<int:pk>/revoke/", licensing_access.revoke_login, name="login-revoke"),
    path("access/keys/add/", licensing_access.add_key, name="key-add"),
    path("access/keys/<int:pk>/revoke/", licensing_access.revoke_key, name="key-revoke"),
]
