from functools import reduce
from http import HTTPStatus
from operator import or_
from typing import Any, ClassVar

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from rest_framework.exceptions import ErrorDetail
from rest_framework.response import Response

from licensing.creation import create_license, create_licensee, find_feature, needs_feature
from licensing.envelope import Envelope, Item
from licensing.errors import Invalid, LicensingError, MalformedRequest, NotFound, UnexpectedValue
from licensing.locks import block_deletion, lock_to_delete
from licensing.models import (
    License,
    Licensee,
    LicenseTemplate,
    LicensingProduct,
    ProductModule,
    Role,
    Token,
    Transaction,
)
from licensing.models.catalog import Entity
from licensing.serializers import (
    EntitySerializer,
    LicenseeSerializer,
    LicenseSerializer,
    LicenseTemplateSerializer,
    ProductModuleSerializer,
    ProductSerializer,
    TokenSerializer,
    TransactionSerializer,
    camel,
    set_aliases,
)
from licensing.views.base import Filter, LicensingView, equals, is_licensee, is_true, number_in, paginate
from vault.fingerprints import fingerprint

Values = dict[str, Any]


class ResourceView(LicensingView):
    """One resource: the collection, or with a number in the path a single object."""

    title: ClassVar[str]  # in error messages
    model: ClassVar[type[Entity]]
    serializer_class: ClassVar[type[EntitySerializer]]
    writing_role: ClassVar[Role]
    related: ClassVar[tuple[str, ...]] = ()
    descendants: ClassVar[tuple[str, ...]] = ()  # relations that prevent deletion unless it's forced
    filters: ClassVar[dict[str, Filter]] = {}

    @property
    def role(self) -> Role:  # type: ignore[override]
        return Role.ANALYTICS if self.request.method in {"GET", "HEAD"} else self.writing_role

    def rows(self) -> QuerySet:
        rows = self.model._default_manager.filter(merchant=self.vendor).select_related(*self.related)
        if not self.descendants:
            return rows
        relations = [self.model._meta.get_field(name) for name in self.descendants]
        children = [
            Exists(relation.related_model._default_manager.filter(**{relation.field.name: OuterRef("pk")}))  # type: ignore[union-attr]
            for relation in relations
        ]
        return rows.annotate(in_use=reduce(or_, children))

    def numbered(self, rows: QuerySet, number: str) -> QuerySet:
        return rows.filter(number=number)

    def find(self, number: str) -> Any:
        found = self.numbered(self.rows(), number).first()
        if found is None:
            raise NotFound(f"Requested {self.title} does not exist")
        return found

    def item(self, row: Any) -> Item:
        properties = self.serializer_class().to_representation(row)
        if self.descendants:
            properties["inUse"] = row.in_use
        return Item(self.title.title().replace(" ", ""), properties)

    def get(self, request, number=None):
        if number is not None:
            return self._answer(self.find(number))
        page = paginate(self.rows(), request, {"active": is_true("active"), "number": equals("number")} | self.filters)
        envelope = Envelope(list(map(self.item, page.rows)), number=page.number, size=page.size, total=page.total)
        return Response(envelope)

    def _answer(self, row: Any) -> Response:
        return Response(Envelope([self.item(row)]))

    @transaction.atomic
    def post(self, request, number=None):
        instance = None if number is None else self.find(number)
        if instance:
            block_deletion(instance)
        try:
            with transaction.atomic():
                saved = self.create() if instance is None else self.update(instance)
        except IntegrityError as error:
            constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "") or ""
            if not constraint.endswith("is_unique"):
                raise
            raise Invalid(f"Another {self.title} already has this number") from error
        return self._answer(self.rows().get(pk=saved.pk))

    def create(self) -> Any:
        parents = self.parents()
        values = self.values(None)
        return self.model._default_manager.create(merchant=self.vendor, **parents, **values)

    def update(self, instance: Any) -> Any:
        # Lock, then read again: a request changes single properties and must not undo concurrent changes to others.
        type(instance)._default_manager.select_for_update(no_key=True).filter(pk=instance.pk).first()
        instance = self.rows().get(pk=instance.pk)
        return self.serializer_class().update(instance, self.values(instance))

    def parents(self) -> Values:
        return {}

    def parent(self, name: str, view: "type[ResourceView]") -> Any:
        """Find the vendor's object that this form field names, and block its deletion. Raises LicensingError."""
        number = number_in(self.form, name)
        if not number:
            raise MalformedRequest(f"{view.title.capitalize()} number is not provided")
        found = view.model._default_manager.filter(merchant=self.vendor)
        parent = view().numbered(found, number).first()
        if parent is None:
            raise NotFound(f"Requested {view.title} does not exist")
        block_deletion(parent)
        return parent

    def values(self, instance: Any) -> Values:
        serializer_class = self.serializer_class
        serializer = serializer_class(
            instance,
            data=serializer_class.read(self.form),
            partial=instance is not None,
            context={"merchant": self.vendor},
        )
        if not serializer.is_valid():
            raise self._refusal(serializer.errors)
        return serializer.validated_data

    def _refusal(self, errors: dict[str, list[ErrorDetail]]) -> LicensingError:
        name, (detail, *_) = next(iter(errors.items()))
        if detail.code in {"required", "blank"}:
            return MalformedRequest(f"{self.title.capitalize()} {name.replace('_', ' ')} is required")
        return Invalid(f"{camel(name)}: {detail}")

    @transaction.atomic
    def delete(self, request, number=None):
        if number is None:
            raise MalformedRequest(f"{self.title.capitalize()} number is not provided")
        row = self.find(number)
        # Nothing can be added to it from here on.
        lock_to_delete(row)
        forced = request.query_params.get("forceCascade", "").lower() == "true"
        if not forced and self.descendants and self.rows().filter(pk=row.pk, in_use=True).exists():
            raise UnexpectedValue(
                f"Unexpected value of parameter 'forceCascade': the {self.title} is in use. Use true to delete it with"
                " everything that belongs to it."
            )
        row.delete()
        return Response(status=HTTPStatus.NO_CONTENT)


