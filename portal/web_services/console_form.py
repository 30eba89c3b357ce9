from django import forms

from fulfillment.sources.web_service.console import find_item
from orders.models import OrderItem


class ConsoleForm(forms.Form):
    """What a request is tried with: sample data, or an item of one of the merchant's orders."""

    order = forms.CharField(label="Order number", max_length=64, required=False, help_text="Empty: sample data.")
    reference = forms.CharField(
        label="Item", max_length=64, required=False, help_text="The shop’s number of the item, if there are several."
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
                self.add_error("order", "There is no such order, or no such item in it.")
        return data
