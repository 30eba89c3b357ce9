import re
from collections.abc import Iterable

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import Product
from portal.pools.forms import RecipientsField

MAX_PRODUCTS = 50


class ProductsField(forms.CharField):
    """Products, one per line: the SKU, then the name."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def clean(self, value):
        lines = [line.strip() for line in super().clean(value).splitlines() if line.strip()]
        if len(lines) > MAX_PRODUCTS:
            raise forms.ValidationError(
                gettext("A request can have at most {max_products} products.").format(max_products=MAX_PRODUCTS)
            )
        products = [self.clean_product(line) for line in lines]
        if len({product["sku"] for product in products}) < len(products):
            raise forms.ValidationError(gettext("Enter each SKU only once."))
        return products

    def clean_product(self, line: str) -> dict[str, str]:
        sku, _, name = line.partition(" ")
        product = {"sku": sku, "name": name.strip() or sku}
        try:
            Product(**product).clean_fields(exclude=["merchant", "quantity_rule"])
        except forms.ValidationError as error:
            raise forms.ValidationError([f"“{line[:80]}”: {message}" for message in error.messages]) from error
        return product


class SetupForm(forms.Form):
    products = ProductsField(help_text=_("One per line: the SKU, a space and the name. Example: PHOTO-PRO Photo Pro"))
    pool_name = forms.CharField(
        label=_("Pool name"),
        max_length=200,
        help_text=_("A new or existing pool for the keys."),
    )
    file = forms.FileField(
        label=_("License file"),
        required=False,
        allow_empty_file=True,
        help_text=_("One key per line, at most 64 MiB. Optional: you can add keys later."),
    )
    # Not a CharField, which would clean the text: invalid characters are reported with their line numbers.
    text = forms.Field(
        label=_("Or paste the keys"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false"}),
    )
    column = forms.IntegerField(
        label=_("Key column"),
        required=False,
        min_value=1,
        max_value=1000,
        help_text=_("For tables: 1 for the first column. Leave empty to detect it."),
    )
    quantity_rule = forms.ChoiceField(label=_("Keys per order"), choices=Product.QuantityRule.choices)
    threshold = forms.IntegerField(
        label=_("Replenishment threshold"),
        min_value=0,
        max_value=1_000_000,
        initial=10,
        help_text=_("When this many keys are left, the recipients get an e-mail."),
    )
    recipients = RecipientsField(
        label=_("Notice recipients"),
        help_text=_("E-mail addresses, separated by commas. Defaults to owners and managers."),
    )
    comment = forms.CharField(
        label=_("Anything else?"), required=False, max_length=4000, widget=forms.Textarea(attrs={"rows": 4})
    )

    def clean(self):
        data = super().clean() or {}
        if data.get("file") and data.get("text"):
            raise forms.ValidationError(gettext("Either choose a file or paste the keys, not both."))
        return data

    def split(self) -> tuple[Iterable[bytes], dict]:
        data = dict(self.cleaned_data)
        file, text = data.pop("file"), data.pop("text") or ""
        content = file.chunks() if file else [text.encode(errors="replace")]
        data["file_name"] = re.sub(r"[\x00-\x1f]", "", file.name)[-255:] if file else ""
        return content, data
