from typing import Any

from django import forms

from fulfillment.models import FulfillmentMethod
from merchants.models import Product

Source = FulfillmentMethod.Source


class ProductForm(forms.ModelForm):
    class Meta:
        model = Product
        fields = ["name", "sku", "quantity_rule", "instructions"]
        help_texts = {"sku": "As your shop reports it."}
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "sku": forms.TextInput(attrs={"autocomplete": "off"}),
            "instructions": forms.Textarea(attrs={"rows": 5}),
        }

    def clean_sku(self) -> str:
        sku = self.cleaned_data["sku"]
        if self.instance.merchant.products.exclude(pk=self.instance.pk).filter(sku=sku).exists():
            raise forms.ValidationError("Another product has this SKU.")
        return sku

    def clean_instructions(self) -> str:
        return self.cleaned_data["instructions"].replace("\r\n", "\n")


class SourceForm(forms.Form):
    """One more source for a product: those that it has not yet."""

    source = forms.ChoiceField(label="Add a source")

    def __init__(self, product: Product, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        used = product.fulfillment_methods.all()
        self.pools = product.merchant.pools.exclude(fulfillment_methods__in=used).order_by("name")
        self.services = product.merchant.web_services.exclude(fulfillment_methods__in=used)
        self.packages = product.merchant.license_packages.exclude(fulfillment_methods__in=used)
        choices = [(f"pool {pool.pk}", f"Pool “{pool}”") for pool in self.pools]
        choices += [(f"web_service {service.pk}", f"Web service “{service}”") for service in self.services]
        choices += [(f"netlicensing {package.pk}", f"NetLicensing “{package}”") for package in self.packages]
        if not used.filter(source=Source.MANUAL).exists():
            choices.append((Source.MANUAL.value, "A person, who is asked by e-mail and enters the codes"))
        self.fields["source"].choices = choices  # type: ignore[attr-defined]

    def get_source(self) -> dict[str, Any]:
        """What chains.add_source is to be called with."""
        source, _, pk = self.cleaned_data["source"].partition(" ")
        if source == Source.POOL:
            return {"source": source, "pool": self.pools.get(pk=pk)}
        if source == Source.WEB_SERVICE:
            return {"source": source, "web_service": self.services.get(pk=pk)}
        if source == Source.NET_LICENSING:
            return {"source": source, "license_package": self.packages.get(pk=pk)}
        return {"source": source}
