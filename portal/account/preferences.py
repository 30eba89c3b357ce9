"""The page *Language and time*."""

from functools import cache
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from merchants.models import User

REGIONS = ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")


@cache
def time_zones() -> list[tuple[str, str]]:
    """All zones by place, without the historic names such as “EST5EDT”."""
    zones = sorted(zone for zone in available_timezones() if zone.split("/")[0] in REGIONS)
    return [(zone, zone.replace("_", " ")) for zone in zones]


class LanguageAndTimeForm(forms.ModelForm):
    language = forms.ChoiceField(label=_("Language"), required=False)
    time_zone = forms.ChoiceField(label=_("Time zone"), required=False)

    class Meta:
        model = User
        fields = ["language", "time_zone"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        offered = [(code, name) for code, name in settings.LANGUAGES if code in settings.MEMBER_LANGUAGES]
        self.fields["language"].choices = [("", _("The browser’s language")), *offered]  # type: ignore[attr-defined]
        self.fields["time_zone"].choices = [("", "UTC"), *time_zones()]  # type: ignore[attr-defined]
        if self.initial["language"] not in settings.MEMBER_LANGUAGES:
            self.initial["language"] = ""


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def language_and_time(request: HttpRequest) -> HttpResponse:
    # Another object than request.user, or the page would show the name of an unsaved choice.
    user = User.objects.get(email=request.user.email)  # type: ignore[union-attr]
    form = LanguageAndTimeForm(request.POST or None, instance=user)
    if not form.is_valid():
        return render(request, "account/language.html", {"form": form})
    user.save(update_fields=form.Meta.fields)
    with translation.override(user.language or translation.get_language()):
        messages.success(request, gettext("Language and time zone saved."))
    return redirect("language-and-time")
