from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import FulfillmentMethod
from merchants.models import Product
from orders.kinds import SOURCES


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
