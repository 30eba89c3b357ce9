"""What support staff work on that is composed of several rooms: orders, and web services by the portal's own form."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat
from django.http import Http404, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from fulfillment.attention import needing_attention
from fulfillment.models import Fulfillment
from fulfillment.personal_data import Held, tell
from fulfillment.sources.netlicensing.models import LicensePackage, LicensingAccount, PackagedTemplate
from fulfillment.sources.web_service.models import RequestParameter, WebService
from fulfillment.sources.web_service.parameters import CATALOGUE, add_defaults
from merchants.models import Merchant
from orders.models import Order, RefusedReport, Subscription
from orders.search import MAX_SEARCH, find, is_secret, quotable
from outbound.breaker import probe_now
from pools.models import LicenseKey
from portal.netlicensing.forms import AccountForm
from portal.netlicensing.own_service import save_account
from portal.orders.desk import Desk
from portal.orders.page import ACTS, order_page, perform
from portal.staff.merchants import Lean, NotMade, ReadOnly
from portal.web_services.forms import SECTIONS, WebServiceForm


class CustomerDataForm(forms.Form):
    email = forms.RegexField("@", label="E-mail address", max_length=254, widget=forms.TextInput(attrs={"size": 40}))
    merchant = forms.ModelChoiceField(Merchant.objects.order_by("name"), required=False, empty_label="All merchants")


class AttentionFilter(admin.SimpleListFilter):
    title = "attention"
    parameter_name = "attention"

    def lookups(self, request, model_admin):
        return [("needed", "Needs attention")]

    def queryset(self, request, queryset):
        return needing_attention(queryset) if self.value() == "needed" else queryset


@admin.register(Order)
class OrderAdmin(NotMade, admin.ModelAdmin):
    list_display = ["number", "merchant", "status", "email", "customer_name", "paid_at"]
    list_filter = [AttentionFilter, "status", "merchant"]
    list_select_related = ["merchant"]
    ordering = ["-pk"]
    show_full_result_count = False
    search_fields = ["number"]  # shows the search box; what it finds is get_search_results
    search_help_text = (
        "Order numbers (also without letters and zeros), customer’s address or name or a part, license text or its"
        " last four to twelve characters, SKU; case, accents and punctuation don’t matter"
    )

    def get_urls(self):
        acts = [
            path(f"<int:pk>/{address}", self.at_desk(act), name=f"orders_order_change-{name}")
            for name, (address, act) in ACTS.items()
        ]
        customer = path("customer/", self.admin_site.admin_view(self.customer_data), name="orders_order_customer")
        return [*acts, customer, *super().get_urls()]

    @method_decorator(never_cache)
    def customer_data(self, request):
        """Tell what is held about a customer, hand it over, or erase it. The address never stands in ours."""
        if not request.user.has_perm("orders.delete_order"):
            raise PermissionDenied
        form = CustomerDataForm(request.POST or None)
        context = self.admin_site.each_context(request) | {"title": "A customer’s data", "opts": self.opts}
        if not form.is_valid():
            return render(request, "admin/orders/order/customer_data.html", context | {"form": form})

        held = Held(form.cleaned_data["email"], form.cleaned_data["merchant"])
        if "export" in request.POST:
            response = JsonResponse(held.export(), json_dumps_params={"ensure_ascii": False, "indent": 2})
            response["Content-Disposition"] = 'attachment; filename="customer-data.json"'
            return response
        if "erase" in request.POST:
            erased = held.erase(by=f"{request.user}, support staff")
            self.message_user(request, f"Erased: {tell(erased)}.", messages.SUCCESS)
            return redirect("admin:orders_order_changelist")
        context |= {"form": form, "held": tell(held.count()), "asked": held}
        return render(request, "admin/orders/order/customer_data.html", context)

    def at_desk(self, act: Callable, permission: str = "change") -> Callable:
        """The act as a view of the admin, on an order of any merchant."""

        @wraps(act)
        def view(request, pk, **kwargs):
            order = get_object_or_404(Order.objects.select_related("merchant", "checkout_page"), pk=pk)
            if not getattr(self, f"has_{permission}_permission")(request, order):
                raise PermissionDenied
            desk = Desk(
                order,
                by=f"{request.user}, support staff",
                prefix="admin:orders_order_change",
                key=pk,
                page="desk/admin_page.html",
                base="desk/admin_base.html",
                extra={"title": str(order)} | self.admin_site.each_context(request),
            )
            return perform(act, request, desk, **kwargs)

        return never_cache(self.admin_site.admin_view(view))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not object_id.isdecimal() or len(object_id) > 18:
            raise Http404("There is no such order.")
        return self.at_desk(order_page, "view")(request, int(object_id))

    def get_search_results(self, request, queryset, search_term):
        """Orders by the surest kind of thing that the text is."""
        if not search_term.strip():
            return queryset, False
        found = find(queryset, search_term)
        shown = (orders for kind, orders in found.items() if not is_secret(kind, search_term))
        return next(shown, queryset.none()), False

    def changelist_view(self, request, extra_context=None):
        if request.method == "POST" and "search" in request.POST:
            return self._search(
                request, request.POST["search"].replace("\0", "").replace("\r\n", "\n")[:MAX_SEARCH].strip()
            )
        return super().changelist_view(request, extra_context)

    def _search(self, request, text: str):
        """Lead to what was searched for, without a license text, or what may be one, ever standing in an address."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not text:
            return self._redirect_to_list()
        found = find(Order.objects.all(), text)
        kind = next(iter(found), None)
        if kind and is_secret(kind, text):
            orders = found[kind][:100]
            if len(orders) == 1:
                return redirect("admin:orders_order_change", orders[0].pk)
            return self._redirect_to_list(id__in=",".join(str(order.pk) for order in orders))

        key = LicenseKey.objects.with_text(text).first()
        if key and request.user.has_perm("pools.view_licensekey"):
            messages.info(request, f"This license key is in no order; it is {key.status}.")
            return redirect("admin:pools_licensekey_change", key.pk)
        if kind:
            return self._redirect_to_list(q=quotable(kind, found[kind], text))
        messages.warning(request, "No order has this number, address, name, license text or SKU.")
        return self._redirect_to_list()

    def _redirect_to_list(self, **query: str):
        return redirect(f"{reverse('admin:orders_order_changelist')}?{urlencode(query)}")


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["reference", "merchant", "type", "period"]
    list_filter = ["type", "merchant"]
    list_select_related = ["merchant"]
    search_fields = ["reference"]


