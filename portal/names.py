"""Translates the names that Django derives from those of models and fields."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db.models import Model
from django.forms import BaseForm, ModelForm
from django.forms.utils import pretty_name
from django.utils import translation
from django.utils.translation import gettext_lazy

ATTRIBUTES = ("verbose_name", "verbose_name_plural", "help_text")


def translate_names() -> None:
    """Make the plain texts of our models and their fields lazy translations. Migrations don’t see the difference."""
    for app in apps.get_app_configs():
        if is_ours(app.name):
            app.verbose_name = gettext_lazy(str(app.verbose_name))
    for model in (model for model in apps.get_models() if is_ours(model.__module__)):
        options: Any = model._meta
        if "verbose_name_plural" not in options.original_attrs:
            options.verbose_name_plural = str(options.verbose_name_plural)  # Django added an s
        for part, attribute, text in _texts(model):
            if type(text) is str:
                setattr(part, attribute, gettext_lazy(text))


def translate_columns() -> None:
    """The same for the columns of the admin that are properties without a description."""
    for site_admin in admin.site._registry.values():
        for name in (*site_admin.list_display, *site_admin.readonly_fields):
            column = getattr(getattr(site_admin.model, str(name), None), "fget", None)
            if column and not hasattr(column, "short_description"):
                column.short_description = gettext_lazy(pretty_name(column.__name__))


def shown_names() -> set[str]:
    """Return the English names of the models and fields that forms and the admin show."""
    import_module(settings.ROOT_URLCONF)  # with all forms
    forms = [form for form in _subclasses(BaseForm) if is_ours(form.__module__)]
    fields = [item for form in forms for item in form.base_fields.items()]
    labels = {pretty_name(name) for name, field in fields if field.label is None and not field.widget.is_hidden}
    models = {form._meta.model for form in forms if issubclass(form, ModelForm)}
    columns: list[Any] = []
    for site_admin in admin.site._registry.values():
        models |= {site_admin.model, *(inline.model for inline in site_admin.inlines)}
        names = (*site_admin.list_display, *site_admin.readonly_fields)
        columns += [getattr(getattr(site_admin.model, str(name), None), "fget", None) for name in names]
    with translation.override(settings.LANGUAGE_CODE):
        texts = {str(text) for model in models if model and is_ours(model.__module__) for _, _, text in _texts(model)}
        texts |= {str(column.short_description) for column in columns if hasattr(column, "short_description")}
        texts |= {str(app.verbose_name) for app in apps.get_app_configs() if is_ours(app.name)}
    return labels | texts


def is_ours(module: str) -> bool:
    return (settings.BASE_DIR / module.partition(".")[0]).is_dir()


def _texts(model: type[Model]) -> Iterator[tuple[Any, str, Any]]:
    """Yield the texts of a model and its fields, each with what it belongs to."""
    for part in (model._meta, *model._meta.fields):
        for attribute in ATTRIBUTES:
            if text := getattr(part, attribute, ""):
                yield part, attribute, text


def _subclasses(form: Any) -> Iterator[Any]:
    for each in form.__subclasses__():
        yield each
        yield from _subclasses(each)
