"""Whom a merchant's licensing service answers: logins and API keys. Their owner makes and revokes them."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fulfillment.sources.netlicensing.models import LicensingAccount
from licensing.models import Token, VendorLogin
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.licensing.forms import KeyForm, VendorLoginForm
from vault.fingerprints import fingerprint

SHOWN = 100  # of those that were revoked, the last
KEYS = Token.objects.filter(token_type=Token.Type.APIKEY).defer("number")


@never_cache
@member_required(Role.OWNER)
@require_safe
def access(request) -> HttpResponse:
    return show(request)


def show(request, **context: Any) -> HttpResponse:
    """The page; with `made` and `secret` what was just made, which is shown this once."""
    keys = KEYS.filter(merchant=request.merchant).select_related("licensee").defer("number", "licensee__number")
    context |= {
        "section": "licensing",
        "tab": "access",
        "logins": VendorLogin.objects.filter(merchant=request.merchant).order_by("-pk")[:SHOWN],
        "keys": keys.order_by("-active", "-pk")[:SHOWN],
        "now": timezone.now(),
    }
    return render(request, "portal/licensing/licensing_access.html", context)


@never_cache
@member_required(Role.OWNER)
@confirmed
def add_login(request) -> Confirmation:
    form = VendorLoginForm(request.merchant, request.POST or None)
    text = "A user name and a password with which software may do everything."
    yield Question(title="Make a login", text=text, button="Make", form=form, back="licensing-access")
    name, actor = form.cleaned_data["name"], str(request.user)
    made, password = VendorLogin.objects.create_login(request.merchant, name, created_by=actor)
    return show(request, made=made, secret=password)


@never_cache
@member_required(Role.OWNER)
@confirmed
def add_key(request) -> Confirmation:
    form = KeyForm(request.merchant, request.POST or None)
    text = "Software signs in with it as the user apiKey."
    yield Question(title="Make an API key", text=text, button="Make", form=form, back="licensing-access")
    made = form.token()
    made.save()
    return show(request, made=made, secret=made.number)


@scoped(VendorLogin, Role.OWNER)
@confirmed
def revoke_login(request, login: VendorLogin) -> Confirmation:
    yield ask_revoke(f"the login {login}")
    VendorLogin.objects.filter(pk=login.pk, revoked_at=None).update(revoked_at=timezone.now())
    return f"The login {login} is revoked."


@scoped(KEYS, Role.OWNER)
@confirmed
def revoke_key(request, key: Token) -> Confirmation:
    account = account_with(key)
    orders = f" Orders fail then that get their licenses by “{account}”, until that account is saved again."
    yield ask_revoke(f"the API key {key}", also=orders if account else "")
    Token.objects.filter(pk=key.pk).update(active=False)
    return f"The API key {key} is revoked."


def account_with(key: Token) -> LicensingAccount | None:
    accounts = key.merchant.licensing_accounts.filter(address="")
    return next((account for account in accounts if fingerprint(account.api_key) == bytes(key.fingerprint)), None)


def ask_revoke(what: str, *, also: str = "") -> Question:
    return Question(
        title=f"Revoke {what}?",
        text="What uses it is refused from then on. This cannot be taken back; to change it, make a new one first."
        + also,
        button="Revoke",
        danger=True,
        back="licensing-access",
    )
