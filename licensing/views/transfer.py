from http import HTTPStatus

from rest_framework.response import Response

from licensing.errors import MalformedRequest, NotFound
from licensing.models import Licensee, Role
from licensing.transfer import transfer
from licensing.views.base import LicensingView, number_in


class Transfer(LicensingView):
    role = Role.LICENSEE

    def post(self, request, number):
        target = self.licensee(number)
        source = self._source()
        transfer(target, source, by=self.caller.name)
        return Response(status=HTTPStatus.NO_CONTENT)

    def _source(self) -> Licensee:
        """Who knows its number may have its licenses, also with a key that is for another licensee alone."""
        number = number_in(self.form, "sourceLicenseeNumber")
        if not number:
            raise MalformedRequest("Source licensee number is not provided")
        source = Licensee.objects.find(self.caller.key.merchant_id, number)
        if source is None:
            raise NotFound("Requested source licensee does not exist")
        return source
