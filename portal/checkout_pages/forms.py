from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import CheckoutPage


class CheckoutPageForm(forms.ModelForm):
    class Meta:
        model = CheckoutPage
        fields = ["code", "name"]
        help_texts = {
            "code": _("What your shop reports as the checkout page. Payments that name none use “main”."),
            "name": _("Shown in lists and on order pages. Defaults to the code."),
        }
        widgets = {
            "code": forms.TextInput(attrs={"autocomplete": "off"}),
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.instance.pk and self.instance.orders.exists():
            self.fields["code"].disabled = True
            self.fields["code"].help_text = _("Can’t be changed: orders from this page exist.")

    def clean_code(self) -> str:
        code = self.cleaned_data["code"]
        if self.instance.merchant.checkout_pages.exclude(pk=self.instance.pk).filter(code=code).exists():
            raise forms.ValidationError(gettext("Another checkout page has this code."))
        return code
