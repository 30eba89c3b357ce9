"""allauth's pages under the names it reverses, except sign-up and changing the e-mail address; and one of ours."""

from allauth.account import views as account
from django.urls import include, path, re_path

from portal.account.preferences import language_and_time

urlpatterns = [
    path("login/", account.login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", account.password_change, name="account_change_password"),
    path("password/set/", account.password_set, name="account_set_password"),
    path("password/reset/", account.password_reset, name="account_reset_password"),
    path("password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    path(
        "password/reset/key/done/", account.password_reset_from_key_done, name="account_reset_password_from_key_done"
    ),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("language/", language_and_time, name="language-and-time"),
    path("2fa/", include("allauth.mfa.urls")),
]
