from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.html import format_html

from merchants.admin import NarrowSave, NotMade
from pools.imports import import_keys
from pools.models import KeyBatch, LicenseKey, LicensePool
from pools.reading import KeyFileError, parse_keys
from pools.replenishment import rearm


class KeyFileForm(forms.Form):
    file = forms.FileField(required=False, help_text="UTF-8 text, one key a line.")
    text = forms.CharField(label="or pasted", widget=forms.Textarea, required=False)
    note = forms.CharField(max_length=500, required=False)

    def clean(self):
        data = super().clean() or {}
        if bool(data.get("file")) == bool(data.get("text")):
            raise forms.ValidationError("Choose a file of at most 64 MiB, or paste the keys.")
        try:
            data["keys"] = parse_keys(data["file"].read() if data.get("file") else data["text"].encode())
        except KeyFileError as error:
            lines = [f"Line {number} {problem}." for number, problem in error.lines.items()]
            raise forms.ValidationError([str(error), *lines[:50]]) from error
        return data


@admin.register(LicensePool)
class LicensePoolAdmin(NarrowSave, admin.ModelAdmin):
    list_display = ["name", "merchant", "threshold", "notified"]
    list_filter = ["notified", "merchant"]
    list_select_related = ["merchant"]
    search_fields = ["name", "merchant__name"]
    autocomplete_fields = ["merchant"]
    readonly_fields = ["stock", "notified", "created_at", "add_keys_link"]

    def get_readonly_fields(self, request, obj=None):
        # Products and orders of the merchant refer to it.
        return [*self.readonly_fields, "merchant"] if obj else self.readonly_fields

    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        if "threshold" in form.changed_data:
            rearm(obj)

    def get_urls(self):
        add_keys = path("<int:pk>/keys/", self.admin_site.admin_view(self.add_keys), name="pools_licensepool_keys")
        return [add_keys, *super().get_urls()]

    @admin.display(description="available")
    def stock(self, pool):
        return f"{pool.keys.available().filter(position__gte=pool.head_hint).count():,}"

    @admin.display(description="add keys")
    def add_keys_link(self, pool):
        if pool.pk is None:
            return "once the pool is saved"
        return format_html(
            '<a href="{}">Upload or paste keys</a>', reverse("admin:pools_licensepool_keys", args=[pool.pk])
        )

    def add_keys(self, request, pk):
        pool = get_object_or_404(LicensePool, pk=pk)
        if not self.has_change_permission(request, pool):
            raise PermissionDenied
        form = KeyFileForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            file = form.cleaned_data["file"]
            result = import_keys(
                pool,
                form.cleaned_data["keys"],
                by=str(request.user),
                file_name=file.name if file else "",
                note=form.cleaned_data["note"],
            )
            messages.success(request, f"{result.imported:,} keys added to the pool “{pool}”.")
            return redirect("admin:pools_licensepool_change", pool.pk)

        context = self.admin_site.each_context(request) | {
            "title": f"Add keys to {pool}",
            "opts": self.opts,
            "pool": pool,
            "form": form,
        }
        return render(request, "admin/pools/licensepool/add_keys.html", context)


@admin.register(KeyBatch)
class KeyBatchAdmin(NotMade, admin.ModelAdmin):
    list_display = ["pool", "key_count", "file_name", "imported_by", "imported_at"]
    list_filter = ["pool"]
    list_select_related = ["pool"]
    readonly_fields = ["pool", "key_count", "file_name", "imported_by", "imported_at"]
    actions = ["withdraw_rest"]

    @admin.action(description="Withdraw the keys of these batches that were not issued", permissions=["change"])
    def withdraw_rest(self, request, batches):
        count = LicenseKey.objects.filter(batch__in=batches).withdraw()
        self.message_user(request, f"{count:,} keys withdrawn: they will never be issued.")


@admin.register(LicenseKey)
class LicenseKeyAdmin(NotMade, admin.ModelAdmin):
    list_display = ["masked", "pool", "status", "item", "issued_at", "withdrawn_at"]
    list_filter = ["pool"]
    list_select_related = ["pool", "item__order"]
    show_full_result_count = False
    ordering = ["pk"]
    fields = ["masked", "pool", "batch", "status", "item", "unit", "issued_at", "withdrawn_at"]
    readonly_fields = ["masked", "pool", "batch", "status", "item", "unit", "issued_at", "withdrawn_at"]
    actions = ["withdraw"]

    @admin.display(description="key")
    def masked(self, key):
        return f"••••{key.hint}"

    @admin.action(description="Withdraw these keys if they were not issued", permissions=["change"])
    def withdraw(self, request, keys):
        self.message_user(request, f"{keys.withdraw():,} keys withdrawn: they will never be issued.")
