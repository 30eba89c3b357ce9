from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import QueryDict
from django.utils import timezone
from rest_framework.response import Response

from licensing.creation import create_licensee
from licensing.envelope import Envelope, Info
from licensing.errors import LicensingError, MalformedRequest, NotFound, UnexpectedValue
from licensing.failures import record_failures, record_refusal
from licensing.models import Licensee, LicensingProduct, Role
from licensing.validation import Holding, Parameters, Validation, find_holding, read_holding, read_parameters, validate
from licensing.views.base import LicensingView, number_in
from merchants.numbers import MAX_NUMBER, validate_number

MAX_NAME = 200
# How long software may cache a response in which nothing changes earlier.
MAX_TTL = timedelta(days=1)
DEPRECATED = Info("methodIsDeprecated", "GET is deprecated for validating a licensee; use POST.", "WARNING")


class Validate(LicensingView):
    role = Role.LICENSEE
    http_method_names = ["get", "post"]  # no HEAD: validating writes
    # One API key can serve all of a vendor's customers, so a per-key throttle would block them.
    throttle_classes = []

    def post(self, request, number):
        return Response(self._validate(number, self.form))

    def get(self, request, number):
        envelope = self._validate(number, request.query_params)
        envelope.infos.append(DEPRECATED)
        return Response(envelope)

    def _validate(self, number: str, form: QueryDict) -> Envelope:
        dry_run = form.get("dryRun", "").lower() == "true"
        parameters = read_parameters(form)
        holding = self._holding(number, form, parameters, dry_run)
        try:
            self._check_product(holding, form)
            validations = validate(
                holding, parameters, dry_run=dry_run, actor=self.caller.name, adopts=self.caller.role == Role.LICENSEE
            )
        except LicensingError as error:
            if not dry_run:
                record_refusal(holding, str(error.detail), actor=self.caller.name)
            raise
        if not dry_run:
            record_failures(holding, validations, actor=self.caller.name)
        infos = [info for validation in validations for info in validation.result.infos]
        return Envelope([validation.item for validation in validations], infos, ttl=_ttl(validations))

    def _holding(self, number: str, form: QueryDict, parameters: Parameters, dry_run: bool) -> Holding:
        """Read the licensee, or create it if the form names a product with `licensee_auto_create`. Raises NotFound."""
        try:
            return self._find(number)
        except NotFound as error:
            product_number = number_in(form, "productNumber")
            if not product_number:
                raise NotFound("Requested licensee does not exist and the productNumber is not provided") from error
            product = LicensingProduct.objects.filter(merchant=self.vendor, number=product_number).first()
            if product is None:
                raise NotFound("Requested product does not exist") from error
            if not (product.licensee_auto_create and product.active):
                raise
            self._check_number(number)
        values = {"number": number, "name": _name(form)}
        new = read_holding(Licensee(merchant=self.vendor, product=product, **values))
        # Refuse bad parameters before creating a licensee.
        validate(new, parameters, dry_run=True)
        if dry_run:
            return new
        try:
            with transaction.atomic():
                return read_holding(create_licensee(product, actor=self.caller.name, **values))
        except IntegrityError:
            # A concurrent request created it.
            return self._find(number)

    @staticmethod
    def _check_product(holding: Holding, form: QueryDict) -> None:
        if number_in(form, "productNumber") not in {"", holding.product.number}:
            raise UnexpectedValue("Unexpected value of parameter 'productNumber'")

    def _find(self, number: str) -> Holding:
        found = find_holding(self.caller.key.merchant_id, number)
        self.check_access(found.licensee if found else None)
        return found  # type: ignore[return-value]

    @staticmethod
    def _check_number(number: str) -> None:
        try:
            validate_number(number)
        except ValidationError as error:
            raise MalformedRequest(f"Licensee number: {error.messages[0]}") from error
        if len(number) > MAX_NUMBER:
            raise MalformedRequest(f"Licensee number: it has more than {MAX_NUMBER} characters")


def _name(form: QueryDict) -> str:
    name = form.get("licenseeName", "")
    if len(name) > MAX_NAME:
        raise MalformedRequest(f"licenseeName has more than {MAX_NAME} characters")
    return name


def _ttl(validations: list[Validation]) -> datetime:
    now = timezone.now()
    changes = [validation.result.changes_at for validation in validations if validation.result.changes_at]
    return min([now + MAX_TTL, *(moment for moment in changes if moment > now)])
