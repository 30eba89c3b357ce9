from typing import Any

from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from pools.allocation import apply_settings
from pools.forms import StaffUploadForm
from pools.models import KeyBatch, KeyImport, LicenseKey, LicensePool
from pools.uploads import begin
from pools.withdrawal import describe_withdrawal, withdraw
from portal.staff import consequences
from portal.staff.confirmation import confirmed_action
from portal.staff.large_tables import LargeTable
from portal.staff.merchants import FirstChoicesFilter, MerchantFilter, NarrowSave, NoAddOrDelete
from work.bodies import takes_files
from work.stored_texts import show_stored


def describe_import(key_import: KeyImport) -> str:
    kinds = {
        "repeated": gettext("repeated"),
        "already_in_pool": gettext("already in pool"),
        "already_in_other_pools": gettext("already in other pools"),
    }
    counts = {text: key_import.preview[kind]["count"] for kind, text in kinds.items()}
    skipped = ", ".join(f"{intcomma(count)} {text}" for text, count in counts.items() if count)
    count = key_import.preview["new"]
    added = ngettext(
        "Added {count} key to the pool “{pool}”.", "Added {count} keys to the pool “{pool}”.", count
    ).format(count=intcomma(count), pool=key_import.pool)
    return gettext("{added} Skipped: {skipped}.").format(added=added, skipped=skipped) if skipped else added


class StockFilter(admin.SimpleListFilter):
    title = _("stock")
    parameter_name = "stock"

    def lookups(self, request, model_admin):
        return [("empty", gettext("empty")), ("low", gettext("low"))]

    def queryset(self, request, queryset):
        """As the desk counts: without pools that never had keys."""
        if self.value() == "empty":
            return queryset.in_use().filter(available__lte=0)
        if self.value() == "low":
            return queryset.in_use().filter(available__gt=0, available__lte=F("threshold"))
        return queryset


@admin.register(LicensePool)
class LicensePoolAdmin(NarrowSave, admin.ModelAdmin):
    list_display = ["name", "merchant", "available", "threshold", "notified"]
    list_filter = [StockFilter, "notified", ("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    search_fields = ["name", "merchant__name"]
    autocomplete_fields = ["merchant"]
    readonly_fields = ["stock", "notified", "created_at", "add_keys_link"]

    def get_readonly_fields(self, request, obj=None):
        # The merchant of a pool can't change, because its products and orders refer to the pool.
        return [*self.readonly_fields, "merchant"] if obj else self.readonly_fields

    def get_consequences(self, request, form, formsets):
        return consequences.change_reserve(form.instance) if "reserve" in form.changed_data else []

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        apply_settings(form.instance, form.changed_data, actor=str(request.user))

    def get_urls(self):
        add_keys = path("<int:pk>/keys/", self.admin_site.admin_view(self.add_keys), name="pools_licensepool_keys")
        return [add_keys, *super().get_urls()]

    def get_queryset(self, request):
        pools: Any = super().get_queryset(request)
        return pools.with_stock()

    @admin.display(description=_("available"))
    def available(self, pool):
        return intcomma(pool.available)

    @admin.display(description=_("available"))
    def stock(self, pool):
        return intcomma(pool.keys.available().filter(position__gte=pool.head_hint).count())

    @admin.display(description=_("add keys"))
    def add_keys_link(self, pool):
        if pool.pk is None:
            return gettext("Save the pool first")
        url = reverse("admin:pools_licensepool_keys", args=[pool.pk])
        return format_html('<a href="{}">{}</a>', url, gettext("Upload or paste keys"))

    @method_decorator(takes_files)
    def add_keys(self, request, pk):
        pool = get_object_or_404(LicensePool, pk=pk)
        if not self.has_change_permission(request, pool):
            raise PermissionDenied
        form = StaffUploadForm(request.POST, request.FILES) if request.method == "POST" else StaffUploadForm()
        if form.is_valid():
            key_import = begin(pool, actor=str(request.user), confirmed=True, **form.content())
            if key_import.status == KeyImport.Status.IMPORTED:
                messages.success(request, describe_import(key_import))
                for warning in key_import.preview["warnings"]:
                    messages.warning(request, show_stored(warning))
            elif not key_import.error:
                messages.info(
                    request,
                    gettext("Importing the keys. The batch appears under “{pool}” when it is done.").format(pool=pool),
                )
            else:
                problems = key_import.preview.get("problems", {})
                lines = [
                    gettext("Line {number} {problem}.").format(number=number, problem=show_stored(problem))
                    for number, problem in problems.items()
                ]
                form.add_error(None, [show_stored(key_import.error), *lines[:50]])
            if not key_import.error:
                return redirect("admin:pools_licensepool_change", pool.pk)

        context = {
            "title": gettext("Add keys to {pool}").format(pool=pool),
            "opts": self.opts,
            "pool": pool,
            "form": form,
        }
        context |= self.admin_site.each_context(request)
        return render(request, "admin/pools/licensepool/add_keys.html", context)


@admin.register(KeyBatch)
class KeyBatchAdmin(NoAddOrDelete, admin.ModelAdmin):
    list_display = ["pool", "key_count", "file_name", "note", "imported_by", "imported_at", "undone_at"]
    list_filter = [("pool", FirstChoicesFilter)]
    list_select_related = ["pool"]
    fields = readonly_fields = (
        *("pool", "key_count", "repeated", "already_in_pool", "already_in_other_pools", "unusable", "file_name"),
        *("note", "imported_by", "imported_at", "undone_by", "undone_at"),
    )
    actions = ["withdraw_rest"]

    @admin.action(description=_("Withdraw unissued keys of selected batches"), permissions=["change"])
    @confirmed_action(consequences.withdraw_batches, button=_("Withdraw"), danger=True)
    def withdraw_rest(self, request, batches):
        count = withdraw(LicenseKey.objects.filter(batch__in=batches), actor=str(request.user))
        self.message_user(request, describe_withdrawal(count))


@admin.register(LicenseKey)
class LicenseKeyAdmin(LargeTable, NoAddOrDelete, admin.ModelAdmin):
    list_display = ["masked", "pool", "status", "item", "issued_at", "withdrawn_at"]
    list_filter = [("pool", FirstChoicesFilter)]
    list_select_related = ["pool", "item__order"]
    ordering = ["pk"]
    fields = readonly_fields = ("masked", "pool", "batch", "status", "item", "unit", "issued_at", "withdrawn_at")
    actions = ["withdraw"]

    @admin.display(description=_("key"))
    def masked(self, key):
        return f"••••{key.hint}"

    @admin.action(description=_("Withdraw selected unissued keys"), permissions=["change"])
    @confirmed_action(consequences.withdraw_keys, button=_("Withdraw"), danger=True)
    def withdraw(self, request, keys):
        count = withdraw(keys, actor=str(request.user))
        self.message_user(request, describe_withdrawal(count))