class ProductView(ResourceView):
    title = "product"
    model = LicensingProduct
    serializer_class = ProductSerializer
    writing_role = Role.MAINTENANCE
    descendants = ("modules", "licensees")
    filters = {"name": equals("name")}

    def item(self, row):
        item = super().item(row)
        item.lists = [("discount", discount) for discount in row.discounts]
        return item


class ProductModuleView(ResourceView):
    title = "product module"
    model = ProductModule
    serializer_class = ProductModuleSerializer
    writing_role = Role.MAINTENANCE
    related = ("product",)
    descendants = ("templates",)
    filters = {"productNumber": equals("product__number"), "licensingModel": equals("licensing_model")}

    def parents(self):
        return {"product": self.parent("productNumber", ProductView)}


class LicenseTemplateView(ResourceView):
    title = "license template"
    model = LicenseTemplate
    serializer_class = LicenseTemplateSerializer
    writing_role = Role.MAINTENANCE
    related = ("module",)
    descendants = ("licenses",)
    filters = {
        "productNumber": equals("module__product__number"),
        "productModuleNumber": equals("module__number"),
        "licenseType": equals("license_type"),
        "automatic": is_true("automatic"),
    }

    def parents(self):
        return {"module": self.parent("productModuleNumber", ProductModuleView)}


class LicenseeView(ResourceView):
    title = "licensee"
    model = Licensee
    serializer_class = LicenseeSerializer
    writing_role = Role.OPERATION
    related = ("product",)
    descendants = ("licenses",)
    filters = {
        "number": is_licensee(),
        "licenseeNumber": is_licensee(),
        "productNumber": equals("product__number"),
        "markedForTransfer": is_true("marked_for_transfer"),
        "name": equals("name"),
    }

    def rows(self):
        return super().rows().prefetch_related("aliases")

    def numbered(self, rows, number):
        return rows.with_number(number)

    def create(self):
        product = self.parent("productNumber", ProductView)
        values = self.values(None)
        aliases = values.pop("aliases", [])
        licensee = create_licensee(product, actor=self.caller.name, **values)
        set_aliases(licensee, aliases)
        return licensee


