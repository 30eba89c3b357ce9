from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.sources.web_service.console import find_item
from orders.models import OrderItem


class ConsoleForm(forms.Form):
    """Chooses sample data or an order item for a test."""

    order = forms.CharField(
        label=_("Order number"), max_length=64, required=False, help_text=_("Leave empty to use sample data.")
    )
    reference = forms.CharField(
        label=_("Item"), max_length=64, required=False, help_text=_("Shop’s item number. Defaults to the first item.")
    )

    item: OrderItem | None = None

    def __init__(self, merchant, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.merchant = merchant

    def clean(self):
        data = self.cleaned_data
        if data.get("order"):
            self.item = find_item(self.merchant, data["order"], data.get("reference", ""))
            if self.item is None:
                self.add_error("order", gettext("No order has this number, or the order has no such item."))
        return data
