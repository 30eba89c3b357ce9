"""Mounted at /core/v2/rest/. Paths have no trailing slash."""

from django.urls import path, re_path, register_converter
from django.urls.converters import StringConverter

from licensing.views.base import UnknownResource
from licensing.views.resources import RESOURCES
from licensing.views.utility import Countries, LicenseTypes, LicensingModels, Transfer
from licensing.views.validate import Validate


class NumberConverter(StringConverter):
    def to_python(self, value):
        return value.strip()


register_converter(NumberConverter, "number")

urlpatterns = [
    *[path(name, view.as_view(), name=f"licensing-{name}s") for name, view in RESOURCES.items()],
    *[path(f"{name}/<number:number>", view.as_view(), name=f"licensing-{name}") for name, view in RESOURCES.items()],
    path("licensee/<number:number>/validate", Validate.as_view(), name="licensing-validate"),
    path("licensee/<number:number>/transfer", Transfer.as_view(), name="licensing-transfer"),
    path("utility/licenseTypes", LicenseTypes.as_view(), name="licensing-license-types"),
    path("utility/licensingModels", LicensingModels.as_view(), name="licensing-models"),
    path("utility/countries", Countries.as_view(), name="licensing-countries"),
    re_path("", UnknownResource.as_view(), name="licensing-nothing"),
]
