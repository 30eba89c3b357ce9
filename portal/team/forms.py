from django import forms
from django.contrib.auth.password_validation import password_validators_help_text_html, validate_password
from django.utils.translation import gettext_lazy as _

from merchants.addresses import validate_mailable
from merchants.models import Member, User

Role = Member.Role

RIGHTS = [
    (Role.OWNER, _("Owner: everything, including the team, API keys and checkout pages")),
    (Role.MANAGER, _("Manager: everything except the team, API keys and checkout pages")),
    (Role.SUPPORT, _("Support: orders, and looking up licensees")),
]


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=RIGHTS, widget=forms.RadioSelect)


class InviteForm(RoleForm):
    email = forms.EmailField(
        label=_("E-mail address"),
        validators=[validate_mailable],
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )

    field_order = ["email", "role"]


class NewAccountForm(forms.ModelForm):
    password = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=password_validators_help_text_html,
    )

    class Meta:
        model = User
        fields = ["first_name", "last_name"]
        widgets = {
            "first_name": forms.TextInput(attrs={"autocomplete": "given-name"}),
            "last_name": forms.TextInput(attrs={"autocomplete": "family-name"}),
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in self.Meta.fields:
            self.fields[name].required = True

    def clean_password(self):
        names = {name: self.cleaned_data.get(name, "") for name in self.Meta.fields}
        validate_password(self.cleaned_data["password"], User(email=self.instance.email, **names))
        return self.cleaned_data["password"]
