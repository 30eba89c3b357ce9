from django.urls import path

from portal.netlicensing import views as accounts

urlpatterns = [
    path("", accounts.accounts, name="licensing-accounts"),
    path("add/", accounts.add, name="licensing-account-add"),
    path("<int:pk>/", accounts.account, name="licensing-account"),
    path("<int:pk>/change/", accounts.change, name="licensing-account-change"),
    path("<int:pk>/test/", accounts.test, name="licensing-account-test"),
    path("<int:pk>/retry-failed/", accounts.retry_failed, name="licensing-account-retry-failed"),
    path("<int:pk>/delete/", accounts.delete, name="licensing-account-delete"),
    path("<int:pk>/requests/<int:request_pk>/", accounts.outgoing_request, name="licensing-account-request"),
    path("<int:pk>/packages/add/", accounts.add_package, name="license-package-add"),
    path("<int:pk>/packages/<int:package>/", accounts.package, name="license-package"),
    path("<int:pk>/packages/<int:package>/delete/", accounts.delete_package, name="license-package-delete"),
]
