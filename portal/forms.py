from django.forms.boundfield import BoundField
from django.forms.renderers import DjangoTemplates
from django.forms.utils import pretty_name
from django.utils.translation import gettext_lazy


class TranslatedBoundField(BoundField):
    """Also translates the labels that Django derives from the names of fields."""

    def __init__(self, form, field, name):
        super().__init__(form, field, name)
        if field.label is None:
            self.label = gettext_lazy(pretty_name(name))


class Renderer(DjangoTemplates):
    bound_field_class = TranslatedBoundField
