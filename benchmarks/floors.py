"""Floors for benchmarks: DRF views without authentication that insert one validated row or read one."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.conf import settings
from django.db import connection
from django.urls import path
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks import bare_mail
from licensing.models import LicensingProduct

settings.ROOT_URLCONF = "benchmarks.floors"

with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS benchmark_floor (id bigserial PRIMARY KEY, number text NOT NULL)")
connection.close()  # not inherited by forked workers


class RowSerializer(serializers.Serializer):
    order = serializers.CharField(max_length=64)


class BareView(APIView):
    authentication_classes = []
    permission_classes = []
    throttle_classes = []


class InsertView(BareView):
    def post(self, request):
        serializer = RowSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO benchmark_floor (number) VALUES (%s)", [serializer.validated_data["order"]])
        return Response(serializer.data, status=201)


class MailView(InsertView):
    def post(self, request):
        response = super().post(request)
        bare_mail.send.delay(request.data["customer"]["email"])
        return response


class ReadView(BareView):
    def post(self, request, number):
        product = LicensingProduct.objects.get(number=number)
        return Response({"number": product.number, "name": product.name})


urlpatterns = [
    path("api/v1/payments/", InsertView.as_view()),
    path("api/v1/mailed-payments/", MailView.as_view()),
    path("row/<str:number>", ReadView.as_view()),
]
