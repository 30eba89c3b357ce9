import re
from collections import Counter
from contextlib import suppress
from functools import cache, partial

from django import forms
from django.contrib import admin, messages
from django.contrib.contenttypes.prefetch import GenericPrefetch
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms.models import BaseInlineFormSet
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.text import format_lazy
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST

from delivery.models import Delivery
from fulfillment import setup
from fulfillment.actions import RetryRefused, retry
from fulfillment.models import Fulfillment, SetupRequest
from fulfillment.product_sources import wake_waiting
from fulfillment.setup import SetupRefused
from fulfillment.sources.base import Source
from merchants.models import EmailTemplate, Product
from notices.models import MerchantNotice
from orders.kinds import SOURCES
from orders.models import OrderItem
from outbound.models import OutgoingRequest, Upstream
from portal.staff import consequences
from portal.staff.autocomplete import AutocompleteInline
from portal.staff.confirmation import ask, confirmed_action, is_confirmed
from portal.staff.large_tables import LargeTable
from portal.staff.merchants import FirstChoicesFilter, MerchantFilter, NarrowSave, ReadOnly
from webhooks.models import WebhookEndpoint, WebhookMessage


class MethodForm(forms.ModelForm):
    def has_changed(self):
        # Save a new source even if its form has only defaults.
        return self.instance.pk is None or super().has_changed()


class MethodFormSet(BaseInlineFormSet):
    kind: type[Source]

    def save_new(self, form, commit=True):
        form.instance.source = self.kind.code
        return super().save_new(form, commit)

    def clean(self):
        super().clean()
        # Includes the formsets of all other kinds.
        forms = {name.removesuffix("position") for name in self.data if re.fullmatch(r"\w+(-\d+)?-\d+-position", name)}
        kept = Counter(self.data[f"{form}position"] for form in forms if f"{form}DELETE" not in self.data)
        if twice := sorted(position for position, count in kept.items() if count > 1 and position):
            raise ValidationError(
                gettext("Two sources have the position {position}. Give each its own position.").format(
                    position=twice[0]
                )
            )


class MethodInline(AutocompleteInline):
    kind: type[Source]
    form = MethodForm
    extra = 0

    def get_queryset(self, request):
        return super().get_queryset(request).filter(source=self.kind.code)


@cache
def make_inline(kind: type[Source]) -> type[MethodInline]:
    model = kind.method_model
    fields = {
        "kind": kind,
        "model": model,
        "autocomplete_fields": [model.PLACE] if model.PLACE else [],
        "formset": type("FormSet", (MethodFormSet,), {"kind": kind}),
        "verbose_name": format_lazy(_("Source: {name}"), name=kind.name),
        "verbose_name_plural": format_lazy(_("Sources: {name}"), name=kind.name),
    }
    return type(f"{kind.__name__}Inline", (MethodInline,), fields)


