"""Forms for connections to shops, with the options of each kind, and for their products."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.forms import MomentInput
from merchants.models import Merchant, Product
from portal.orders.forms import PlainSelect
from shops.kinds.base import Option, ShopKind
from shops.models import MAX_ID, Connection, ExternalProduct

MAX_CONNECTIONS = 50
MAX_PRODUCTS = 20  # of a bundle
EMPTY_ROWS = 3  # for new products of a bundle
MAX_OPTION = 1000  # characters
MAX_SECRET = 200  # characters
MAX_HOURS = 24 * 30
MAX_CONTENT = 100_000  # characters of a request that is tried

HIDDEN = {"autocomplete": "new-password"}
KEPT = _("Saved. Leave it empty to keep it.")


class HoursField(forms.IntegerField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            label=_("Hold orders for, in hours"),
            required=False,
            min_value=0,
            max_value=MAX_HOURS,
            help_text=_("So that you can check them for fraud. Empty: don’t. 0: until you or the shop approve them."),
            **kwargs,
        )


class SecretField(forms.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_SECRET, **kwargs)


class ConnectionForm(forms.Form):
    """A connection with the options of its kind. Saved credentials are never shown. Empty fields keep them."""

    name = forms.CharField(max_length=100, help_text=_("Only you see this name."))
    number_prefix = forms.CharField(
        label=_("Prefix of order numbers"),
        max_length=10,
        required=False,
        help_text=_("Such as EU-, if two of your shops use the same numbers."),
    )
    hold_hours = HoursField()
    writes_back = forms.BooleanField(
        label=_("Also save licenses in the shop’s orders"),
        required=False,
        help_text=_("So that the shop can show them. The access to its API must allow changes of orders."),
    )

    SETTINGS = ("name", "number_prefix", "hold_hours", "writes_back")

    def __init__(self, kind: ShopKind, *args: Any, asks_secret: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        if asks_secret:
            self.fields["secret"] = SecretField(
                label=str(kind.secret_label),
                required=False,
                widget=forms.PasswordInput(attrs=HIDDEN),
                help_text=_("You can also enter it later. Stored encrypted and never shown again."),
            )
        for option in kind.options:
            self.fields[f"option_{option.name}"] = field = make_field(kind, option)
            field.is_folded = option.is_path  # type: ignore[attr-defined]
        if not kind.writes_back:
            del self.fields["writes_back"]
        rest = ["number_prefix", "hold_hours", "writes_back"]
        self.order_fields([name for name in self.fields if name not in rest] + rest)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        connection = self.kind.connection
        others = connection.merchant.connections.kept().exclude(pk=connection.pk)
        if others.filter(name=name).exists():
            raise forms.ValidationError(gettext("Another shop has this name."))
        return name

    def clean(self) -> dict[str, Any]:
        connection = self.kind.connection
        if not connection.pk and connection.merchant.connections.kept().count() >= MAX_CONNECTIONS:
            text = gettext("{merchant} has reached the limit of {max_connections} shops. Remove one first.")
            raise forms.ValidationError(text.format(merchant=connection.merchant, max_connections=MAX_CONNECTIONS))
        return super().clean() or self.cleaned_data

    @property
    def folded(self) -> list[forms.BoundField]:
        """Fields that few merchants need."""
        return [self[name] for name, field in self.fields.items() if getattr(field, "is_folded", False)]

    @property
    def values(self) -> dict[str, str]:
        """The entered values of the kind's options, by name."""
        return {option.name: self.cleaned_data[f"option_{option.name}"] for option in self.kind.options}

    @property
    def settings(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.SETTINGS if name in self.fields}


def make_field(kind: ShopKind, option: Option) -> forms.Field:
    """The form field of an option, with its current value if it isn't a secret."""
    if option.is_secret:
        is_saved = bool(kind.credentials.get(option.name))
        return forms.CharField(
            label=str(option.label),
            max_length=MAX_OPTION,
            required=False,
            help_text=f"{option.help_text} {KEPT}" if is_saved else str(option.help_text),
            widget=forms.PasswordInput(attrs=HIDDEN),
        )
    common: dict[str, Any] = {
        "label": option.label,
        "required": False,
        "help_text": option.help_text,
        "initial": kind.option(option.name),
    }
    if option.choices:
        return forms.ChoiceField(choices=option.choices, **common)
    return forms.CharField(max_length=MAX_OPTION, widget=forms.TextInput(attrs={"autocomplete": "off"}), **common)


