"""Web services in the admin, with the portal's form."""

from django import forms
from django.contrib import admin
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat
from django.utils.translation import gettext

from fulfillment.models import Fulfillment
from fulfillment.sources.web_service.models import RequestParameter, WebService
from fulfillment.sources.web_service.parameters import CATALOG, add_defaults
from outbound.breaker import probe_now
from portal.staff import consequences
from portal.staff.labels import NamedFields
from portal.staff.merchants import OwnedForm, ServerAdmin
from portal.web_services.forms import SECTIONS, WebServiceForm


class AdminsWebServiceForm(OwnedForm, WebServiceForm):
    class Meta(WebServiceForm.Meta):
        fields = ["merchant", *WebServiceForm.Meta.fields]


class RequestParameterForm(forms.ModelForm):
    parameter = forms.ChoiceField(
        choices=lambda: [
            ("", "---------"),
            *((name, f"{name}: {entry.description}") for name, entry in CATALOG.items()),
        ]
    )

    class Meta:
        model = RequestParameter
        fields = ["position", "parameter", "name"]


class RequestParameterFormSet(forms.BaseInlineFormSet):
    """Validates what Django leaves to the database: names taken by constants, and two parameters that swap names."""

    def clean(self):
        super().clean()
        constants = RequestParameter.objects.filter(service=self.instance.pk, parameter="")
        names = set(constants.values_list("name", flat=True))
        parameters: set[str] = set()
        for form in self.forms:
            name, parameter = form.cleaned_data.get("name", ""), form.cleaned_data.get("parameter", "")
            if not parameter or form.cleaned_data.get("DELETE"):
                continue
            if name in names:
                form.add_error("name", gettext("Another parameter has this name."))
            if parameter in parameters:
                form.add_error("parameter", gettext("This parameter is already sent."))
            names.add(name)
            parameters.add(parameter)

    def save_existing_objects(self, commit=True):
        # Move all changed rows to temporary names first, so that two can swap.
        changed = [form.instance.pk for form in self.initial_forms if form.has_changed()]
        temporary = Concat(Value("~"), Cast("pk", CharField()))
        RequestParameter.objects.filter(pk__in=changed).update(name=temporary, parameter=temporary)
        return super().save_existing_objects(commit)


class RequestParameterInline(NamedFields, admin.TabularInline):
    """Parameters from the catalog, including those that only support staff can add, but not constants."""

    model = RequestParameter
    form = RequestParameterForm
    formset = RequestParameterFormSet
    extra = 1

    def get_queryset(self, request):
        return super().get_queryset(request).exclude(parameter="")


@admin.register(WebService)
class WebServiceAdmin(ServerAdmin):
    """Shows no secrets."""

    form = AdminsWebServiceForm
    list_display = ["name", "merchant", "host", "state", "failing_since", "paused_at", "for_all_products"]
    search_fields = ["name", "url"]
    readonly_fields = ["state", "failing_since", "paused_at", "probe_at", "rotated_at", "created_at"]
    inlines = [RequestParameterInline]

    def get_fieldsets(self, request, obj=None):
        sections = [(gettext(title), {"fields": names}) for title, names in SECTIONS.items()]
        status = [(gettext("Status"), {"fields": self.readonly_fields})] if obj else []
        return [(None, {"fields": ["merchant"]}), *sections, *status]

    def get_consequences(self, request, form, formsets):
        return consequences.change_server(form.instance) if "url" in form.changed_data else []

    def save_model(self, request, obj, form, change):
        if change:
            obj.save(update_fields=[*WebServiceForm.Meta.fields, "password"])
        else:
            obj.secret = WebService.make_secret()
            obj.save()

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        if not change and not form.instance.parameters.exists():
            add_defaults(form.instance)
        probe_now(form.instance)
        Fulfillment.objects.ask_again(form.instance)
