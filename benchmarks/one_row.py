"""The floor of the validation benchmark: a DRF view that signs nobody in and reads one row."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.conf import settings
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView

from licensing.models import Product

settings.ROOT_URLCONF = "benchmarks.one_row"


class RowView(APIView):
    authentication_classes = []
    permission_classes = []
    throttle_classes = []

    def post(self, request, number):
        product = Product.objects.get(number=number)
        return Response({"number": product.number, "name": product.name})


urlpatterns = [path("row/<str:number>", RowView.as_view())]
