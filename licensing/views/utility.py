import re
from http import HTTPStatus
from typing import ClassVar

from babel import Locale
from django.db.models import TextChoices
from rest_framework.response import Response

from licensing.envelope import Envelope, Item
from licensing.errors import MalformedRequest, NotFound
from licensing.models import Licensee, LicenseType, LicensingModel, Role
from licensing.transfer import transfer
from licensing.views.base import LicensingView, number_in

# Members of the European Union (https://european-union.europa.eu), by ISO 3166.
EUROPEAN_UNION = set(re.findall("..", "ATBEBGCYCZDEDKEEESFIFRGRHRHUIEITLTLULVMTNLPLPTROSESISK"))
# CLDR codes that aren't in ISO 3166-1: regions and reserved codes.
NOT_COUNTRIES = set(re.findall("..", "ACCPCQDGEAEUEZICQOTAUNXAXBXKZZ"))


class LicenseTypes(LicensingView):
    role = Role.ANALYTICS
    item_type: ClassVar[str] = "LicenseType"
    choices: ClassVar[type[TextChoices]] = LicenseType

    def get(self, request):
        return Response(Envelope([Item(self.item_type, {"name": choice.value}) for choice in self.choices]))


class LicensingModels(LicenseTypes):
    item_type, choices = "LicensingModelProperties", LicensingModel


class Countries(LicensingView):
    role = Role.ANALYTICS

    def get(self, request):
        names = Locale("en").territories
        codes = sorted(code for code in names.keys() - NOT_COUNTRIES if len(code) == 2)
        facts = ({"code": code, "name": names[code], "isEu": code in EUROPEAN_UNION} for code in codes)
        return Response(Envelope([Item("Country", each) for each in facts]))


class Transfer(LicensingView):
    role = Role.LICENSEE

    def post(self, request, number):
        target = self.licensee(number)
        source = self._source()
        transfer(target, source, actor=self.caller.name)
        return Response(status=HTTPStatus.NO_CONTENT)

    def _source(self) -> Licensee:
        """Knowing its number is enough to claim its licenses, even with a key restricted to another licensee."""
        number = number_in(self.form, "sourceLicenseeNumber")
        if not number:
            raise MalformedRequest("Source licensee number is not provided")
        source = Licensee.objects.find(self.caller.key.merchant_id, number)
        if source is None:
            raise NotFound("Requested source licensee does not exist")
        return source
