from typing import Any

from django import forms

from fulfillment.models import FulfillmentMethod
from merchants.models import Product
from pools.models import LicensePool

Source = FulfillmentMethod.Source


class ProductForm(forms.ModelForm):
    class Meta:
        model = Product
        fields = ["name", "sku", "quantity_rule"]
        help_texts = {"sku": "As your shop reports it."}
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "sku": forms.TextInput(attrs={"autocomplete": "off"}),
        }

    def clean_sku(self) -> str:
        sku = self.cleaned_data["sku"]
        if self.instance.merchant.products.exclude(pk=self.instance.pk).filter(sku=sku).exists():
            raise forms.ValidationError("Another product has this SKU.")
        return sku


class SourceForm(forms.Form):
    """One more source for a product: those that it has not yet."""

    source = forms.ChoiceField(label="Add a source")

    def __init__(self, product: Product, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        used = product.fulfillment_methods.all()
        self.pools = product.merchant.pools.exclude(fulfillment_methods__in=used).order_by("name")
        choices = [(str(pool.pk), f"Pool “{pool}”") for pool in self.pools]
        if not used.filter(source=Source.MANUAL).exists():
            choices.append((Source.MANUAL.value, "A person, who is asked by e-mail and enters the codes"))
        self.fields["source"].choices = choices  # type: ignore[attr-defined]

    def get_source(self) -> tuple[str, LicensePool | None]:
        chosen = self.cleaned_data["source"]
        if chosen == Source.MANUAL:
            return Source.MANUAL, None
        return Source.POOL, self.pools.get(pk=chosen)
