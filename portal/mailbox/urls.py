from django.urls import path

from portal.mailbox import views

urlpatterns = [
    path("", views.mailbox, name="mailbox"),
    path("<slug:name>/", views.email, name="mailbox-email"),
    path("<slug:name>/html/", views.html, name="mailbox-html"),
]
