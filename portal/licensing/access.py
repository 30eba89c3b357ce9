"""Logins and API keys for a merchant's licensing service. Owners create and revoke them."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fulfillment.sources.netlicensing.models import LicensingAccount
from licensing.models import Token, VendorLogin
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.licensing.forms import KeyForm, VendorLoginForm
from vault.fingerprints import fingerprint

MAX_SHOWN = 100  # newest first
KEYS = Token.objects.filter(token_type=Token.Type.APIKEY).defer("number")


@never_cache
@member_required(Role.OWNER)
@require_safe
def access(request) -> HttpResponse:
    return show(request)


def show(request, **context: Any) -> HttpResponse:
    """Render the page. `created` and `secret` show a new login or key; the secret is shown only once."""
    keys = KEYS.filter(merchant=request.merchant).select_related("licensee").defer("number", "licensee__number")
    context |= {
        "section": "licensing",
        "tab": "access",
        "logins": VendorLogin.objects.filter(merchant=request.merchant).order_by("-pk")[:MAX_SHOWN],
        "keys": keys.order_by("-active", "-pk")[:MAX_SHOWN],
        "now": timezone.now(),
    }
    return render(request, "portal/licensing/licensing_access.html", context)


@never_cache
@member_required(Role.OWNER)
@confirmed
def add_login(request) -> Confirmation:
    form = VendorLoginForm(request.merchant, request.POST or None)
    text = gettext("Software that signs in with this user name and password has full access.")
    yield Question(
        title=gettext("Create a login"), text=text, button=gettext("Create login"), form=form, back="licensing-access"
    )
    name, actor = form.cleaned_data["name"], str(request.user)
    created, password = VendorLogin.objects.create_login(request.merchant, name, created_by=actor)
    return show(request, created=created, secret=password)


@never_cache
@member_required(Role.OWNER)
@confirmed
def add_key(request) -> Confirmation:
    form = KeyForm(request.merchant, request.POST or None)
    text = gettext("Software signs in with the user name apiKey and this key as the password.")
    yield Question(
        title=gettext("Create an API key"), text=text, button=gettext("Create key"), form=form, back="licensing-access"
    )
    created = form.token()
    created.save()
    return show(request, created=created, secret=created.number)


@scoped(VendorLogin, Role.OWNER)
@confirmed
def revoke_login(request, login: VendorLogin) -> Confirmation:
    yield ask_revoke(gettext("the login {login}").format(login=login))
    login.revoke()
    return gettext("Login {login} revoked.").format(login=login)


@scoped(KEYS, Role.OWNER)
@confirmed
def revoke_key(request, key: Token) -> Confirmation:
    account = find_account(key)
    warning = gettext("Orders that use the account “{account}” will fail until you save that account again.").format(
        account=account
    )
    yield ask_revoke(gettext("the API key {key}").format(key=key), warning=warning if account else "")
    Token.objects.filter(pk=key.pk).update(active=False)
    return gettext("API key {key} revoked.").format(key=key)


def find_account(key: Token) -> LicensingAccount | None:
    accounts = key.merchant.licensing_accounts.filter(address="")
    return next((account for account in accounts if fingerprint(account.api_key) == bytes(key.fingerprint)), None)


def ask_revoke(name: str, *, warning: str = "") -> Question:
    text = gettext("Software that uses it loses access. You can’t undo this. To replace it, create a new one first.")
    return Question(
        title=gettext("Revoke {name}?").format(name=name),
        text=f"{text} {warning}" if warning else text,
        button=gettext("Revoke"),
        danger=True,
        back="licensing-access",
    )
