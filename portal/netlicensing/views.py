from functools import partial
from itertools import islice
from time import monotonic
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from fulfillment import actions
from fulfillment.models import Fulfillment
from fulfillment.product_sources import remove_place
from fulfillment.sources.netlicensing.client import NetLicensingClient, NetLicensingError
from fulfillment.sources.netlicensing.models import LicensePackage, LicensingAccount
from outbound.outgoing_requests import HostBusy
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.netlicensing.forms import AccountForm, PackageForm
from portal.netlicensing.own_service import remove_account, save_account
from portal.request_log import read_log
from portal.saving import save_once
from work.stored_texts import show_stored

# Suggested product or template numbers.
MAX_SUGGESTIONS = 200
PREVIEW_QUANTITY = 3

for_account = scoped(LicensingAccount)


@never_cache
@member_required(Role.MANAGER)
@require_safe
def accounts(request) -> HttpResponse:
    rows = request.merchant.licensing_accounts.prefetch_related("packages")
    context = {"section": "licensing", "tab": "accounts", "accounts": rows}
    return render(request, "portal/netlicensing/licensing_accounts.html", context)


@member_required(Role.MANAGER)
@require_http_methods(["GET", "POST"])
def add(request) -> HttpResponse:
    form = AccountForm(request.POST or None, instance=LicensingAccount(merchant=request.merchant))
    if form.is_valid() and save_once(form, partial(save_account, form.instance)):
        messages.success(request, gettext("Account added. Now add a license package."))
        return redirect(form.instance)
    return show_form(request, form, gettext("Add licensing account"), reverse("licensing-accounts"))


@for_account
@require_http_methods(["GET", "POST"])
def change(request, account: LicensingAccount) -> HttpResponse:
    form = AccountForm(request.POST or None, instance=account)
    if form.is_valid() and save_once(form, partial(save_account, account)):
        messages.success(request, gettext("Account changed. Waiting orders will be retried now."))
        return redirect(account)
    return show_form(request, form, gettext("Edit licensing account"), account.get_absolute_url())


def show_form(request, form: AccountForm, title: str, cancel: str) -> HttpResponse:
    context = {"section": "licensing", "form": form, "title": title, "cancel": cancel}
    return render(request, "portal/netlicensing/licensing_account_form.html", context)


@for_account
@require_safe
def account(request, account: LicensingAccount) -> HttpResponse:
    products = Prefetch("fulfillment_methods__product")
    context = {
        "section": "licensing",
        "account": account,
        "packages": account.packages.prefetch_related("templates", products),
        "failed": Fulfillment.objects.count_failed(account),
        **read_log(account, request.GET),
    }
    return render(request, "portal/netlicensing/licensing_account.html", context)


@for_account
@require_safe
def outgoing_request(request, account: LicensingAccount, request_pk: int) -> HttpResponse:
    row = get_object_or_404(account.outgoing_requests.select_related("item__order"), pk=request_pk)
    context = {"section": "licensing", "upstream": account, "outgoing_request": row}
    return render(request, "portal/netlicensing/outgoing_request.html", context)


@for_account
@require_POST
def test(request, account: LicensingAccount) -> HttpResponse:
    try:
        numbers = read_numbers(account, "licensetemplate")
    except (NetLicensingError, HostBusy) as error:
        messages.error(request, gettext("Test failed: {error}").format(error=show_stored(str(error))))
    else:
        messages.success(
            request,
            ngettext(
                "Test succeeded: found {count} license template.",
                "Test succeeded: found {count} license templates.",
                len(numbers),
            ).format(count=intcomma(len(numbers))),
        )
    return redirect(account)


def read_numbers(account: LicensingAccount, kind: str) -> list[str]:
    """Return up to MAX_SUGGESTIONS numbers of a kind of object. Raises NetLicensingError, HostBusy."""
    client = NetLicensingClient(account, deadline=monotonic() + account.timeout + 1, is_test=True)
    return [found["number"] for found in islice(client.find_all(kind), MAX_SUGGESTIONS) if "number" in found]


@for_account
@confirmed
def retry_failed(request, account: LicensingAccount) -> Confirmation:
    failed = Fulfillment.objects.count_failed(account)
    yield Question(
        title=gettext("Retry all failed?"),
        text=gettext(
            "We’ll ask “{account}” again for the failed items of paid orders ({failed}). Existing licensees and"
            " licenses are reused, so nothing is created twice."
        ).format(account=account, failed=intcomma(failed)),
        button=gettext("Retry all"),
    )
    count = actions.retry_failed(account, actor=str(request.user))
    return ngettext(
        "{count} item will be retried, oldest payment first.",
        "{count} items will be retried, oldest payment first.",
        count,
    ).format(count=intcomma(count))


@for_account
@confirmed
def delete(request, account: LicensingAccount) -> Confirmation:
    yield Question(
        title=gettext("Remove the licensing account?"),
        text=gettext(
            "Keywell will send no more requests to “{account}” and won’t deactivate licenses of orders that are"
            " refunded later. Existing licenses stay in the service."
        ).format(account=account),
        button=gettext("Remove account"),
        danger=True,
        then="licensing-accounts",
    )
    remove_account(account)
    return gettext("Licensing account “{account}” removed.").format(account=account)


# License packages


@for_account
@require_http_methods(["GET", "POST"])
def add_package(request, account: LicensingAccount) -> HttpResponse:
    return edit_package(
        request, LicensePackage(merchant=request.merchant, account=account), gettext("Add license package")
    )


@for_account
@require_http_methods(["GET", "POST"])
def package(request, account: LicensingAccount, package: int) -> HttpResponse:
    return edit_package(request, get_object_or_404(account.packages, pk=package), gettext("Edit license package"))


def edit_package(request, package: LicensePackage, title: str) -> HttpResponse:
    account = package.account
    form = PackageForm(request.POST or None, instance=package)
    if form.is_valid() and save_once(form, form.save):
        messages.success(
            request,
            gettext(
                "License package saved. You can add it to products as a source. Orders in progress keep the old"
                " version."
            ),
        )
        return redirect(package)
    templates = list(package.templates.all()) if package.pk else []
    context = {
        "section": "licensing",
        "account": account,
        "package": package,
        "form": form,
        "title": title,
        "templates": templates,
        "times": [
            (template.number, template.quantity, template.quantity * PREVIEW_QUANTITY) for template in templates
        ],
        "previewed": PREVIEW_QUANTITY,
        **suggestions(account),
    }
    return render(request, "portal/netlicensing/license_package.html", context)


def suggestions(account: LicensingAccount) -> dict[str, Any]:
    """Return product and template numbers to choose from, or none if the account isn't healthy."""
    if account.state != LicensingAccount.State.HEALTHY:
        return {}
    try:
        return {
            "products": read_numbers(account, "product"),
            "known_templates": read_numbers(account, "licensetemplate"),
        }
    except (NetLicensingError, HostBusy) as error:
        return {"no_suggestions": show_stored(str(error))}


@for_account
@confirmed
def delete_package(request, account: LicensingAccount, package: int) -> Confirmation:
    row = get_object_or_404(account.packages, pk=package)
    yield Question(
        title=gettext("Remove the license package?"),
        text=gettext(
            "“{row}” will be deleted. Licenses that were already added stay and are deactivated after a refund."
        ).format(row=row),
        button=gettext("Remove package"),
        danger=True,
        back=row,
        then=account,
    )
    remove_place(row)
    return gettext("License package “{row}” removed.").format(row=row)
