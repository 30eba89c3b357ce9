from datetime import datetime, time
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet, Value
from django.forms.utils import flatatt
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from merchants.models import CheckoutPage, Merchant, Product
from orders.fields import EmailFormField
from orders.models import Order, OrderItem, OrderQuerySet
from orders.money import DECIMALS
from pools.reading import MAX_KEY_LENGTH
from work.sql import PreparedQuery

MAX_UNITS = 20  # code fields per page
ANY = ("", _("Any"))
# An order without any item of ours.
UNMAPPED = "unmapped"


def choices(states) -> list[tuple[Any, Any]]:
    return [ANY, *((value, _(value)) for value in states)]


class PlainSelect(forms.Select):
    """Renders without a template per option, which took a fifth of the list page's time."""

    def render(self, name, value, attrs=None, renderer=None):
        chosen = self.format_value(value)
        options = format_html_join(
            "",
            '<option value="{}"{}>{}</option>',
            ((key, mark_safe(" selected") if str(key) in chosen else "", label) for key, label in self.choices),
        )
        attributes = flatatt(self.build_attrs(self.attrs, {"name": name} | (attrs or {})))
        return format_html("<select{}>{}</select>", attributes, options)


class DateInput(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(format="%Y-%m-%d")


@PreparedQuery
def read_choices(merchant: int) -> QuerySet:
    """The merchant's products by name and checkout pages by code, each with the other text that its label shows."""
    products = Product.objects.filter(merchant=merchant).annotate(field=Value("product"))
    pages = CheckoutPage.objects.filter(merchant=merchant).annotate(field=Value("checkout_page"))
    choices = products.values("field", "pk", sorted=F("name"), text=F("sku"))
    return choices.union(pages.values("field", "pk", sorted=F("code"), text=F("name")), all=True).order_by("sorted")


class FilterForm(forms.Form):
    """The filters of the order list. Days are in the person’s time zone, and ranges include both ends."""

    status = forms.ChoiceField(choices=choices(Order.Status.values), widget=PlainSelect, required=False)
    fulfillment = forms.ChoiceField(
        choices=choices([*Fulfillment.Status.values, UNMAPPED]), widget=PlainSelect, required=False
    )
    delivery = forms.ChoiceField(
        label=_("Last e-mail"), choices=choices(Delivery.Status.values), widget=PlainSelect, required=False
    )
    product: forms.ModelChoiceField = forms.ModelChoiceField(
        None, empty_label=_("Any"), widget=PlainSelect, required=False
    )
    checkout_page: forms.ModelChoiceField = forms.ModelChoiceField(
        None, empty_label=_("Any"), widget=PlainSelect, required=False
    )
    reported_from = forms.DateField(widget=DateInput, required=False)
    reported_until = forms.DateField(widget=DateInput, required=False)
    paid_from = forms.DateField(widget=DateInput, required=False)
    paid_until = forms.DateField(widget=DateInput, required=False)

    def __init__(self, merchant: Merchant, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows: dict[str, list[Model]] = {"product": [], "checkout_page": []}
        for row in read_choices(merchant=merchant.pk):
            is_product = row.field == "product"
            choice = Product(row.pk, name=row.sorted, sku=row.text) if is_product else None
            rows[row.field].append(choice or CheckoutPage(row.pk, code=row.sorted, name=row.text))
        self.choose_from("product", merchant.products.all(), rows["product"])
        self.choose_from("checkout_page", merchant.checkout_pages.all(), rows["checkout_page"])

    def choose_from(self, name: str, queryset: QuerySet, rows: list[Model]) -> None:
        """Set a field's choices. The field would open a cursor for them."""
        field: Any = self.fields[name]
        field.queryset = queryset
        field.choices = [("", field.empty_label), *((row.pk, row) for row in rows)]

    @property
    def in_use(self) -> list[str]:
        """The labels of the filters that are set."""
        return [str(self[name].label) for name in self.fields if self.data.get(name)]

    @property
    def is_about_payment(self) -> bool:
        return bool(self.data.get("paid_from") or self.data.get("paid_until"))

    def apply(self, orders: OrderQuerySet) -> OrderQuerySet:
        """Return the orders that match the filters; none if a filter is invalid."""
        if not self.is_valid():
            return orders.none()

        given = {name: value for name, value in self.cleaned_data.items() if value}
        for name, value in given.items():
            orders = orders.filter(self.condition(name, value))
        return orders

    def condition(self, name: str, value: Any) -> Q | Exists:
        zone = timezone.get_current_timezone()
        match name:
            case "fulfillment":
                return fulfillment_is(value)
            case "delivery":
                return last_delivery_is(value)
            case "product":
                return Exists(OrderItem.objects.filter(order=OuterRef("pk"), product=value))
            case "reported_from" | "paid_from":
                return Q(**{f"{name.removesuffix('_from')}_at__gte": datetime.combine(value, time.min, zone)})
            case "reported_until" | "paid_until":
                return Q(**{f"{name.removesuffix('_until')}_at__lte": datetime.combine(value, time.max, zone)})
            case _:
                return Q(**{name: value})


def fulfillment_is(status: str) -> Q | Exists:
    """Orders with an item in this status. For `done`, all items must be done."""
    unfinished = Fulfillment.objects.filter(order=OuterRef("pk")).unfinished()
    if status == UNMAPPED:
        return Q(pk__in=Order.objects.unmapped().values("pk"))
    if status == Fulfillment.Status.DONE:
        return ~Exists(unfinished) & Exists(Fulfillment.objects.filter(item__order=OuterRef("pk")))
    return Exists(unfinished.filter(status=status))


def last_delivery_is(status: str) -> Exists:
    later = Delivery.objects.filter(order=OuterRef("order"), pk__gt=OuterRef("pk"))
    last = Delivery.objects.filter(~Exists(later), merchant=OuterRef("merchant"), order=OuterRef("pk"), status=status)
    return Exists(last)


class CustomerEmailForm(forms.Form):
    email = EmailFormField(
        label=_("E-mail address"),
        max_length=Order._meta.get_field("email").max_length,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
    )


class RefundForm(forms.Form):
    amount = forms.CharField()
    reference = forms.CharField(
        max_length=64, required=False, help_text=_("Optional. The shop’s number of the refund.")
    )
    # The remaining amount that the page showed. If it has changed, another refund was recorded since.
    left = forms.DecimalField(widget=forms.HiddenInput)

    def __init__(self, order: Order, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"] = forms.DecimalField(
            label=gettext("Amount in {currency}").format(currency=order.currency),
            min_value=0,
            max_digits=14,
            decimal_places=max(2, DECIMALS[order.currency]),
            localize=False,
        )

    def clean_amount(self) -> Decimal:
        # A free order can only be refunded with 0.
        if not self.cleaned_data["amount"] and self.initial["left"]:
            raise forms.ValidationError(gettext("Enter an amount greater than zero."))
        return self.cleaned_data["amount"]


class ReplaceForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"), max_length=200, required=False, help_text=_("Optional. Shown in the order’s history.")
    )


class CodesForm(forms.Form):
    """One field for each unit without a code. Units left empty keep waiting."""

    def __init__(self, item: OrderItem, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.units = {f"unit_{unit}": unit for unit in item.missing_units()[:MAX_UNITS]}
        for name, unit in self.units.items():
            self.fields[name] = forms.CharField(
                label=gettext("Activation code {unit}").format(unit=unit),
                required=False,
                max_length=MAX_KEY_LENGTH,
                widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off", "spellcheck": "false"}),
            )

    def clean(self) -> dict:
        data = super().clean() or {}
        if not any(data.values()):
            raise forms.ValidationError(gettext("Enter at least one activation code."))
        return data

    def codes(self) -> dict[int, str]:
        """The texts by unit, with line feeds as line ends, as in imported files."""
        given = {unit: self.cleaned_data[name] for name, unit in self.units.items() if self.cleaned_data[name]}
        return {unit: text.replace("\r\n", "\n") for unit, text in given.items()}
