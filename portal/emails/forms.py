from typing import Any

from django import forms

from merchants.logos import draw_logo
from merchants.models import EmailTemplate, Merchant


class EmailTextForm(forms.ModelForm):
    class Meta:
        model = EmailTemplate
        fields = ["subject", "body"]
        widgets = {
            "subject": forms.TextInput(attrs={"autocomplete": "off"}),
            "body": forms.Textarea(attrs={"rows": 16}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["body"].required = True

    def clean_body(self) -> str:
        return self.cleaned_data["body"].replace("\r\n", "\n")


class SenderForm(forms.ModelForm):
    logo_file = forms.FileField(
        label="New logo",
        required=False,
        help_text="PNG, JPEG, GIF or WebP, at most 2 MB; shown 240 by 80 pixels large at most. It stands on white,"
        " also where mails are dark.",
        widget=forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/gif,image/webp"}),
    )
    remove_logo = forms.BooleanField(label="Send without a logo", required=False)

    class Meta:
        model = Merchant
        fields = ["sender_name", "reply_to"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.logo_id:
            del self.fields["remove_logo"]

    def clean_logo_file(self):
        file = self.cleaned_data["logo_file"]
        return draw_logo(file) if file else None

    def save_by(self, actor: str) -> Merchant:
        """Save what was changed; a new logo beside the old ones, which mails that were sent still show."""
        merchant = self.instance
        changed = [name for name in self.changed_data if name in self.Meta.fields]
        if logo := self.cleaned_data["logo_file"]:
            logo.merchant, logo.saved_by = merchant, actor
            logo.save()
            merchant.logo = logo
            changed.append("logo")
        elif self.cleaned_data.get("remove_logo"):
            merchant.logo = None
            changed.append("logo")
        merchant.save(update_fields=changed)
        return merchant
