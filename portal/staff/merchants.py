from collections.abc import Iterable
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from fulfillment.attention import RECENT
from merchants.forms import ApiKeyForm, NewMerchantForm
from merchants.models import ApiKey, CheckoutPage, Invitation, Member, Merchant, User
from merchants.onboarding import create_merchant
from merchants.team import TeamError, renew
from notices.api_keys import create_api_key, revoke_api_key
from portal.staff import consequences
from portal.staff.autocomplete import AutocompleteInline
from portal.staff.confirmation import ConfirmsConsequences, ask, confirmed_action, is_confirmed
from portal.staff.desk import read_summary
from portal.staff.health import server_troubles
from portal.staff.labels import NamedFields
from portal.staff.lists import StaffList
from portal.staff.navigation import object_url
from portal.team.invitations import send
from work.refusals import Refused

# Users have only one address, and the secrets of second factors must not be readable. We register our own GroupAdmin.
admin.site.unregister([EmailAddress, Authenticator, Group])


# Longer numbers aren't primary keys.
MAX_DIGITS = 19


class FirstChoicesFilter(admin.RelatedFieldListFilter):
    """Offers the first rows only. Thousands would be a long page; the page of each row links to its lists."""

    MAX_CHOICES = 50

    def field_choices(self, field, request, model_admin):
        rows = {row.pk: row for row in self.rows()}
        chosen = [int(pk) for pk in self.lookup_val or [] if pk.isdecimal() and len(pk) < MAX_DIGITS]
        missing = [pk for pk in chosen if pk not in rows]
        others = field.remote_field.model._default_manager.filter(pk__in=missing) if missing else []
        return [(row.pk, str(row)) for row in [*rows.values(), *others]]

    def rows(self) -> list[Any]:
        related: Any = self.field.remote_field
        return self.first(related.model._default_manager.all())

    def first(self, rows: QuerySet) -> list[Any]:
        return list(rows.order_by("name", "pk")[: self.MAX_CHOICES])

    @property
    def note(self) -> str:
        is_cut = len(self.lookup_choices) >= self.MAX_CHOICES
        return gettext("Not all are listed. The page of any other one links to its lists.") if is_cut else ""


class MerchantFilter(FirstChoicesFilter):
    def has_output(self):
        """Filter also if there is only one merchant, because the order of the list relies on it."""
        return bool(self.lookup_val) or super().has_output()


def without(media: forms.Media, names: Iterable[str]) -> forms.Media:
    scripts = [path for path in media._js if not any(name in path for name in names)]  # type: ignore[attr-defined]
    return forms.Media(css=media._css, js=scripts)  # type: ignore[attr-defined]


class Lean(ConfirmsConsequences, NamedFields):
    """Omits the scripts for slugs: they are a third of a page's size, and no page uses them."""

    view_on_site: Any = False  # staff aren't members of any merchant

    def get_changelist(self, request, **kwargs):
        return StaffList

    def get_fieldsets(self, request, obj=None):
        """On the page that adds a row, leave out what it doesn't have yet."""
        sections = super().get_fieldsets(request, obj)  # type: ignore[misc]
        missing = set() if obj else set(self.get_readonly_fields(request, obj))  # type: ignore[attr-defined]
        left = [
            (title, options | {"fields": [name for name in options["fields"] if name not in missing]})
            for title, options in sections
        ]
        return [(title, options) for title, options in left if options["fields"]]

    LOOKUPS = ("", "exact", "isnull", "in", "gte", "lt", "id__exact", "id__in")  # used by Django's list filters

    def lookup_allowed(self, lookup, value, request=None):
        """Allow filtering only by the list's filters and by id.

        Django would allow every column, so one could guess secret values character by character.
        """
        filters = [part[0] if isinstance(part, tuple) else part for part in self.list_filter]  # type: ignore[attr-defined]
        columns = {getattr(part, "parameter_name", part) for part in filters}
        column, _, kind = lookup.partition("__")
        is_offered = column in {"id", "pk", *columns} and kind in self.LOOKUPS
        return is_offered and super().lookup_allowed(lookup, value, request)  # type: ignore[misc]

    UNUSED = ("xregexp", "urlify", "prepopulate")

    @property
    def media(self):
        return without(super().media, self.UNUSED)  # type: ignore[misc]

    def render_change_form(self, request, context, *args, **kwargs):
        context["media"] = without(context["media"], ["admin/js/actions.js"])  # only lists have actions
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]


