"""Support staff's order page, composed of rows of several apps."""

from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse

from fulfillment.serializers import FOR_DISPLAY
from fulfillment.services import CodeRefused, enter_codes
from merchants.admin import NotMade, ReadOnly
from orders.models import Order, OrderItem, Refund, Subscription
from pools.imports import MAX_KEY_LENGTH
from pools.models import LicenseKey
from vault.fingerprints import fingerprint

# How many codes are entered on one page.
UNITS_AT_ONCE = 20


class CodesForm(forms.Form):
    """One field for each unit that lacks a code; those left empty go on waiting."""

    def __init__(self, item: OrderItem, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.units = {f"unit_{unit}": unit for unit in item.missing_units()[:UNITS_AT_ONCE]}
        for name, unit in self.units.items():
            self.fields[name] = forms.CharField(
                label=f"Activation code {unit}",
                required=False,
                max_length=MAX_KEY_LENGTH,
                widget=forms.Textarea(attrs={"rows": 3, "cols": 60, "autocomplete": "off"}),
            )

    def clean(self):
        data = super().clean() or {}
        if not any(data.values()):
            raise forms.ValidationError("Enter at least one activation code.")
        return data

    def codes(self) -> dict[int, str]:
        return {unit: self.cleaned_data[name] for name, unit in self.units.items() if self.cleaned_data[name]}


class RefundInline(ReadOnly, admin.TabularInline):
    model = Refund
    extra = 0


@admin.register(Order)
class OrderAdmin(NotMade, admin.ModelAdmin):
    list_display = ["number", "merchant", "status", "email", "customer_name", "paid_at"]
    list_filter = ["status", "merchant"]
    list_select_related = ["merchant"]
    ordering = ["-pk"]
    show_full_result_count = False
    search_fields = ["number"]  # shows the search box; what it finds is get_search_results
    search_help_text = "Order number (with or without letters and zeros), e-mail address, exact license text, or SKU"
    fields = [
        ("number", "status"),
        ("merchant", "checkout_page"),
        ("paid_at", "currency", "language"),
        ("email", "customer_name"),
        ("company", "country"),
        "additional_parameters",
    ]
    inlines = [RefundInline]

    def get_readonly_fields(self, request, obj=None):
        return [name for row in self.fields for name in ([row] if isinstance(row, str) else row)]

    def get_urls(self):
        enter = path(
            "<int:pk>/items/<int:item>/codes/",
            self.admin_site.admin_view(self.enter_codes),
            name="orders_order_enter_codes",
        )
        return [enter, *super().get_urls()]

    def get_search_results(self, request, queryset, search_term):
        """The first kind of thing that the text is: each is looked up in its own index."""
        text = search_term.strip()
        if not text:
            return queryset, False
        for found in (
            queryset.with_number(text),
            queryset.filter(email__iexact=text),
            queryset.with_code(text),
            queryset.filter(items__product__sku__iexact=text).distinct(),
        ):
            if found.exists():
                return found, False
        return queryset.none(), False

    def changelist_view(self, request, extra_context=None):
        if request.method == "POST" and "search" in request.POST:
            return self._search(request, request.POST["search"].replace("\0", "").strip())
        return super().changelist_view(request, extra_context)

    def _search(self, request, text: str):
        """Lead to what was searched for, without a license text, or what may be one, ever standing in an address."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        orders = Order.objects.with_code(text)[:100]
        if len(orders) == 1:
            return redirect("admin:orders_order_change", orders[0].pk)
        if orders:
            return self._redirect_to_list(id__in=",".join(str(order.pk) for order in orders))

        key = LicenseKey.objects.filter(fingerprint=fingerprint(text)).first()
        if key and request.user.has_perm("pools.view_licensekey"):
            messages.info(request, f"This license key is in no order; it is {key.status}.")
            return redirect("admin:pools_licensekey_change", key.pk)

        found, _ = self.get_search_results(request, Order.objects.all(), text)
        if found.exists():
            return self._redirect_to_list(q=text)
        messages.warning(request, "No order has this number, e-mail address, license text or SKU.")
        return self._redirect_to_list()

    def _redirect_to_list(self, **query: str):
        return redirect(f"{reverse('admin:orders_order_changelist')}?{urlencode(query)}")

    def change_view(self, request, object_id, form_url="", extra_context=None):
        orders = Order.objects.prefetch_related(*FOR_DISPLAY)
        order = orders.filter(pk=object_id).first() if object_id.isdecimal() else None
        context = {
            "shown_order": order,
            "deliveries": order.deliveries.order_by("pk") if order else [],
            "show_save": False,
            "show_save_and_continue": False,
        }
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def enter_codes(self, request, pk, item):
        item = get_object_or_404(OrderItem.objects.select_related("order", "product"), pk=item, order=pk)
        if not self.has_change_permission(request, item.order):
            raise PermissionDenied
        form = CodesForm(item, request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                enter_codes(item, form.codes(), by=str(request.user))
            except CodeRefused as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"Saved in {item.order}; the e-mail to {item.order.email} is on its way.")
                return redirect("admin:orders_order_change", pk)

        context = self.admin_site.each_context(request) | {
            "title": f"Enter activation codes for {item.product.name}",
            "opts": self.opts,
            "order": item.order,
            "form": form,
        }
        return render(request, "admin/orders/order/enter_codes.html", context)


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["reference", "merchant", "type", "period"]
    list_filter = ["type", "merchant"]
    list_select_related = ["merchant"]
    search_fields = ["reference"]
