from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.shortcuts import render

from merchants.models import ApiKey, CheckoutPage, Member, Merchant, User


class NarrowSave:
    """Saving writes what was changed in the form, and nothing else: payments and imports work on the same rows."""

    def save_model(self, request, obj, form, change):
        if not change:
            obj.save()
        elif form.changed_data:
            obj.save(update_fields=form.changed_data)


class NotMade(NarrowSave):
    """Rows come from the system, and stay."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class ReadOnly(NotMade):
    """Rows of the past: there to be looked at."""

    def has_change_permission(self, request, obj=None):
        return False


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    ordering = ["email"]
    list_display = ["email", "first_name", "last_name", "is_staff", "is_active"]
    search_fields = ["email", "first_name", "last_name"]
    fieldsets = [
        (None, {"fields": ["email", "password"]}),
        ("Person", {"fields": ["first_name", "last_name"]}),
        ("May", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "usable_password", "password1", "password2"]})]


class MemberInline(admin.TabularInline):
    model = Member
    autocomplete_fields = ["user"]
    extra = 0


class CheckoutPageInline(admin.TabularInline):
    model = CheckoutPage
    extra = 0


@admin.register(Merchant)
class MerchantAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    inlines = [CheckoutPageInline, MemberInline]


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=ApiKey.Scope.choices, widget=forms.CheckboxSelectMultiple, initial=ApiKey.Scope.values
    )

    class Meta:
        model = ApiKey
        fields = ["merchant", "name", "scopes", "revoked_at"]


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    form = ApiKeyForm
    list_display = ["name", "merchant", "prefix", "scopes", "last_used_at", "revoked_at"]
    list_filter = ["merchant"]
    list_select_related = ["merchant"]
    autocomplete_fields = ["merchant"]
    readonly_fields = ["prefix", "created_at", "last_used_at"]

    def save_model(self, request, obj, form, change):
        if change:
            super().save_model(request, obj, form, change)
            return
        key, request.new_key_text = ApiKey.objects.create_key(
            merchant=obj.merchant, name=obj.name, scopes=obj.scopes, revoked_at=obj.revoked_at
        )
        obj.pk = key.pk

    def response_add(self, request, obj, post_url_continue=None):
        # Rendered, not redirected to: the text exists in this answer only.
        context = self.admin_site.each_context(request) | {
            "title": "API key made",
            "opts": self.opts,
            "key": obj,
            "text": request.new_key_text,
        }
        return render(request, "admin/merchants/apikey/made.html", context)

    def has_delete_permission(self, request, obj=None):
        return False  # revoke it: the history of orders speaks of it
