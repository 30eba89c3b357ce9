from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import FulfillmentMethod
from merchants.models import Merchant, Product
from orders.kinds import SOURCES
from pools.forms import KeysForm
from pools.models import LicensePool
from portal.pools.forms import RecipientsField


class ProductForm(forms.ModelForm):
    class Meta:
        model = Product
        fields = ["name", "sku", "quantity_rule", "instructions"]
        help_texts = {"sku": _("The product ID that your shop reports.")}
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "sku": forms.TextInput(attrs={"autocomplete": "off"}),
            "instructions": forms.Textarea(attrs={"rows": 5}),
        }

    def clean_sku(self) -> str:
        sku = self.cleaned_data["sku"]
        if self.instance.merchant.products.exclude(pk=self.instance.pk).filter(sku=sku).exists():
            raise forms.ValidationError(gettext("Another product has this SKU."))
        return sku

    def clean_instructions(self) -> str:
        return self.cleaned_data["instructions"].replace("\r\n", "\n")


class StockForm(KeysForm):
    """The pool of a new product and its first keys."""

    NEW = "new"

    keys_required = False
    field_order = ["pool", "text", "file", "threshold", "recipients"]

    pool = forms.ChoiceField(label=_("Its codes come from"), required=False, initial=NEW)
    threshold = forms.IntegerField(
        label=_("Notice when this many keys are left"), required=False, min_value=0, max_value=1_000_000
    )
    recipients = RecipientsField(
        label=_("Recipients of the notice"),
        help_text=_("E-mail addresses, separated by commas. Empty: all owners and managers."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, merchant: Merchant, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.merchant = merchant
        pools = [(str(pk), gettext("The pool “{name}”").format(name=name)) for pk, name in self._pools()]
        self.fields["pool"].choices = [  # type: ignore[attr-defined]
            (self.NEW, gettext("A new pool, named after the product")),
            *pools,
            ("", gettext("Another source, which I add next")),
        ]
        self.fields["threshold"].help_text = _("For a new pool.")
        self.fields["threshold"].initial = LicensePool._meta.get_field("threshold").default
        self.fields["text"].label = _("First license keys")
        self.fields["text"].help_text = _("Optional. One per line.")
        self.fields["file"].label = _("Or a file with keys")

    def _pools(self) -> Any:
        return self.merchant.pools.order_by("name").values_list("pk", "name")

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if data.get("pool") == "" and self.has_keys(data):
            self.add_error("pool", gettext("Choose the pool for these keys."))
        return data

    @staticmethod
    def has_keys(data: dict[str, Any]) -> bool:
        return bool(data.get("file") or (data.get("text") or "").strip())

    def refuse_used_name(self, name: str) -> None:
        """Add an error if the new pool would have the name of another."""
        if self.cleaned_data.get("pool") == self.NEW and self.merchant.pools.filter(name=name).exists():
            self.add_error(
                "pool",
                gettext("You already have a pool “{name}”. Choose it, or another product name.").format(name=name),
            )

    def get_pool(self, name: str) -> LicensePool | None:
        """Return the chosen pool. A new one is unsaved."""
        chosen = self.cleaned_data["pool"]
        if chosen == self.NEW:
            settings = {field: self.cleaned_data[field] for field in ("threshold", "recipients")}
            given = {field: value for field, value in settings.items() if value not in (None, [])}
            return LicensePool(merchant=self.merchant, name=name, **given)
        return self.merchant.pools.get(pk=chosen) if chosen else None

    def get_keys(self) -> dict[str, Any] | None:
        return self.content() if self.has_keys(self.cleaned_data) else None

    def refuse_keys(self, reason: str) -> None:
        self.add_error("file" if self.cleaned_data["file"] else "text", reason)


class SourceForm(forms.Form):
    """Adds a source to a product. Offers those that it doesn't have yet."""

    source = forms.ChoiceField(label=_("Add a source"))

    def __init__(self, product: Product, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offered = {method.kind.key: method for method in get_offered_sources(product)}
        choices = [(key, method.kind.choice) for key, method in self.offered.items()]
        self.fields["source"].choices = choices  # type: ignore[attr-defined]

    def get_source(self) -> FulfillmentMethod:
        """Return the chosen source, unsaved."""
        return self.offered[self.cleaned_data["source"]]


def get_offered_sources(product: Product) -> list[FulfillmentMethod]:
    """Return unsaved methods for the sources that the product doesn't have yet."""
    used = {method.kind.key for method in product.fulfillment_methods.with_places()}
    offered = [
        kind.make_method(product, place) for kind in SOURCES.values() for place in kind.choices(product.merchant)
    ]
    return [method for method in offered if method.kind.key not in used]