class NewSecretForm(forms.Form):
    """A signing secret. We suggest one unless the shop makes it up."""

    secret = SecretField(widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))

    def __init__(self, kind: ShopKind, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["secret"]
        if kind.makes_secret:
            field.label = _("New secret")
            field.initial = Connection.make_secret()
            field.help_text = _("Copy it into the shop, then save. We don’t show it again.")
        else:
            field.label = str(kind.secret_label)
            field.help_text = _("The same as in the shop. Stored encrypted and never shown again.")


class ProductRow(NamedTuple):
    product: forms.BoundField
    multiplier: forms.BoundField


class MappingForm(forms.Form):
    """What buyers of an external product get: products with a number each, in rows. Empty rows are ignored."""

    external_id = forms.CharField(
        label=_("ID in the shop"),
        max_length=MAX_ID,
        help_text=_("Its SKU, or the shop’s ID of the product, variant or price."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    ignored = forms.BooleanField(
        label=_("Not sold with a license"), required=False, help_text=_("Ignore it, such as shipping or a T-shirt.")
    )
    hold_hours = HoursField()

    def __init__(self, merchant: Merchant, data: Any = None, *, external: ExternalProduct | None = None) -> None:
        saved = list(external.mappings.order_by("pk")) if external else []
        initial = {"ignored": external.ignored, "hold_hours": external.hold_hours} if external else {}
        super().__init__(data, initial=initial)
        if external:
            del self.fields["external_id"]
        self.count = min(len(saved) + EMPTY_ROWS, MAX_PRODUCTS)
        products = merchant.products.order_by("name", "sku")
        choices = [("", gettext("Choose a product")), *((row.pk, f"{row.name} ({row.sku})") for row in products)]
        for index in range(self.count):
            row = saved[index] if index < len(saved) else None
            self._add_row(index, products, choices, row.product_id if row else None, row.multiplier if row else 1)

    def _add_row(self, index: int, products: QuerySet, choices: list, product: int | None, multiplier: int) -> None:
        number = index + 1
        field = forms.ModelChoiceField(
            products,
            label=gettext("Product {number}").format(number=number),
            required=False,
            initial=product,
            widget=PlainSelect,
        )
        field.choices = choices
        self.fields[f"product_{index}"] = field
        self.fields[f"multiplier_{index}"] = forms.IntegerField(
            label=gettext("Units {number}").format(number=number),
            required=False,
            min_value=1,
            max_value=1000,
            initial=multiplier,
        )

    def rows(self) -> Iterator[ProductRow]:
        for index in range(self.count):
            yield ProductRow(self[f"product_{index}"], self[f"multiplier_{index}"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        chosen = [row for index in range(self.count) if (row := data.get(f"product_{index}"))]
        if len(chosen) > len(set(chosen)):
            raise forms.ValidationError(gettext("Choose each product only once, with its number of units."))
        if chosen and data.get("ignored"):
            raise forms.ValidationError(gettext("Choose products, or “Not sold with a license”, but not both."))
        return data

    @property
    def wanted(self) -> Mapping[Product, int]:
        """The chosen products with their numbers of units."""
        data = self.cleaned_data
        rows = ((data.get(f"product_{index}"), data.get(f"multiplier_{index}")) for index in range(self.count))
        return {product: multiplier or 1 for product, multiplier in rows if product}


class FetchForm(forms.Form):
    since = forms.DateTimeField(
        widget=MomentInput, help_text=_("In your time zone. Orders paid since then, at most a year ago.")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["since"].initial = timezone.now() - timedelta(days=7)

    def clean_since(self) -> datetime:
        since: datetime = self.cleaned_data["since"]
        if not timezone.now() - timedelta(days=366) < since < timezone.now():
            raise forms.ValidationError(gettext("Enter a time within the last year."))
        return since


class TryForm(forms.Form):
    """A request as the shop would send it."""

    content = forms.CharField(
        max_length=MAX_CONTENT,
        help_text=_("The JSON or the form that your shop sends. Nothing is stored, and no order is placed."),
        widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false"}),
    )


class SampleForm(forms.Form):
    """A sample sale of one of the shop's products."""

    product = forms.ChoiceField(help_text=_("A product as your shop names it."))
    quantity = forms.IntegerField(min_value=1, max_value=10, initial=1)

    def __init__(self, connection: Connection, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        mapped = connection.external_products.mapped().order_by("external_id")
        names = {row.external_id: str(row) for row in mapped}
        names |= dict(connection.merchant.products.order_by("name", "sku").values_list("sku", "name"))
        choices = [(key, f"{name} ({key})" if name != key else key) for key, name in names.items()]
        self.fields["product"].choices = choices  # type: ignore[attr-defined]
