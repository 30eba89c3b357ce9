"""Merchants' licensing in the admin. Only merchants and their software create rows."""

from collections.abc import Callable

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from licensing import actions
from licensing.models import (
    FailedValidation,
    License,
    Licensee,
    LicenseeEvent,
    LicenseTemplate,
    LicenseTransactionJoin,
    LicensingProduct,
    ProductModule,
    Token,
    Transaction,
    VendorLogin,
)
from licensing.models.catalog import Terms
from portal.staff import consequences
from portal.staff.labels import NamedFields
from portal.staff.large_tables import LargeTable
from portal.staff.merchants import NoAddOrDelete, ReadOnly, Revocable
from vault.fingerprints import fingerprint


class FoundByNumber(LargeTable, NoAddOrDelete, admin.ModelAdmin):
    """Finds rows by their complete secret number. The search is a POST, so the number never appears in a URL."""

    search_fields = ["pk"]  # only shows the search box; `find` does the search
    search_help_text = _("The complete number")

    def find(self, number: str) -> QuerySet:
        raise NotImplementedError

    def changelist_view(self, request, extra_context=None):
        if request.method != "POST" or "search" not in request.POST:
            return super().changelist_view(request, extra_context)
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = list(self.find(request.POST["search"].replace("\0", "").strip())[:100])
        if len(found) == 1:
            return redirect(f"admin:licensing_{self.opts.model_name}_change", found[0])
        if not found:
            messages.warning(
                request, gettext("No {verbose_name} has this number.").format(verbose_name=self.opts.verbose_name)
            )
            return redirect(f"admin:licensing_{self.opts.model_name}_changelist")
        # Several merchants can use the same number.
        response = redirect(f"admin:licensing_{self.opts.model_name}_changelist")
        response["Location"] += f"?id__in={','.join(map(str, found))}"
        return response

    @admin.display(description=_("number"))
    def masked(self, thing):
        return f"••••{thing.hint}"


def is_deactivated(form) -> bool:
    return "active" in form.changed_data and not form.instance.active


COMMON_READONLY = ["merchant", "number", "properties", "created_at"]


class Catalogue(NoAddOrDelete, admin.ModelAdmin):
    list_filter = ["active"]
    search_fields = ["=number", "name"]
    readonly_fields = COMMON_READONLY
    licensees_of = ""  # the lookup of the licensees that use a row

    def get_consequences(self, request, form, formsets):
        if not is_deactivated(form):
            return []
        licensees = Licensee.objects.filter(**{self.licensees_of: form.instance}).distinct()
        return consequences.deactivate_in_catalog(form.instance, licensees)


@admin.register(LicensingProduct)
class LicensingProductAdmin(Catalogue):
    licensees_of = "product"
    list_display = ["name", "number", "merchant", "version", "active"]
    list_select_related = ["merchant"]
    readonly_fields = [*COMMON_READONLY, "discounts"]


@admin.register(ProductModule)
class ProductModuleAdmin(Catalogue):
    licensees_of = "licenses__template__module"
    list_display = ["name", "number", "product", "licensing_model", "active"]
    list_filter = ["active", "licensing_model"]
    list_select_related = ["product"]
    readonly_fields = [*COMMON_READONLY, "product"]


@admin.register(LicenseTemplate)
class LicenseTemplateAdmin(Catalogue):
    licensees_of = "licenses__template"
    list_display = ["name", "number", "module", "license_type", "automatic", "active"]
    list_filter = ["active", "license_type"]
    list_select_related = ["module"]
    readonly_fields = [*COMMON_READONLY, "module"]


@admin.register(License)
class LicenseAdmin(LargeTable, Catalogue):
    list_display = ["number", "name", "licensee", "template", "active"]
    list_select_related = ["licensee", "template"]
    fields = [
        *("merchant", "number", "licensee", "template", "name", "active", "start_date", *Terms.TERMS),
        *("used_quantity", "parent_feature", "properties", "created_at"),
    ]
    readonly_fields = [*COMMON_READONLY, "licensee", "template", "used_quantity"]

    def get_consequences(self, request, form, formsets):
        return consequences.deactivate_license(form.instance) if is_deactivated(form) else []


class HistoryInline(NamedFields, admin.TabularInline):
    extra = 0
    max_num = 0
    can_delete = False

    def has_add_permission(self, request, obj=None):
        return False


