from django.urls import path

from portal.webhooks import views as webhooks

urlpatterns = [
    path("", webhooks.webhooks, name="webhooks"),
    path("add/", webhooks.add, name="webhook-add"),
    path("<int:pk>/", webhooks.webhook, name="webhook"),
    path("<int:pk>/change/", webhooks.change, name="webhook-change"),
    path("<int:pk>/secret/", webhooks.reveal_secret, name="webhook-secret"),
    path("<int:pk>/rotate/", webhooks.rotate, name="webhook-rotate"),
    path("<int:pk>/test/", webhooks.send_test, name="webhook-test"),
    path("<int:pk>/enable/", webhooks.enable, name="webhook-enable"),
    path("<int:pk>/disable/", webhooks.disable, name="webhook-disable"),
    path("<int:pk>/delete/", webhooks.delete, name="webhook-delete"),
    path("<int:pk>/send-failed/", webhooks.send_failed, name="webhook-send-failed"),
    path("<int:pk>/messages/<int:message>/send/", webhooks.send_again, name="webhook-send"),
]
