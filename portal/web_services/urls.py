from django.urls import path

from portal.web_services import views as web_services
from portal.web_services.console import console

urlpatterns = [
    path("", web_services.web_services, name="web-services"),
    path("add/", web_services.add, name="web-service-add"),
    path("<int:pk>/", web_services.web_service, name="web-service"),
    path("<int:pk>/change/", web_services.change, name="web-service-change"),
    path("<int:pk>/parameters/", web_services.parameters, name="web-service-parameters"),
    path("<int:pk>/secret/", web_services.reveal_secret, name="web-service-secret"),
    path("<int:pk>/rotate/", web_services.rotate, name="web-service-rotate"),
    path("<int:pk>/delete/", web_services.delete, name="web-service-delete"),
    path("<int:pk>/retry-failed/", web_services.retry_failed, name="web-service-retry-failed"),
    path("<int:pk>/requests/<int:request_pk>/", web_services.outgoing_request, name="web-service-request"),
    path("<int:pk>/requests/<int:request_pk>/send/", web_services.send_again, name="web-service-send"),
    path("<int:pk>/console/", console, name="web-service-console"),
]