class TransactionView(ResourceView):
    title = "transaction"
    model = Transaction
    serializer_class = TransactionSerializer
    writing_role = Role.ADMIN
    related = ("licensee",)
    filters = {"licenseeNumber": is_licensee("licensee"), "status": equals("status"), "source": equals("source")}

    def rows(self):
        return super().rows().prefetch_related("joins")

    def item(self, row):
        item = super().item(row)
        item.lists = [
            ("licenseTransactionJoin", {"transactionNumber": row.number, "licenseNumber": join.number})
            for join in row.joins.all()
        ]
        return item

    def parents(self):
        named = number_in(self.form, "licenseeNumber") and {"licensee": self.parent("licenseeNumber", LicenseeView)}
        return {"status": Transaction.Status.PENDING, "made_by": self.caller.name} | (named or {})

    def create(self):
        values = self.parents() | self.values(None)
        return Transaction.objects.create(merchant=self.vendor, **values)

    def delete(self, request, number=None):
        self.http_method_not_allowed(request)


class LicenseView(ResourceView):
    title = "license"
    model = License
    serializer_class = LicenseSerializer
    writing_role = Role.OPERATION
    related = ("licensee", "template__module")
    filters = {
        "licenseeNumber": is_licensee("licensee"),
        "licenseTemplateNumber": equals("template__number"),
        "productModuleNumber": equals("template__module__number"),
        "productNumber": equals("licensee__product__number"),
        "name": equals("name"),
    }

    def create(self):
        licensee = self.parent("licenseeNumber", LicenseeView)
        template = self.parent("licenseTemplateNumber", LicenseTemplateView)
        return create_license(
            licensee, template, actor=self.caller.name, joining=self._transaction(), **self.values(None)
        )

    def update(self, instance):
        number = instance.number
        license = super().update(instance)
        if license.number != number:
            instance.licensee.licenses.filter(parent_feature=number).update(parent_feature=license.number)
        if joined := self._transaction():
            joined.joins.get_or_create(license=license, defaults={"number": license.number})
        return license

    def values(self, instance):
        values = super().values(instance)
        if instance and "parent_feature" in values and needs_feature(instance.template):
            named = values["parent_feature"]
            values["parent_feature"] = find_feature(instance.licensee, instance.template, named)
        return values

    def _transaction(self) -> Transaction | None:
        return self.parent("transactionNumber", TransactionView) if number_in(self.form, "transactionNumber") else None


class TokenView(ResourceView):
    """Tokens can be created and deleted, not changed. Only administrators see API keys, because a number signs in."""

    title = "token"
    model = Token
    serializer_class = TokenSerializer
    related = ("licensee", "merchant")
    filters = {
        "number": lambda value: Q(fingerprint=fingerprint(value)),
        "tokenType": equals("token_type"),
        "licenseeNumber": is_licensee("licensee"),
    }

    @property
    def writing_role(self) -> Role:  # type: ignore[override]
        is_shop = self.request.method == "POST" and self.form.get("tokenType") == Token.Type.SHOP
        return Role.LICENSEE if is_shop else Role.ADMIN

    def rows(self):
        rows = super().rows()
        return rows if self.caller.role == Role.ADMIN else rows.exclude(token_type=Token.Type.APIKEY)

    def numbered(self, rows, number):
        return rows.filter(fingerprint=fingerprint(number))

    def create(self):
        values, number = self.values(None), number_in(self.form, "licenseeNumber")
        licensee = self.licensee(number) if number else None
        token_type = values.setdefault("token_type", Token.Type.DEFAULT)
        if token_type == Token.Type.APIKEY:
            values["api_key_role"] = values.get("api_key_role") or Role.LICENSEE
        if token_type == Token.Type.SHOP and licensee is None:
            missing = ("TokenValidation", "Property 'licenseeNumber' not found")
            raise MalformedRequest("Malformed token request", more=(missing,))
        return Token.objects.create(merchant=self.vendor, licensee=licensee, **values)

    def post(self, request, number=None):
        if number is not None:
            self.http_method_not_allowed(request)
        return super().post(request)


RESOURCES: dict[str, type[ResourceView]] = {
    "product": ProductView,
    "productmodule": ProductModuleView,
    "licensetemplate": LicenseTemplateView,
    "licensee": LicenseeView,
    "license": LicenseView,
    "token": TokenView,
    "transaction": TransactionView,
}
