"""What there is to choose from."""

import re

from babel import Locale
from django.db.models import TextChoices
from rest_framework.response import Response

from licensing.envelope import Envelope, Item
from licensing.models import LicenseType, LicensingModel, Role
from licensing.views.base import LicensingView

# Members of the European Union (https://european-union.europa.eu), by ISO 3166.
EUROPEAN_UNION = set(re.findall("..", "ATBEBGCYCZDEDKEEESFIFRGRHRHUIEITLTLULVMTNLPLPTROSESISK"))
# Codes that CLDR knows besides those of ISO 3166-1: regions, and what is reserved.
NO_COUNTRIES = set(re.findall("..", "ACCPCQDGEAEUEZICQOTAUNXAXBXKZZ"))


class ReadingView(LicensingView):
    role = Role.ANALYTICS


class LicenseTypes(ReadingView):
    def get(self, request):
        return _names("LicenseType", LicenseType)


class LicensingModels(ReadingView):
    def get(self, request):
        return _names("LicensingModelProperties", LicensingModel)


class Countries(ReadingView):
    def get(self, request):
        names = Locale("en").territories
        codes = sorted(code for code in names.keys() - NO_COUNTRIES if len(code) == 2)
        return Response(
            Envelope(
                [
                    Item("Country", {"code": code, "name": names[code], "isEu": code in EUROPEAN_UNION})
                    for code in codes
                ]
            )
        )


def _names(item_type: str, choices: type[TextChoices]) -> Response:
    return Response(Envelope([Item(item_type, {"name": choice.value}) for choice in choices]))
