"""Licensing accounts and license packages in the admin."""

from django.contrib import admin

from fulfillment.sources.netlicensing.models import Deactivation, LicensePackage, LicensingAccount, PackagedTemplate
from portal.netlicensing.forms import AccountForm
from portal.netlicensing.own_service import save_account
from portal.staff import consequences
from portal.staff.fulfillment import RetryableAdmin
from portal.staff.labels import NamedFields
from portal.staff.merchants import Owned, OwnedForm, ServerAdmin


class AdminsAccountForm(OwnedForm, AccountForm):
    class Meta(AccountForm.Meta):
        fields = ["merchant", *AccountForm.Meta.fields]


@admin.register(LicensingAccount)
class LicensingAccountAdmin(ServerAdmin):
    """Never shows the API key."""

    form = AdminsAccountForm
    list_display = ["name", "merchant", "host", "state", "failing_since", "paused_at"]
    search_fields = ["name", "address"]
    readonly_fields = ["state", "failing_since", "paused_at", "probe_at", "created_at"]
    fields = ["merchant", "name", "place", "address", "api_key", "timeout", *readonly_fields]

    def get_consequences(self, request, form, formsets):
        return consequences.change_server(form.instance) if {"place", "address"} & set(form.changed_data) else []

    def save_model(self, request, obj, form, change):
        save_account(obj)


class PackagedTemplateInline(NamedFields, admin.TabularInline):
    model = PackagedTemplate
    extra = 1


@admin.register(LicensePackage)
class LicensePackageAdmin(Owned):
    list_display = ["name", "merchant", "account", "product_number", "start_date"]
    list_select_related = ["merchant", "account"]
    search_fields = ["name", "product_number"]
    autocomplete_fields = ["merchant", "account"]
    inlines = [PackagedTemplateInline]


@admin.register(Deactivation)
class DeactivationAdmin(RetryableAdmin):
    list_display = ["item", "status", "reason", "attempts", "created_at", "due_at", "ended_at"]
    list_filter = ["status"]
    list_select_related = ["item__order"]
