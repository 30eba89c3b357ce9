"""The form for a web service's settings."""

import re
from collections.abc import Iterator
from copy import copy
from typing import Any

import re2
from django import forms
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from fulfillment.sources.web_service.answers import PathError, check_path
from fulfillment.sources.web_service.models import WebService
from merchants.models import Merchant
from outbound.address_guard import OutgoingRequestError, check, parse

MAX_SERVICES = 20
LOGIN_FIELDS = {
    WebService.Login.NONE: [],
    WebService.Login.BASIC: ["username", "password"],
    WebService.Login.BEARER: ["password"],
}
SECTIONS = {
    gettext_noop("Request"): ["name", "url", "format", "request_per", "timeout"],
    gettext_noop("Authentication"): ["login", "username", "password"],
    gettext_noop("Answer"): [
        *("sends_itself", "answer", "path", "holds_list", "temporary_pattern", "holds_unlike", "same_code_allowed"),
    ],
    gettext_noop("Products"): ["for_all_products"],
}
# Values for fields that don't apply to a service that sends the codes itself.
NO_CODE_VALUES = {"answer": WebService.Answer.BODY, "path": "", "holds_list": False, "same_code_allowed": False}


class WebServiceForm(forms.ModelForm):
    """Settings of a web service. Fields that the other choices make irrelevant are cleared.

    A saved password is never shown. Leaving the field empty keeps it, as long as the server stays the same.
    """

    password = forms.CharField(
        label=_("Password or token"),
        required=False,
        strip=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Stored encrypted and never shown again. Leave empty to keep the saved one."),
    )

    class Meta:
        model = WebService
        fields = [name for names in SECTIONS.values() for name in names if name != "password"]
        labels = {
            "format": _("Request format"),
            "timeout": _("Time limit in seconds"),
            "login": _("Method"),
            "holds_list": _("Answers contain several codes"),
            "temporary_pattern": _("Temporary error pattern"),
            "holds_unlike": _("Hold codes that look different from earlier ones"),
            "for_all_products": _("Use for all products without a source of their own"),
        }
        help_texts = {
            "name": _("Only you see this name."),
            "url": _("An HTTPS URL on the public internet. We don’t follow redirects."),
            "format": _("We sign requests in every format."),
            "request_per": _("For two licenses in one order, send two requests or one?"),
            "timeout": _("1 to 30 seconds for the complete answer. After that, we retry later."),
            "login": _(
                "The signature proves that a request comes from Keywell. Choose more if your server requires it."
            ),
            "username": _("For HTTP Basic."),
            "sends_itself": _("Any 2xx answer completes the item. Keywell saves no code and sends no e-mail."),
            "path": _("JSON: $.license.key, or $.keys[*] for a list. XML: license/key, or item/@code."),
            "holds_list": _(
                "If the code is the whole answer, each line is a code. Required for one request per item."
            ),
            "temporary_pattern": _(
                "For services that answer 200 with an error such as “busy, try later”. If this"
                " regular expression, such as (?i)try later, matches the answer, we retry later."
            ),
            "holds_unlike": _(
                "Keeps “ERROR: product unknown” from being e-mailed as a license. You release or reject"
                " held codes on the order page. A service’s first codes are held if they read like a message."
            ),
            "same_code_allowed": _(
                "For volume licenses and links. Otherwise we reject a code that another unit or order"
                " already has, so that a mistake in the service can’t sell a license twice."
            ),
            "for_all_products": _("Otherwise, add it to products as a source."),
        }
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "url": forms.URLInput(attrs={"autocomplete": "off", "placeholder": "https://"}),
            "username": forms.TextInput(attrs={"autocomplete": "off"}),
            "timeout": forms.NumberInput(attrs={"min": 1, "max": 30}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A copy, because validation changes the instance.
        self.saved = copy(self.instance) if self.instance.pk else None

    def sections(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        for title, names in SECTIONS.items():
            yield gettext(title), [self[name] for name in names]

    def clean_url(self) -> str:
        url = self.cleaned_data["url"]
        try:
            check(url)
        except OutgoingRequestError as error:
            raise forms.ValidationError(str(error)) from error
        if "#" in url:
            raise forms.ValidationError(
                gettext("Remove the # and everything after it. Servers never receive that part.")
            )
        if self.saved and _server(url) != _server(self.saved.url) and self.saved.parameters.filter(is_secret=True):
            raise forms.ValidationError(
                gettext(
                    "This would send your secret constants to another server. Remove them from the parameters,"
                    " save the new URL, then enter them again."
                )
            )
        return url

    def clean_temporary_pattern(self) -> str:
        pattern = self.cleaned_data["temporary_pattern"]
        try:
            # RE2 would also write to the log.
            options = re2.Options()
            options.log_errors = False
            matches_everything = pattern and re2.compile(pattern, options).search("") is not None
        except re2.error as error:
            raise forms.ValidationError(gettext("Enter a valid RE2 regular expression.")) from error
        if matches_everything:
            raise forms.ValidationError(gettext("This matches every answer, including those with a code."))
        return pattern

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        self._clean_login(data)
        if data.get("sends_itself"):
            data |= NO_CODE_VALUES
        self._clean_answer(data)
        self._check_other_services(data)
        return data

    def _clean_login(self, data: dict[str, Any]) -> None:
        login = data.get("login")
        needed = LOGIN_FIELDS[login] if login else []
        for name in {"username", "password"} - set(needed):
            data[name] = ""
        for name in needed:
            # Never send a saved password to another server.
            if name == "password" and not data.get(name) and self._has_same_login(data):
                data[name] = self.saved.password  # type: ignore[union-attr]
            if not data.get(name) and name not in self.errors:
                self.add_error(name, gettext("This field is required."))
        if ":" in data.get("username", ""):
            self.add_error("username", gettext("An HTTP Basic user name can’t contain a colon."))
        token = data.get("password", "") if login == WebService.Login.BEARER else ""
        if not re.fullmatch("[!-~]*", token):
            self.add_error("password", gettext("A token can contain only ASCII characters without spaces."))

    def _has_same_login(self, data: dict[str, Any]) -> bool:
        if self.saved is None or not data.get("url"):
            return False
        same_server = _server(self.saved.url) == _server(data["url"])
        return same_server and (self.saved.login, self.saved.username) == (data.get("login"), data.get("username"))

    def _clean_answer(self, data: dict[str, Any]) -> None:
        kind = data.get("answer")
        if kind == WebService.Answer.BODY:
            data["path"] = ""
        elif kind and not data.get("path") and "path" not in self.errors:
            self.add_error("path", gettext("Enter the path of the code in the answer."))
        elif kind and data.get("path"):
            try:
                check_path(kind, data["path"])
            except PathError as error:
                self.add_error("path", str(error))
        for_all_units = data.get("request_per") == WebService.Per.ITEM
        if for_all_units and not data.get("holds_list") and not data.get("sends_itself"):
            self.add_error("holds_list", gettext("Required, because one request per item can return several codes."))

    def _check_other_services(self, data: dict[str, Any]) -> None:
        """Check uniqueness among the merchant's services, which Django skips without a merchant field."""
        others = self.get_merchant().web_services.exclude(pk=self.instance.pk)
        if others.filter(name=data.get("name")).exists():
            self.add_error("name", gettext("Another web service has this name."))
        if data.get("for_all_products") and (other := others.filter(for_all_products=True).first()):
            self.add_error(
                "for_all_products",
                gettext("“{other}” already serves all products. Only one service can.").format(other=other),
            )
        if not self.instance.pk and others.count() >= MAX_SERVICES:
            self.add_error(
                None,
                gettext("You’ve reached the limit of {max_services} web services. Delete one first.").format(
                    max_services=MAX_SERVICES
                ),
            )

    def get_merchant(self) -> Merchant:
        return self.instance.merchant

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        self.instance.password = self.cleaned_data.get("password", "")


def _server(url: str) -> tuple[str, str]:
    parts = parse(url)
    return parts.scheme, parts.netloc.lower()
