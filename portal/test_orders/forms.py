from typing import Any

from django import forms
from django.conf import settings
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import FulfillmentMethod
from merchants.models import CheckoutPage, Member, Merchant, Product
from portal.orders.forms import PlainSelect

MAX_QUANTITY = 10


class RecipientField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Member) -> str:
        return str(obj.user)


class SendForm(forms.Form):
    """A test order of one of the merchant's products to one of its members."""

    product = forms.ModelChoiceField(Product.objects.none(), empty_label=None, widget=PlainSelect)
    quantity = forms.IntegerField(min_value=1, max_value=MAX_QUANTITY, initial=1)
    recipient = RecipientField(
        Member.objects.none(),
        label=_("E-mail to"),
        empty_label=None,
        help_text=_("Test e-mails only go to members, in place of the customer."),
    )
    checkout_page = forms.ModelChoiceField(CheckoutPage.objects.none(), empty_label=None)
    language = forms.ChoiceField(choices=settings.LANGUAGES, help_text=_("The customer’s language."))

    def __init__(self, member: Member, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        merchant: Merchant = member.merchant
        members = merchant.members.filter(user__is_active=True).select_related("user")
        self._choose_from("product", merchant.products.order_by("name", "sku"))
        self._choose_from("recipient", members.order_by("user__first_name", "user__email"))
        self._choose_from("checkout_page", merchant.checkout_pages.order_by("code"))
        self.fields["recipient"].initial = member.pk
        self.fields["checkout_page"].initial = merchant.checkout_pages.filter(code="main").first()
        self.fields["language"].initial = merchant.language

    def _choose_from(self, name: str, queryset: Any) -> None:
        self.fields[name].queryset = queryset  # type: ignore[attr-defined]

    def clean_product(self) -> Product:
        product: Product = self.cleaned_data["product"]
        if not FulfillmentMethod.objects.for_product(product):
            text = gettext(
                "“{product}” has no source, so this order would only wait. <a href='{url}'>Add a source</a>."
            )
            raise forms.ValidationError(format_html(text, product=product.name, url=product.get_absolute_url()))
        return product