class FailureInline(HistoryInline):
    model = FailedValidation
    verbose_name_plural = _("Latest failed validation of each module")
    fields = readonly_fields = ("failed_at", "module_name", "module_number", "licensing_model", "reason", "asked_by")


class EventInline(HistoryInline):
    model = LicenseeEvent
    fields = readonly_fields = ("kind", "note", "happened_at", "happened_by")


@admin.register(Licensee)
class LicenseeAdmin(FoundByNumber):
    list_display = ["__str__", "masked", "product", "merchant", "active", "marked_for_transfer", "created_at"]
    list_filter = ["marked_for_transfer", "active"]
    list_select_related = ["product", "merchant"]
    ordering = ["-pk"]
    search_help_text = _("The complete number, or an alias")
    fields = ["masked", "merchant", "product", "name", "active", "marked_for_transfer", "properties", "created_at"]
    readonly_fields = ["masked", "merchant", "product", "properties", "created_at"]
    inlines = [FailureInline, EventInline]

    def get_queryset(self, request):
        return super().get_queryset(request).defer("number")

    def get_consequences(self, request, form, formsets):
        return consequences.deactivate_licensee(form.instance) if is_deactivated(form) else []

    def find(self, number):
        return Licensee.objects.with_number(number).values_list("pk", flat=True)

    def save_model(self, request, obj, form, change):
        actor = f"{request.user}, support staff"
        setters: dict[str, Callable[..., object]] = {
            "name": actions.rename,
            "active": actions.set_active,
            "marked_for_transfer": actions.set_marked,
        }
        for name in form.changed_data:
            setters[name](obj, getattr(obj, name), actor=actor)


class JoinInline(NamedFields, admin.TabularInline):
    model = LicenseTransactionJoin
    fields = ["number", "license"]
    extra = 0


@admin.register(Transaction)
class TransactionAdmin(LargeTable, ReadOnly, admin.ModelAdmin):
    list_display = ["number", "source", "status", "source_licensee", "licensee", "made_by", "created_at"]
    list_filter = ["source", "status"]
    list_select_related = ["licensee", "source_licensee"]
    search_fields = ["=number"]
    ordering = ["-pk"]
    fields = [
        *("merchant", "number", "source", "status", "source_licensee", "licensee", "made_by", "created_at"),
        *("closed_at", "properties"),
    ]
    inlines = [JoinInline]


@admin.register(Token)
class TokenAdmin(FoundByNumber):
    list_display = ["__str__", "masked", "merchant", "token_type", "api_key_role", "active", "last_used_at"]
    list_filter = ["token_type", "active"]
    list_select_related = ["merchant"]
    ordering = ["-pk"]
    fields = [
        *("masked", "merchant", "token_type", "name", "api_key_role", "licensee", "active", "expiration_time"),
        *("created_at", "last_used_at"),
    ]
    readonly_fields = [
        *("masked", "merchant", "token_type", "name", "api_key_role", "licensee", "created_at", "last_used_at")
    ]

    def get_queryset(self, request):
        return super().get_queryset(request).defer("number")

    def get_readonly_fields(self, request, obj=None):
        # Deactivated and expired tokens can't be restored.
        final = ["active", "expiration_time"] if obj and not obj.is_live else []
        return [*self.readonly_fields, *final]

    def get_consequences(self, request, form, formsets):
        token = form.instance
        is_ended = form.changed_data and not token.is_live
        return consequences.end_access(f"••••{token.hint}", token.last_used_at) if is_ended else []

    def find(self, number):
        return Token.objects.filter(fingerprint=fingerprint(number)).values_list("pk", flat=True)


@admin.register(VendorLogin)
class VendorLoginAdmin(Revocable, ReadOnly, admin.ModelAdmin):
    list_display = ["user_name", "merchant", "created_by", "created_at", "last_used_at", "revoked_at"]
    list_select_related = ["merchant"]
    search_fields = ["user_name"]
    fields = ["user_name", "merchant", "created_by", "created_at", "last_used_at", "revoked_at"]

    def get_revocation(self, row):
        title = gettext("Revoke {name}?").format(name=gettext("the login {login}").format(login=row))
        texts = consequences.end_access(row.user_name, row.last_used_at)
        return title, texts, gettext("Login {login} revoked.").format(login=row)

    def revoke(self, row, *, actor):
        row.revoke()
