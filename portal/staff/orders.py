"""Orders in the admin, with the desk for support staff, subscriptions and refused reports."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from fulfillment.attention import RECENT, needing_attention, newest_needing_attention
from fulfillment.personal_data import PersonalData, describe_counts
from merchants.models import Merchant
from orders.models import Order, RefusedReport, Subscription
from orders.search import find, find_codes, get_shown_kinds, is_secret, look_up, text_for_url
from pools.models import LicenseKey
from portal.orders.desk import Desk, orders_for_desk
from portal.orders.page import ACTIONS, order_page, perform
from portal.search import open_at, read_text
from portal.staff.health import paid_today, troubled
from portal.staff.large_tables import LargeTable, LargeTableList
from portal.staff.merchants import MerchantFilter, NoAddOrDelete, ReadOnly

# The query parameter for what kind of thing a searched text is.
KIND_VAR = "by"


class CustomerDataForm(forms.Form):
    email = forms.RegexField(
        "@", label=_("E-mail address"), max_length=254, widget=forms.TextInput(attrs={"size": 40})
    )
    merchant = forms.ModelChoiceField(
        Merchant.objects.live().order_by("name"), required=False, empty_label=_("All merchants")
    )


class AttentionFilter(admin.SimpleListFilter):
    title = _("attention")
    parameter_name = "attention"

    def lookups(self, request, model_admin):
        recent = gettext("Last {days} days, without unmapped items").format(days=RECENT.days)
        return [("needed", gettext("Needs attention")), ("new", recent)]

    def queryset(self, request, queryset):
        if self.value() == "new":  # what the desk counts
            return troubled(queryset)
        # On its own, the filter is applied by the paginator.
        is_applied = self.value() == "needed" and not is_only_filter(request)
        return needing_attention(queryset) if is_applied else queryset


def is_only_filter(request) -> bool:
    return request.GET.keys() - {PAGE_VAR} == {AttentionFilter.parameter_name}


class PaymentFilter(admin.SimpleListFilter):
    title = _("payment")
    parameter_name = "paid"

    def lookups(self, request, model_admin):
        return [("today", gettext("Paid today"))]

    def queryset(self, request, queryset):
        return paid_today(queryset) if self.value() == "today" else queryset


class StatusFilter(admin.ChoicesFieldListFilter):
    def choices(self, changelist):
        """Name the first choice for what it lists: orders by the date of their payment."""
        first, *others = super().choices(changelist)
        return [first | {"display": gettext("With a payment")}, *others]


def is_by_payment(request) -> bool:
    """Whether the list has the orders with a payment, by its date. A search and other filters find all orders."""
    others = {SEARCH_VAR, AttentionFilter.parameter_name, "id__in"}
    return not others & request.GET.keys() and request.GET.get("status__exact", "paid") == "paid"


class OrderList(LargeTableList):
    def get_queryset(self, request, exclude_parameters=None):
        found = super().get_queryset(request, exclude_parameters)
        return found.filter(paid_at__isnull=False) if is_by_payment(request) else found

    def get_filters_params(self, params=None):
        filters = super().get_filters_params(params)
        filters.pop(KIND_VAR, None)
        return filters


@admin.register(Order)
class OrderAdmin(LargeTable, NoAddOrDelete, admin.ModelAdmin):
    list_display = ["number", "merchant", "status", "email", "customer_name", "paid_at"]
    list_filter = [AttentionFilter, ("status", StatusFilter), PaymentFilter, ("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    search_fields = ["number"]  # only shows the search box; get_search_results does the search
    search_help_text = _(
        "Order number (leading letters and zeros are optional), customer’s e-mail address or name, license text or its"
        " last 4 to 12 characters, or SKU. Ignores case, accents and punctuation."
    )

    def get_changelist(self, request, **kwargs):
        return OrderList

    def get_paginator(self, request, queryset, per_page, *args, **kwargs):
        paginator: Any = super().get_paginator(request, queryset, per_page, *args, **kwargs)
        if is_only_filter(request) and request.GET[AttentionFilter.parameter_name] == "needed":
            # Checking a thousand orders would take longer than the rest of the page, so this looks one page ahead.
            page = request.GET.get(PAGE_VAR, "1")
            ahead = per_page * (1 + int(page)) if page.isdecimal() and len(page) < 6 else 0
            paginator.MAX_ROWS = min(ahead, paginator.MAX_ROWS)
            paginator.keys = newest_needing_attention(paginator.MAX_ROWS)
            paginator.object_list = Order.objects.select_related(*self.list_select_related).order_by("-pk")
        return paginator

    def get_ordering(self, request):
        # Each is the order of an index. A small merchant's orders would otherwise be looked for among all orders.
        if is_by_payment(request):
            return ["-paid_at", "-pk"]
        return ["-reported_at", "-pk"] if "merchant__id__exact" in request.GET else ["-pk"]

    def get_urls(self):
        urls = [
            path(f"<int:pk>/{route}", self.at_desk(action), name=f"orders_order_change-{name}")
            for name, (route, action) in ACTIONS.items()
        ]
        customer = path("customer/", self.admin_site.admin_view(self.customer_data), name="orders_order_customer")
        return [*urls, customer, *super().get_urls()]

    @method_decorator(never_cache)
    def customer_data(self, request):
        """Show, export or erase a customer's data. The e-mail address never appears in the URL."""
        if not request.user.has_perm("orders.delete_order"):
            raise PermissionDenied
        form = CustomerDataForm(request.POST or None)
        context = self.admin_site.each_context(request) | {"title": gettext("Customer data"), "opts": self.opts}
        if not form.is_valid():
            return render(request, "admin/orders/order/customer_data.html", context | {"form": form})

        held = PersonalData(form.cleaned_data["email"], form.cleaned_data["merchant"])
        if "export" in request.POST:
            response = JsonResponse(held.export(), json_dumps_params={"ensure_ascii": False, "indent": 2})
            response["Content-Disposition"] = 'attachment; filename="customer-data.json"'
            return response
        if "erase" in request.POST:
            erased = held.erase(actor=f"{request.user}, support staff")
            self.message_user(
                request, gettext("Erased: {erased}.").format(erased=describe_counts(erased)), messages.SUCCESS
            )
            return redirect("admin:orders_order_changelist")
        context |= {"form": form, "counts": describe_counts(held.count()), "customer": held}
        return render(request, "admin/orders/order/customer_data.html", context)

    def at_desk(self, action: Callable, permission: str = "change") -> Callable:
        """Turn an action into an admin view for orders of any merchant."""

        @wraps(action)
        def view(request, pk, **kwargs):
            order = get_object_or_404(orders_for_desk(), pk=pk)
            if not getattr(self, f"has_{permission}_permission")(request, order):
                raise PermissionDenied
            desk = Desk(
                order,
                actor=f"{request.user}, support staff",
                prefix="admin:orders_order_change",
                key=pk,
                page="desk/admin_page.html",
                base="desk/admin_base.html",
                extra={"title": str(order)} | self.admin_site.each_context(request),
            )
            return perform(action, request, desk, **kwargs)

        return never_cache(self.admin_site.admin_view(view))

    def change_view(self, request, object_id, form_url="", extra_context=None):
        if not object_id.isdecimal() or len(object_id) > 18:
            raise Http404(gettext("This order doesn’t exist."))
        return self.at_desk(order_page, "view")(request, int(object_id))

    def get_search_results(self, request, queryset, search_term):
        """Find orders by the most certain kind of thing that the text can be, without license texts."""
        if not search_term.strip():
            return queryset, False
        kinds = get_shown_kinds(queryset, search_term, [request.GET.get(KIND_VAR, "")])
        found = look_up(queryset, kinds[0], search_term) if kinds else None
        return queryset.none() if found is None else found, False

    def changelist_view(self, request, extra_context=None):
        if request.method == "POST" and "search" in request.POST:
            return self._search(request, read_text(request))
        return super().changelist_view(request, extra_context)

    def _search(self, request, text: str):
        """Redirect to the search result without putting a license text, or what may be one, in the URL."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not text:
            return self._redirect_to_list()
        found = find(Order.objects.all(), text)
        kind = next(iter(found), None)
        if kind and is_secret(kind, text):
            orders = list(found[kind][:100])
            if len(orders) == 1:
                url = reverse("admin:orders_order_change", args=[orders[0].pk])
                return redirect(open_at(url, {}, find_codes(orders, kind, text).get(orders[0].pk)))
            return self._redirect_to_list(id__in=",".join(str(order.pk) for order in orders))

        key = LicenseKey.objects.with_text(text).first()
        if key and request.user.has_perm("pools.view_licensekey"):
            messages.info(
                request,
                gettext("This license key isn’t in any order. It is {status}.").format(status=gettext(key.status)),
            )
            return redirect("admin:pools_licensekey_change", key.pk)
        if kind:
            return self._redirect_to_list(q=text_for_url(kind, found[kind], text), **{KIND_VAR: kind.value})
        messages.warning(request, gettext("No order has this number, address, name, license text or SKU."))
        return self._redirect_to_list()

    def _redirect_to_list(self, **query: str):
        return redirect(f"{reverse('admin:orders_order_changelist')}?{urlencode(query)}")


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["reference", "merchant", "type", "period"]
    list_filter = ["type", ("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    search_fields = ["reference"]


@admin.register(RefusedReport)
class RefusedReportAdmin(LargeTable, ReadOnly, admin.ModelAdmin):
    list_display = ["order_number", "merchant", "kind", "status", "reason", "times", "last_at"]
    list_filter = ["kind", ("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    search_fields = ["order_number"]
    ordering = ["-last_at", "-pk"]
    exclude = ["digest"]
