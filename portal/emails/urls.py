from django.urls import path

from portal.emails import gallery, mail_server, versions
from portal.emails import views as emails

urlpatterns = [
    path("", gallery.gallery, name="emails"),
    path("server/", mail_server.mail_server, name="mail-server"),
    path("server/remove/", mail_server.remove, name="mail-server-remove"),
    path("sender/", emails.sender, name="email-sender"),
    path("texts/<slug:scope>/<slug:language>/", emails.edit, name="email-text"),
    path("texts/<slug:scope>/<slug:language>/picture/", gallery.picture, name="email-picture"),
    path("texts/<slug:scope>/<slug:language>/preview/", emails.preview, name="email-preview"),
    path("texts/<slug:scope>/<slug:language>/test/", emails.send_test, name="email-test"),
    path("texts/<slug:scope>/<slug:language>/reset/", emails.reset, name="email-reset"),
    path("texts/<slug:scope>/<slug:language>/versions/", versions.compare, name="email-versions"),
    path("texts/<slug:scope>/<slug:language>/restore/<slug:version>/", versions.restore, name="email-restore"),
]