class AdminsWebServiceForm(WebServiceForm):
    """The same form, in which staff say whose service a new one is."""

    class Meta(WebServiceForm.Meta):
        fields = ["merchant", *WebServiceForm.Meta.fields]

    def clean(self) -> dict[str, Any]:
        merchant = self.cleaned_data.get("merchant")
        if merchant:
            self.instance.merchant = merchant
        return super().clean() if self.instance.merchant_id else self.cleaned_data


class RequestParameterForm(forms.ModelForm):
    parameter = forms.ChoiceField(
        choices=[("", "---------"), *((name, f"{name}: {one.description}") for name, one in CATALOGUE.items())]
    )

    class Meta:
        model = RequestParameter
        fields = ["position", "parameter", "name"]


class RequestParameterFormSet(forms.BaseInlineFormSet):
    """What Django leaves to the database: names that texts of the merchant's own have, and two that swap theirs."""

    def clean(self):
        super().clean()
        constants = RequestParameter.objects.filter(service=self.instance.pk, parameter="")
        names = set(constants.values_list("name", flat=True))
        parameters: set[str] = set()
        for form in self.forms:
            name, parameter = form.cleaned_data.get("name", ""), form.cleaned_data.get("parameter", "")
            if not parameter or form.cleaned_data.get("DELETE"):
                continue
            if name in names:
                form.add_error("name", "Another parameter has this name.")
            if parameter in parameters:
                form.add_error("parameter", "It is sent already.")
            names.add(name)
            parameters.add(parameter)

    def save_existing_objects(self, commit=True):
        # Each steps aside before it takes a place that another leaves.
        changed = [form.instance.pk for form in self.initial_forms if form.has_changed()]
        aside = Concat(Value("~"), Cast("pk", CharField()))
        RequestParameter.objects.filter(pk__in=changed).update(name=aside, parameter=aside)
        return super().save_existing_objects(commit)


class RequestParameterInline(admin.TabularInline):
    """Parameters of the catalogue, also those that only support staff add. Texts of the merchant's own are theirs."""

    model = RequestParameter
    form = RequestParameterForm
    formset = RequestParameterFormSet
    extra = 1

    def get_queryset(self, request):
        return super().get_queryset(request).exclude(parameter="")


@admin.register(WebService)
class WebServiceAdmin(Lean, admin.ModelAdmin):
    """All but the secrets."""

    form = AdminsWebServiceForm
    list_display = ["name", "merchant", "host", "state", "failing_since", "paused_at", "for_all_products"]
    list_filter = ["merchant"]
    list_select_related = ["merchant"]
    search_fields = ["name", "url"]
    autocomplete_fields = ["merchant"]
    readonly_fields = ["state", "failing_since", "paused_at", "probe_at", "rotated_at", "created_at"]
    inlines = [RequestParameterInline]

    def get_fieldsets(self, request, obj=None):
        sections = [(title, {"fields": names}) for title, names in SECTIONS.items()]
        return [(None, {"fields": ["merchant"]}), *sections, ("How it stands", {"fields": self.readonly_fields})]

    def get_readonly_fields(self, request, obj=None):
        return [*self.readonly_fields, "merchant"] if obj else self.readonly_fields

    def has_delete_permission(self, request, obj=None):
        return False  # its merchant does, once nothing takes codes from it

    def save_model(self, request, obj, form, change):
        if change:
            obj.save(update_fields=[*WebServiceForm.Meta.fields, "password"])
        else:
            obj.secret = WebService.make_secret()
            obj.save()

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        if not change and not form.instance.parameters.exists():
            add_defaults(form.instance)
        probe_now(form.instance)
        Fulfillment.objects.ask_again(form.instance)


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


@admin.register(RefusedReport)
class RefusedReportAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["order_number", "merchant", "kind", "status", "reason", "times", "last_at"]
    list_filter = ["kind", "merchant"]
    list_select_related = ["merchant"]
    search_fields = ["order_number"]
    ordering = ["-last_at", "-pk"]
    show_full_result_count = False
    exclude = ["digest"]