@admin.register(Product)
class ProductAdmin(NarrowSave, admin.ModelAdmin):
    list_display = ["name", "sku", "merchant", "quantity_rule"]
    list_filter = [("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    search_fields = ["name", "sku"]
    autocomplete_fields = ["merchant"]

    def get_inlines(self, request, obj):
        return [make_inline(kind) for kind in SOURCES.values() if kind.selectable]

    def get_readonly_fields(self, request, obj=None):
        return ["merchant"] if obj else []

    def get_consequences(self, request, form, formsets):
        removed = [row.instance for formset in formsets for row in formset.deleted_forms if row.instance.pk]
        return consequences.remove_sources(form.instance, removed)

    def save_related(self, request, form, formsets, change):
        is_changed = any(formset.has_changed() for formset in formsets)
        super().save_related(request, form, formsets, change)
        if is_changed:
            wake_waiting(form.instance)


@admin.register(EmailTemplate)
class EmailTemplateAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["merchant", "product", "language", "subject", "saved_by", "saved_at"]
    list_filter = [("merchant", MerchantFilter), "language"]
    list_select_related = ["merchant", "product"]
    fields = ["merchant", "product", "language", "subject", "body"]
    autocomplete_fields = ["merchant", "product"]

    def has_add_permission(self, request, obj=None):
        return admin.ModelAdmin.has_add_permission(self, request)

    def save_model(self, request, obj, form, change):
        obj.body = obj.body.replace("\r\n", "\n")
        obj.saved_by = f"{request.user}, support staff"
        obj.save()


class RetryableAdmin(LargeTable, ReadOnly, admin.ModelAdmin):
    """Work that is tried again."""


@admin.register(Fulfillment)
class FulfillmentAdmin(RetryableAdmin):
    list_display = ["item", "status", "reason", "attempts", "due_at"]
    list_filter = ["status"]
    list_select_related = ["item__order"]
    actions = ["try_again"]

    def has_try_again_permission(self, request):
        return request.user.has_perm("fulfillment.change_fulfillment")

    @admin.action(description=_("Try again now"), permissions=["try_again"])
    @confirmed_action(consequences.retry_items, button=_("Retry"))
    def try_again(self, request, fulfillments):
        count = 0
        for fulfillment in fulfillments.unfinished().select_related("item__order"):
            with suppress(RetryRefused):
                retry(fulfillment.item, actor=f"{request.user}, support staff")
                count += 1
        self.message_user(
            request,
            ngettext(
                "{count} item will be retried within seconds.", "{count} items will be retried within seconds.", count
            ).format(count=count),
        )


@admin.register(Delivery)
class DeliveryAdmin(RetryableAdmin):
    list_display = ["order", "kind", "status", "recipient", "reason", "attempts", "sent_at"]
    list_filter = ["status", "kind"]
    list_select_related = ["order"]
    fields = ["order", "kind", "status", "recipient", "message_id", "reason", "attempts", "due_at", "sent_at"]


@admin.register(MerchantNotice)
class MerchantNoticeAdmin(RetryableAdmin):
    list_display = ["merchant", "kind", "subject", "created_at", "sent_at", "reason"]
    list_filter = ["kind"]
    list_select_related = ["merchant", "subject_type"]

    def get_queryset(self, request):
        in_orders = [OrderItem.objects.select_related("order"), Delivery.objects.select_related("order")]
        return super().get_queryset(request).prefetch_related(GenericPrefetch("subject", in_orders))


class AnswerForm(forms.Form):
    answer = forms.CharField(max_length=4000, widget=forms.Textarea(attrs={"rows": 5}))


@admin.register(SetupRequest)
class SetupRequestAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["pool_name", "merchant", "status", "asked_by", "created_at"]
    list_filter = ["status", ("merchant", MerchantFilter)]
    list_select_related = ["merchant", "asked_by"]
    ordering = ["-pk"]
    # Everything except the license file.
    fields = [
        *("merchant", "status", "created_at", "comment", "pool_name", "pool", "wanted_products", "quantity_rule"),
        *("threshold", "recipients", "license_file", "history"),
    ]
    readonly_fields = ["wanted_products", "license_file", "history"]
    change_form_template = "admin/fulfillment/setuprequest/change_form.html"

    def get_urls(self):
        urls = [
            path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"fulfillment_setuprequest_{name}")
            for name, view in (("apply", self.apply), ("answer", self.answer))
        ]
        return [*urls, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        context = {"answer_form": AnswerForm(), "may_act": self.may_act(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def may_act(self, request) -> bool:
        return request.user.has_perm("fulfillment.change_setuprequest")

    @admin.display(description=_("products"))
    def wanted_products(self, wanted):
        return render_to_string("admin/fulfillment/setuprequest/products.html", {"wanted": wanted})

    @admin.display(description=_("license file"))
    def license_file(self, wanted):
        return render_to_string("portal/setup/setup_file.html", {"wanted": wanted})

    @admin.display(description=_("history"))
    def history(self, wanted):
        return render_to_string("admin/fulfillment/setuprequest/history.html", {"wanted": wanted})

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def apply(self, request, pk):
        wanted = self.get_wanted(request, pk)
        is_closed = wanted.status != SetupRequest.Status.OPEN
        if is_confirmed(request, consequences.apply_request(wanted)) or (is_closed and request.method == "POST"):
            return self.close(request, pk, setup.apply, gettext("Setup applied. The merchant gets an e-mail."))
        if is_closed:
            return redirect("admin:fulfillment_setuprequest_change", pk)
        return ask(
            self,
            request,
            consequences.apply_request(wanted),
            title=gettext("Apply the request of {merchant}?").format(merchant=wanted.merchant),
            button=gettext("Apply"),
            row=wanted,
            cancel=reverse("admin:fulfillment_setuprequest_change", args=[pk]),
        )

    @method_decorator(require_POST)
    def answer(self, request, pk):
        form = AnswerForm(request.POST)
        if not form.is_valid():
            self.message_user(request, gettext("Enter an answer of up to 4,000 characters."), messages.ERROR)
            return redirect("admin:fulfillment_setuprequest_change", pk)
        answer = partial(setup.answer, text=form.cleaned_data["answer"])
        return self.close(request, pk, answer, gettext("Request answered. The merchant gets an e-mail."))

    def get_wanted(self, request, pk: int) -> SetupRequest:
        wanted = get_object_or_404(SetupRequest.objects.select_related("merchant"), pk=pk)
        if not self.may_act(request):
            raise PermissionDenied
        return wanted

    def close(self, request, pk, action, message):
        wanted = self.get_wanted(request, pk)
        try:
            action(wanted, actor=f"{request.user}, support staff")
        except SetupRefused as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, message)
        return redirect("admin:fulfillment_setuprequest_change", pk)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["merchant", "url", "state", "failing_since", "disabled_at", "disabled_reason"]
    list_filter = [("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    # Everything except the secrets.
    fields = [
        *("merchant", "url", "description", "events", "created_at", "rotated_at"),
        *("state", "failing_since", "disabled_at", "disabled_reason"),
    ]


@admin.register(WebhookMessage)
class WebhookMessageAdmin(RetryableAdmin):
    list_display = ["endpoint", "event", "event_id", "status", "reason", "attempts", "created_at", "due_at"]
    list_filter = ["status", "event"]
    list_select_related = ["endpoint"]


class UpstreamFilter(FirstChoicesFilter):
    def rows(self):
        return [upstream for kind in Upstream.kinds().values() for upstream in self.first(kind._default_manager.all())]


@admin.register(OutgoingRequest)
class OutgoingRequestAdmin(LargeTable, ReadOnly, admin.ModelAdmin):
    list_display = ["merchant", "called_at", "upstream", "outcome", "status_code", "url", "error"]
    list_filter = ["outcome", "is_test", ("upstream", UpstreamFilter), ("merchant", MerchantFilter)]
    list_select_related = ["merchant", *(f"upstream__{name}" for name in Upstream.kinds())]
