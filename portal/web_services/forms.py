"""What a merchant says of a web service of theirs, and of what it is told."""

import re
from collections.abc import Iterator
from copy import copy
from typing import Any

import re2
from django import forms

from fulfillment.sources.web_service.answers import PathError, check_path
from fulfillment.sources.web_service.models import RequestParameter, WebService
from fulfillment.sources.web_service.parameters import CATALOGUE, Parameter, is_support_only
from merchants.models import Merchant
from outbound.address_guard import OutgoingRequestError, check, parse
from outbound.masking import MASK

MAX_SERVICES = 20
MAX_CONSTANTS = 20
NEW_CONSTANTS = 2  # empty rows for them
LAST = 1000
# Of each way to sign in, what it needs.
NEEDED_BY = {
    WebService.Login.NONE: [],
    WebService.Login.BASIC: ["username", "password"],
    WebService.Login.BEARER: ["password"],
}
SECTIONS = {
    "Where and how it is asked": ["name", "url", "format", "request_per", "timeout"],
    "How we sign in": ["login", "username", "password"],
    "What it answers": [
        *("sends_itself", "answer", "path", "holds_list", "temporary_pattern", "holds_unlike", "same_code_allowed"),
    ],
    "What it is asked for": ["for_all_products"],
}
# What a service that sends the codes itself has no use for.
OF_CODES = {"answer": WebService.Answer.BODY, "path": "", "holds_list": False, "same_code_allowed": False}


