"""API keys of the REST API. Owners create and revoke them."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from merchants.forms import ApiKeyForm
from merchants.models import ApiKey
from notices.api_keys import ApiKeyRefused, create_api_key, revoke_api_key
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.templatetags.portal import format_distance

MAX_SHOWN = 100  # newest first
KEYS = ApiKey.objects.with_vendor()
SHOP_SCOPES = [ApiKey.Scope.PAYMENTS, ApiKey.Scope.ORDERS]  # what most shops need


class ChangeApiKeyForm(ApiKeyForm):
    """Without scopes and kind, because someone may know the text of an old key."""

    scopes = test = None  # type: ignore[assignment]

    class Meta(ApiKeyForm.Meta):
        fields = ["name", "expires_at", "allowed_networks"]


@never_cache
@member_required(Role.OWNER)
@require_safe
def api_keys(request) -> HttpResponse:
    return show(request)


def show(request, **context: Any) -> HttpResponse:
    """Render the page. `created` and `text` show a new key; its text is shown only once."""
    keys = KEYS.filter(vendor=request.merchant.pk).order_by("-pk")
    context |= {
        "section": "api-keys",
        "keys": keys.filter(revoked_at=None)[:MAX_SHOWN],
        "revoked_keys": keys.exclude(revoked_at=None)[:MAX_SHOWN],
    }
    return render(request, "portal/api_keys/api_keys.html", context)


@never_cache
@member_required(Role.OWNER)
@require_http_methods(["GET", "POST"])
def add(request) -> HttpResponse:
    instance = ApiKey(merchant=request.merchant, scopes=SHOP_SCOPES)
    form = ApiKeyForm(request.POST or None, instance=instance)
    if form.is_valid():
        try:
            key, text = create_api_key(instance.merchant, actor=str(request.user), **form.cleaned_data)
        except ApiKeyRefused as error:
            form.add_error("name", str(error))
        else:
            # Rendered instead of redirected: the text exists only in this response. Its name is used now, so
            # reloading the page doesn't create another key.
            return show(request, created=key, text=text)
    return show_form(request, form, title=gettext("Create an API key"), button=gettext("Create key"))


@scoped(KEYS.filter(revoked_at=None), Role.OWNER, merchant="vendor")  # a revoked key can't be changed
@require_http_methods(["GET", "POST"])
def change(request, key: ApiKey) -> HttpResponse:
    form = ChangeApiKeyForm(request.POST or None, instance=key)
    if form.is_valid():
        key.save(update_fields=form.changed_data)
        messages.success(request, gettext("API key “{name}” changed.").format(name=key.name))
        return redirect(key)
    title = gettext("Edit {prefix}").format(prefix=key.shown_prefix)
    return show_form(request, form, title=title, button=gettext("Save"))


def show_form(request, form: ApiKeyForm, *, title: str, button: str) -> HttpResponse:
    context = {"section": "api-keys", "form": form, "title": title, "button": button, "cancel": reverse("api-keys")}
    return render(request, "portal/api_keys/api_key_form.html", context)


@scoped(KEYS, Role.OWNER, merchant="vendor")
@confirmed
def revoke(request, key: ApiKey) -> Confirmation:
    text = gettext("Software that uses it loses access immediately: Keywell refuses its payments and other requests.")
    if key.last_used_at:
        used = gettext("It was last used {ago}.").format(ago=format_distance(key.last_used_at - timezone.now()))
        text = f"{text} {used}"
    yield Question(
        title=gettext("Revoke the API key “{name}”?").format(name=key.name),
        text=f"{text} {gettext('You can’t undo this. To replace it, create a new one first.')}",
        button=gettext("Revoke"),
        danger=True,
        section="api-keys",
    )
    revoke_api_key(key, actor=str(request.user))
    return gettext("API key “{name}” revoked.").format(name=key.name)
