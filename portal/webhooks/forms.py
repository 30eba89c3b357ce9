from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from outbound.address_guard import OutgoingRequestError, check
from webhooks.models import WebhookEndpoint, WebhookEvent

MAX_ENDPOINTS = 20


class EndpointForm(forms.ModelForm):
    events = forms.MultipleChoiceField(
        choices=lambda: [(event.value, f"{event.value}: {event.label}") for event in WebhookEvent],
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["url", "description", "events"]
        help_texts = {"url": _("An HTTPS URL of your shop."), "description": _("Optional. Only you see it.")}
        widgets = {"url": forms.URLInput(attrs={"autocomplete": "off", "placeholder": "https://"})}

    def clean_url(self) -> str:
        try:
            check(self.cleaned_data["url"])
        except OutgoingRequestError as error:
            raise forms.ValidationError(str(error)) from error
        return self.cleaned_data["url"]

    def clean(self) -> None:
        merchant = self.instance.merchant
        if not self.instance.pk and merchant.webhook_endpoints.kept().count() >= MAX_ENDPOINTS:
            raise forms.ValidationError(
                gettext("{merchant} has reached the limit of {max_endpoints} endpoints. Delete one first.").format(
                    merchant=merchant, max_endpoints=MAX_ENDPOINTS
                )
            )