class WebServiceForm(forms.ModelForm):
    """Settings of a web service. What the choices leave without a use is emptied, whatever was typed in.

    A password that was saved is not shown; left empty it stays, as long as it goes to the same server.
    """

    password = forms.CharField(
        label="Password or token",
        required=False,
        strip=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Kept encrypted, and not shown again. Leave it empty to keep the one that is saved.",
    )

    class Meta:
        model = WebService
        fields = [name for names in SECTIONS.values() for name in names if name != "password"]
        labels = {
            "format": "How parameters are sent",
            "timeout": "Time limit in seconds",
            "login": "Sign-in",
            "holds_list": "An answer holds several codes",
            "temporary_pattern": "Pattern of temporary errors",
            "holds_unlike": "Hold codes that look different from earlier ones",
            "for_all_products": "Ask it for all products that have no source of their own",
        }
        help_texts = {
            "name": "What you call it.",
            "url": "With HTTPS, on the public internet. Redirects are not followed.",
            "format": "Each request is signed, whatever you choose.",
            "request_per": "Two licenses of a product in one order: two requests, or one for both?",
            "timeout": "From 1 to 30. By then the whole answer has to be there, or we try again later.",
            "login": "Our signature says that a request is genuine. If your server asks for more, choose it here.",
            "username": "For HTTP Basic.",
            "sends_itself": "Any answer of 200 then completes the item. Keywell has no code, and sends no e-mail.",
            "path": "JSON: $.license.key, or $.keys[*] for a list. XML: license/key, or item/@code.",
            "holds_list": "Of a whole answer each line is one. Needed if one request is for all codes of an item.",
            "temporary_pattern": "Some services answer 200 and “busy, try later”. An answer in which this regular"
            " expression is found, such as (?i)try later, is no code: it is asked again later.",
            "holds_unlike": "“ERROR: product unknown” must not be mailed as a license. You release or refuse such a"
            " code on the order’s page. The first codes of a service are held if they read like a message.",
            "same_code_allowed": "For volume licenses and links. Otherwise a code that another unit or order has is"
            " refused, so that a mistake of the service sells nothing twice.",
            "for_all_products": "Otherwise you add it to products as a source.",
        }
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "url": forms.URLInput(attrs={"autocomplete": "off", "placeholder": "https://"}),
            "username": forms.TextInput(attrs={"autocomplete": "off"}),
            "timeout": forms.NumberInput(attrs={"min": 1, "max": 30}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A copy: what is typed in must not be taken for what is saved.
        self.saved = copy(self.instance) if self.instance.pk else None

    def sections(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        for title, names in SECTIONS.items():
            yield title, [self[name] for name in names]

    def clean_url(self) -> str:
        url = self.cleaned_data["url"]
        try:
            check(url)
        except OutgoingRequestError as error:
            raise forms.ValidationError(str(error)) from error
        if "#" in url:
            raise forms.ValidationError("Leave out the # and what follows it: no server gets to see that.")
        if self.saved and _server(url) != _server(self.saved.url) and self.saved.parameters.filter(is_secret=True):
            raise forms.ValidationError(
                "The secret texts among the parameters would go to another server. Remove them there first, then save"
                " this address and enter them again."
            )
        return url

    def clean_temporary_pattern(self) -> str:
        pattern = self.cleaned_data["temporary_pattern"]
        try:
            # It would complain to the log, too.
            options = re2.Options()
            options.log_errors = False
            finds_all = pattern and re2.compile(pattern, options).search("") is not None
        except re2.error as error:
            raise forms.ValidationError("This is no regular expression of the kind RE2.") from error
        if finds_all:
            raise forms.ValidationError("This is found in every answer, also in one with a code.")
        return pattern

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        self._clean_login(data)
        if data.get("sends_itself"):
            data |= OF_CODES
        self._clean_answer(data)
        self._clean_merchants_other(data)
        return data

    def _clean_login(self, data: dict[str, Any]) -> None:
        login = data.get("login")
        needed = NEEDED_BY[login] if login else []
        for name in {"username", "password"} - set(needed):
            data[name] = ""
        for name in needed:
            # A password that was saved for one server must not be sent to another.
            if name == "password" and not data.get(name) and self._goes_to_the_same(data):
                data[name] = self.saved.password  # type: ignore[union-attr]
            if not data.get(name) and name not in self.errors:
                self.add_error(name, "Enter it, please.")
        if ":" in data.get("username", ""):
            self.add_error("username", "A user name of HTTP Basic has no colon.")
        token = data.get("password", "") if login == WebService.Login.BEARER else ""
        if not re.fullmatch("[!-~]*", token):
            self.add_error("password", "A token has ASCII characters only, and no spaces.")

    def _goes_to_the_same(self, data: dict[str, Any]) -> bool:
        if self.saved is None or not data.get("url"):
            return False
        same_server = _server(self.saved.url) == _server(data["url"])
        return same_server and (self.saved.login, self.saved.username) == (data.get("login"), data.get("username"))

    def _clean_answer(self, data: dict[str, Any]) -> None:
        kind = data.get("answer")
        if kind == WebService.Answer.BODY:
            data["path"] = ""
        elif kind and not data.get("path") and "path" not in self.errors:
            self.add_error("path", "Say where in the answer the code is.")
        elif kind and data.get("path"):
            try:
                check_path(kind, data["path"])
            except PathError as error:
                self.add_error("path", str(error))
        for_all_units = data.get("request_per") == WebService.Per.ITEM
        if for_all_units and not data.get("holds_list") and not data.get("sends_itself"):
            self.add_error("holds_list", "One request for all codes of an item is answered with several: check this.")

    def _clean_merchants_other(self, data: dict[str, Any]) -> None:
        """What is looked for among the merchant's other services; the form has no field for the merchant."""
        others = self.get_merchant().web_services.exclude(pk=self.instance.pk)
        if others.filter(name=data.get("name")).exists():
            self.add_error("name", "Another web service has this name.")
        if data.get("for_all_products") and (other := others.filter(for_all_products=True).first()):
            self.add_error("for_all_products", f"“{other}” is asked for all products. Only one can be.")
        if not self.instance.pk and others.count() >= MAX_SERVICES:
            self.add_error(None, f"You have {MAX_SERVICES} web services, which is the most. Delete one first.")

    def get_merchant(self) -> Merchant:
        return self.instance.merchant

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        self.instance.password = self.cleaned_data.get("password", "")


def _server(url: str) -> tuple[str, str]:
    parts = parse(url)
    return parts.scheme, parts.netloc.lower()


# What it is told


class ParameterRow(forms.Form):
    """One parameter of the catalogue: whether it is sent, as what, and where among the others."""

    on = forms.BooleanField(label="Send", required=False)
    position = forms.IntegerField(
        label="Place", required=False, min_value=1, max_value=999, widget=forms.NumberInput(attrs={"min": 1})
    )
    name = forms.CharField(
        label="Name in the request",
        required=False,
        max_length=64,
        validators=RequestParameter._meta.get_field("name").validators,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, parameter: Parameter, saved: RequestParameter | None, data: Any) -> None:
        initial = {"on": bool(saved), "name": saved.name if saved else parameter.name}
        super().__init__(
            data, prefix=parameter.name, initial=initial | {"position": saved.position if saved else None}
        )
        self.parameter = parameter
        self.saved = saved
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = f"{field.label}: {parameter.name}"

    def wanted(self) -> RequestParameter | None:
        if not self.cleaned_data["on"]:
            return None
        name = self.cleaned_data["name"] or self.parameter.name
        return RequestParameter(parameter=self.parameter.name, name=name, position=_place(self))


class ConstantRow(forms.Form):
    """A text of the merchant's own. A secret one that was saved is not shown; left empty it stays."""

    remove = forms.BooleanField(label="Remove", required=False)

    position = ParameterRow.base_fields["position"]
    name = ParameterRow.base_fields["name"]
    value = forms.CharField(
        label="Value",
        required=False,
        max_length=1000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    is_secret = forms.BooleanField(label="Secret", required=False)

    def __init__(self, saved: RequestParameter | None, prefix: str, data: Any) -> None:
        initial = {}
        if saved:
            value = "" if saved.is_secret else saved.constant
            initial = {"name": saved.name, "position": saved.position, "value": value, "is_secret": saved.is_secret}
            # Added meanwhile, in another window: nothing was posted of it, and it stays as it is.
            if data is not None and f"{prefix}-name" not in data:
                data = {f"{prefix}-{name}": given for name, given in initial.items()}
        super().__init__(data, prefix=prefix, initial=initial)
        self.saved = saved
        for field in self.fields.values():
            field.widget.attrs["aria-label"] = f"{field.label}: {saved or 'a new constant'}"
        if saved is None:
            del self.fields["remove"]
        elif saved.is_secret:
            self.fields["value"].widget.attrs["placeholder"] = f"{MASK} (kept, if left empty)"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("remove"):
            return data
        if (self.saved or data.get("value")) and not data.get("name") and "name" not in self.errors:
            self.add_error("name", "Give it a name.")
        if self.saved and self.saved.is_secret and not data.get("value"):
            if not data.get("is_secret"):
                self.add_error("value", "Enter the value anew: it was saved as a secret, which is not shown.")
            data["value"] = self.saved.constant
        return data

    def wanted(self) -> RequestParameter | None:
        data = self.cleaned_data
        if not data["name"] or data.get("remove"):
            return None
        # The row stays the same one, for those who have the page open in another window.
        wanted = copy(self.saved) if self.saved else RequestParameter()
        wanted.name, wanted.constant, wanted.is_secret = data["name"], data["value"], data["is_secret"]
        wanted.position = _place(self)
        return wanted


def _place(row: ParameterRow | ConstantRow) -> float:
    """Where the row's parameter stands: one that was moved goes before, or after, the one whose place it takes."""
    place, before = row.cleaned_data["position"] or LAST, row.initial.get("position") or LAST
    return place + (place > before) / 2 - (place < before) / 2


class ParametersForm:
    """All that a service can be told. What only support staff add has no fields: nothing that is posted changes it."""

    def __init__(self, service: WebService, data: Any = None) -> None:
        saved = {parameter.parameter or parameter.pk: parameter for parameter in service.parameters.all()}
        self.kept = [parameter for parameter in saved.values() if is_support_only(parameter)]
        self.locked = [(one, saved.get(one.name)) for one in CATALOGUE.values() if one.support_only]
        chosen = [one for one in CATALOGUE.values() if not one.support_only]
        chosen.sort(key=lambda one: saved[one.name].position if one.name in saved else LAST)
        self.rows = [ParameterRow(one, saved.get(one.name), data) for one in chosen]
        constants = [parameter for parameter in saved.values() if not parameter.parameter]
        self.constants = [ConstantRow(one, f"constant-{one.pk}", data) for one in constants]
        new = min(NEW_CONSTANTS, max(MAX_CONSTANTS - len(constants), 0))
        self.constants += [ConstantRow(None, f"new-{number}", data) for number in range(1, new + 1)]

    @property
    def all_rows(self) -> list[ParameterRow | ConstantRow]:
        return [*self.rows, *self.constants]

    @property
    def has_errors(self) -> bool:
        return any(row.errors for row in self.all_rows)

    def is_valid(self) -> bool:
        if self.has_errors:
            return False
        taken = {parameter.name for parameter in self.kept}
        for row in self.all_rows:
            wanted = row.wanted()
            if wanted and wanted.name in taken:
                row.add_error("name", "Another parameter has this name.")
            elif wanted:
                taken.add(wanted.name)
        return not self.has_errors

    def wanted(self) -> list[RequestParameter]:
        return [wanted for row in self.all_rows if (wanted := row.wanted())]
