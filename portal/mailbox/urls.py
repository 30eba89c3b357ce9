from django.urls import path, re_path

from portal.mailbox import views

NAME = r"(?P<name>[0-9]{20}-[0-9a-f]{8})"

urlpatterns = [
    path("", views.mailbox, name="mailbox"),
    re_path(rf"^{NAME}/$", views.email, name="mailbox-email"),
    re_path(rf"^{NAME}/html/$", views.html, name="mailbox-html"),
]