class Owned(Lean, admin.ModelAdmin):
    """Rows of a merchant. Their merchant can't be changed, and only merchants delete them, once nothing uses them."""

    list_filter = [("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    autocomplete_fields = ["merchant"]

    def get_readonly_fields(self, request, obj=None):
        return [*self.readonly_fields, "merchant"] if obj else self.readonly_fields

    def has_delete_permission(self, request, obj=None):
        return False


class DownFilter(admin.SimpleListFilter):
    title = _("attention")
    parameter_name = "attention"

    def lookups(self, request, model_admin):
        return [("new", gettext("Down in the last {days} days").format(days=RECENT.days))]

    def queryset(self, request, queryset):
        down = server_troubles()[queryset.model._meta.model_name].values("pk")
        return queryset.filter(pk__in=down) if self.value() == "new" else queryset


class ServerAdmin(Owned):
    list_filter = [DownFilter, *Owned.list_filter]


class OwnedForm(forms.ModelForm):
    """Adapts a form of the portal, so that staff can choose the merchant of a new row."""

    def clean(self) -> dict[str, Any]:
        if merchant := self.cleaned_data.get("merchant"):
            self.instance.merchant = merchant
        return super().clean() if self.instance.merchant_id else self.cleaned_data  # type: ignore[return-value]


class NarrowSave(Lean):
    """Saves only changed fields, because payments and imports update the same rows concurrently."""

    def save_model(self, request, obj, form, change):
        if not change:
            obj.save()
        elif form.changed_data:
            obj.save(update_fields=form.changed_data)


class NoAddOrDelete(NarrowSave):
    def has_add_permission(self, request, obj=None):
        return False

    has_delete_permission = has_add_permission


class ReadOnly(NoAddOrDelete):
    def has_change_permission(self, request, obj=None):
        return False


class NoSecondAdd:
    """Shows why a row couldn’t be added that another request added meanwhile, as a second click does."""

    def add_view(self, request, form_url="", extra_context=None):
        try:
            return super().add_view(request, form_url, extra_context)  # type: ignore[misc]
        except Refused as error:
            self.message_user(request, str(error), messages.ERROR)  # type: ignore[attr-defined]
            opts = self.opts  # type: ignore[attr-defined]
            return redirect(f"admin:{opts.app_label}_{opts.model_name}_changelist")


class Revocable:
    """Keys that can be revoked but never restored, because the person who revoked one relies on it."""

    opts: Any
    admin_site: Any
    change_form_template: Any = "admin/revocable.html"

    def get_revocation(self, row) -> tuple[str, list[str], str]:
        """The question, what it does, and what the person reads afterwards."""
        raise NotImplementedError

    def revoke(self, row, *, actor: str) -> None:
        raise NotImplementedError

    def may_revoke(self, request) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def get_urls(self):
        name = f"{self.opts.app_label}_{self.opts.model_name}_revoke"
        page = path("<int:pk>/revoke/", self.admin_site.admin_view(self.revoke_view), name=name)
        return [page, *super().get_urls()]  # type: ignore[misc]

    def render_change_form(self, request, context, *args, **kwargs):
        context["may_revoke"] = self.may_revoke(request)
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def revoke_view(self, request, pk):
        row = get_object_or_404(self.get_queryset(request), pk=pk)  # type: ignore[attr-defined]
        if not self.may_revoke(request):
            raise PermissionDenied
        page = object_url(type(row), pk)
        if row.revoked_at:
            return redirect(page)
        title, texts, done = self.get_revocation(row)
        # The answer is to the question only. When it was last used changes while software uses it.
        if not is_confirmed(request, [title]):
            return ask(
                self,
                request,
                texts,
                confirmed=[title],
                title=title,
                button=gettext("Revoke"),
                danger=True,
                row=row,
                cancel=page,
            )
        self.revoke(row, actor=str(request.user))
        self.log_change(request, row, "Revoked.")  # type: ignore[attr-defined]
        self.message_user(request, done, messages.SUCCESS)  # type: ignore[attr-defined]
        return redirect(page)


@admin.register(Group)
class GroupAdmin(Lean, DjangoGroupAdmin):
    """Only superusers can change groups, because staff could give themselves any permission."""

    filter_horizontal = ()

    def has_add_permission(self, request, obj=None):
        return request.user.is_superuser

    has_change_permission = has_delete_permission = has_add_permission


@admin.register(User)
class UserAdmin(Lean, DjangoUserAdmin):
    """Only superusers can change staff accounts and who is staff, because others could make themselves superusers."""

    RIGHTS = ["is_staff", "is_superuser", "groups", "user_permissions"]

    filter_horizontal = ()

    ordering = ["email"]
    list_display = ["email", "first_name", "last_name", "is_staff", "is_active"]
    search_fields = ["email", "first_name", "last_name"]
    readonly_fields = ["second_factors"]
    actions = ["remove_second_factors"]
    fieldsets = [
        (None, {"fields": ["email", "password", "second_factors"]}),
        (_("Person"), {"fields": ["first_name", "last_name"]}),
        (_("Permissions"), {"fields": ["is_active", *RIGHTS]}),
        (_("Dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [(None, {"fields": ["email", "usable_password", "password1", "password2"]})]

    def get_readonly_fields(self, request, obj=None):
        return self.readonly_fields if request.user.is_superuser else [*self.readonly_fields, *self.RIGHTS]

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request, obj=None):
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    @staticmethod
    def _may_touch(request, user: User | None) -> bool:
        return request.user.is_superuser or not (user and (user.is_staff or user.is_superuser))

    @admin.display(description=_("Second factors"))
    def second_factors(self, user):
        return ", ".join(str(authenticator) for authenticator in user.authenticator_set.order_by("pk")) or gettext(
            "none"
        )

    def get_consequences(self, request, form, formsets):
        return consequences.change_user(form.instance, form.changed_data)

    @admin.action(description=_("Remove all second factors (lost device)"), permissions=["change"])
    def remove_second_factors(self, request, queryset):
        if not all(self._may_touch(request, user) for user in queryset):
            self.message_user(
                request, gettext("Only superusers can remove second factors of support staff."), messages.ERROR
            )
            return None
        texts = consequences.remove_second_factors(queryset)
        if not is_confirmed(request, texts, queryset):
            title = gettext("Remove all second factors?")
            return ask(
                self,
                request,
                texts,
                rows=queryset,
                title=title,
                button=gettext("Remove"),
                danger=True,
            )
        for user in queryset:
            _, removed = user.authenticator_set.all().delete()
            self.log_change(request, user, f"Removed all second factors ({sum(removed.values())}).")
            self.message_user(
                request, gettext("{user} can now sign in with just the password.").format(user=user), messages.SUCCESS
            )
        return None


class MemberInline(AutocompleteInline):
    model = Member
    autocomplete_fields = ["user"]
    extra = 0
    view_on_site = False

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("user", "merchant")


class CheckoutPageInline(NamedFields, admin.TabularInline):
    model = CheckoutPage
    extra = 0
    view_on_site = False


@admin.register(Merchant)
class MerchantAdmin(NoSecondAdd, Lean, admin.ModelAdmin):
    list_display = ["name", "slug", "second_factor_required", "created_at"]
    search_fields = ["name", "slug"]
    inlines = [CheckoutPageInline, MemberInline]

    def get_queryset(self, request):
        return super().get_queryset(request).live()  # type: ignore[attr-defined]

    def get_form(self, request, obj=None, change=False, **kwargs):
        return super().get_form(request, obj, change, **kwargs if obj else kwargs | {"form": NewMerchantForm})

    def get_inlines(self, request, obj):
        return self.inlines if obj else []

    def get_fields(self, request, obj=None):
        fields = super().get_fields(request, obj)
        return [field for field in fields if field != "test"] if obj else fields

    def render_change_form(self, request, context, *args, **kwargs):
        if merchant := context["original"]:
            context |= read_summary(self.admin_site, request, merchant)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_consequences(self, request, form, formsets):
        merchant, texts = form.instance, []
        if "second_factor_required" in form.changed_data:
            texts += consequences.require_second_factor(merchant, merchant.second_factor_required)
        if "slug" in form.changed_data:
            texts += consequences.change_slug(merchant, form.initial["slug"])
        for formset in formsets:
            changed = [row for row in formset.initial_forms if row.has_changed() and row not in formset.deleted_forms]
            if formset.model is CheckoutPage:
                forbidden = [row.instance for row in changed if "delivery_allowed" in row.changed_data]
                for page in forbidden:
                    texts += [] if page.delivery_allowed else consequences.forbid_delivery(page)
            elif formset.model is Member:
                removed = [row.instance for row in formset.deleted_forms if row.instance.pk]
                replaced = [row.initial["user"] for row in changed if "user" in row.changed_data]
                removed += [Member(user=user) for user in User.objects.filter(pk__in=replaced)]
                added = [row for row in formset.extra_forms if row.has_changed() and row not in formset.deleted_forms]
                changes = [row.instance for row in [*changed, *added]]
                texts += consequences.change_members(merchant, removed, changes)
        return texts

    def save_model(self, request, obj, form, change):
        if change:
            super().save_model(request, obj, form, change)
            Merchant.objects.filter(live=obj).update(name=obj.name)
            return
        merchant, invitation, token = create_merchant(**form.cleaned_data, actor=request.user)
        obj.pk, obj.slug = merchant.pk, merchant.slug
        # E-mails are sent after the transaction.
        transaction.on_commit(lambda: self._invite(request, invitation, token))

    def _invite(self, request, invitation: Invitation, token: str) -> None:
        if not send(request, invitation, token):
            text = gettext("To resend it, select it in the list of invitations and choose “Resend the invitation”.")
            self.message_user(request, text, messages.WARNING)


@admin.register(Invitation)
class InvitationAdmin(ReadOnly, admin.ModelAdmin):
    actions = ["resend"]
    list_display = ["email", "merchant", "role", "invited_by", "sent_at", "expires_at", "accepted_at", "withdrawn_at"]
    list_filter = [("merchant", MerchantFilter)]
    list_select_related = ["merchant", "invited_by"]
    search_fields = ["email"]

    def has_resend_permission(self, request):
        return request.user.has_perm("merchants.change_invitation")

    @admin.action(description=_("Resend the invitation"), permissions=["resend"])
    @confirmed_action(consequences.resend_invitations, button=_("Resend"))
    def resend(self, request, queryset):
        for invitation in queryset:
            try:
                token = renew(invitation)
            except TeamError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                send(request, invitation, token)


class StaffApiKeyForm(ApiKeyForm):
    # Browsers show the portal's field in their own format, which can be that of 12 hours.
    expires_at = forms.SplitDateTimeField(  # type: ignore[assignment]
        label=_("Expires at"), required=False, widget=AdminSplitDateTime, help_text=_("Leave empty for no expiration.")
    )

    class Meta(ApiKeyForm.Meta):
        fields = ["merchant", *ApiKeyForm.Meta.fields]


class ExistingApiKeyForm(StaffApiKeyForm):
    test = scopes = None  # type: ignore[assignment]

    class Meta(ApiKeyForm.Meta):
        fields = ["name", "expires_at", "allowed_networks"]


@admin.register(ApiKey)
class ApiKeyAdmin(NoSecondAdd, Revocable, Lean, admin.ModelAdmin):
    """Merchant and scopes of a key can't be changed, because someone may know the text of an old key."""

    form = StaffApiKeyForm
    list_display = ["name", "merchant", "prefix", "scopes", "last_used_at", "expires_at", "revoked_at"]
    list_filter = [("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    autocomplete_fields = ["merchant"]
    readonly_fields = ["prefix", "created_at", "created_by", "last_used_at", "revoked_at", "revoked_by"]

    def get_changeform_initial_data(self, request):
        """Take the merchant from the list that it was added from."""
        listed = QueryDict(request.GET.get("_changelist_filters", ""))
        initial = super().get_changeform_initial_data(request)
        return {"merchant": listed["merchant__id__exact"], **initial} if "merchant__id__exact" in listed else initial

    def get_form(self, request, obj=None, change=False, **kwargs):
        return super().get_form(request, obj, change, **kwargs | {"form": ExistingApiKeyForm} if obj else kwargs)

    def get_readonly_fields(self, request, obj=None):
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "merchant", "scopes"] if obj else fields

    def get_revocation(self, row):
        title = gettext("Revoke the API key “{name}”?").format(name=row.name)
        return title, consequences.revoke_api_key(row), gettext("API key “{name}” revoked.").format(name=row.name)

    def revoke(self, row, *, actor):
        revoke_api_key(row, actor=actor)

    def get_consequences(self, request, form, formsets):
        return consequences.restrict_api_key(form.instance) if "allowed_networks" in form.changed_data else []

    def save_model(self, request, obj, form, change):
        if not change:
            key, request.new_key_text = create_api_key(**form.cleaned_data, actor=str(request.user))
            obj.pk, obj.prefix = key.pk, key.prefix
            return
        obj.save(update_fields=form.changed_data)

    def response_add(self, request, obj, post_url_continue=None):
        # Rendered instead of redirected, because the key's text exists only in this response.
        context = {"title": gettext("API key created"), "opts": self.opts, "key": obj, "text": request.new_key_text}
        context |= self.admin_site.each_context(request)
        return render(request, "admin/merchants/apikey/created.html", context)

    def has_delete_permission(self, request, obj=None):
        return False  # keys can only be revoked, because the history of orders mentions them
