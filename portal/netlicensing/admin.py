"""Licensing accounts and their packages as support staff work on them."""

from typing import Any

from django.contrib import admin

from fulfillment.sources.netlicensing.models import Deactivation, LicensePackage, LicensingAccount, PackagedTemplate
from portal.netlicensing.forms import AccountForm
from portal.netlicensing.own_service import save_account
from portal.staff.fulfillment import RetryableAdmin
from portal.staff.merchants import Lean


class AdminsAccountForm(AccountForm):
    """The same form, in which staff say whose account a new one is."""

    class Meta(AccountForm.Meta):
        fields = ["merchant", *AccountForm.Meta.fields]

    def clean(self) -> dict[str, Any]:
        merchant = self.cleaned_data.get("merchant")
        if merchant:
            self.instance.merchant = merchant
        return super().clean() if self.instance.merchant_id else self.cleaned_data


@admin.register(LicensingAccount)
class LicensingAccountAdmin(Lean, admin.ModelAdmin):
    """All but the key."""

    form = AdminsAccountForm
    list_display = ["name", "merchant", "host", "state", "failing_since", "paused_at"]
    list_filter = ["merchant"]
    list_select_related = ["merchant"]
    search_fields = ["name", "address"]
    autocomplete_fields = ["merchant"]
    readonly_fields = ["state", "failing_since", "paused_at", "probe_at", "created_at"]
    fields = ["merchant", "name", "place", "address", "api_key", "timeout", *readonly_fields]

    def get_readonly_fields(self, request, obj=None):
        return [*self.readonly_fields, "merchant"] if obj else self.readonly_fields

    def has_delete_permission(self, request, obj=None):
        return False  # its merchant does, once no package is of it

    def save_model(self, request, obj, form, change):
        save_account(obj)


class PackagedTemplateInline(admin.TabularInline):
    model = PackagedTemplate
    extra = 1


@admin.register(LicensePackage)
class LicensePackageAdmin(Lean, admin.ModelAdmin):
    list_display = ["name", "merchant", "account", "product_number", "start_date"]
    list_filter = ["merchant"]
    list_select_related = ["merchant", "account"]
    search_fields = ["name", "product_number"]
    autocomplete_fields = ["merchant", "account"]
    inlines = [PackagedTemplateInline]

    def get_readonly_fields(self, request, obj=None):
        return ["merchant"] if obj else []

    def has_delete_permission(self, request, obj=None):
        return False  # its merchant does, once no product takes codes from it


@admin.register(Deactivation)
class DeactivationAdmin(RetryableAdmin):
    list_display = ["item", "status", "reason", "attempts", "created_at", "due_at", "ended_at"]
    list_filter = ["status"]
    list_select_related = ["item__order"]
