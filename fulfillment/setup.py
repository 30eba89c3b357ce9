"""Setup requests: a merchant asks for automatic sending, and support staff apply the request or answer it."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import SetupEvent, SetupRequest, SetupRequestPart
from fulfillment.product_sources import SourceChangeRefused, add_source
from merchants.models import Merchant, Product, User
from notices.sending import NoticeKind, notify, register
from pools import uploads
from pools.detection import ColumnInDoubt, detect
from pools.imports import preview_keys
from pools.models import LicensePool
from pools.reading import KeyFileError, read_keys, unpack
from pools.replenishment import rearm
from pools.warnings import KeyWarnings
from work.refusals import Refused
from work.stored_texts import in_english

Kind = SetupEvent.Kind
Status = SetupRequest.Status

# Open requests per merchant. Each may hold a file.
MAX_OPEN = 5


class SetupNotice(NoticeKind):
    def context(self, notice):
        return {"request": notice.subject, "events": list(notice.subject.events.all())}

    def recipients(self, notice):
        """The owners, and the requester if still an active member."""
        request = notice.subject
        askers = request.merchant.members.filter(user=request.asked_by_id, user__is_active=True)
        addresses = [*askers.values_list("user__email", flat=True), *request.merchant.owners_addresses()]
        return list(dict.fromkeys(addresses))


class SetupAsked(SetupNotice):
    code, name = "setup_asked", _("setup requested")

    def recipients(self, notice):
        return settings.SUPPORT_EMAIL


class SetupApplied(SetupNotice):
    code, name = "setup_applied", _("setup applied")


class SetupAnswered(SetupNotice):
    code, name = "setup_answered", _("setup answered")


register(SetupAsked, SetupApplied, SetupAnswered)


class SetupRefused(Refused):
    code = "setup_refused"


def preview_file(request: SetupRequest, options: dict[str, Any]) -> dict[str, Any]:
    """Preview a request's license file: a pools.imports.Preview as a dict, or why the file can't be read.

    Raises SetupRefused if the merchant has to choose the column that holds the keys.
    """
    warnings = KeyWarnings(request.merchant.pools.filter(name=request.pool_name).first())
    try:
        read_as = detect(request.parts.read(), options, file_name=request.file_name, known=warnings.earlier)
        preview = preview_keys(None, warnings.watch(read_keys(request.parts.read(), read_as)))
    except ColumnInDoubt as error:
        raise SetupRefused(str(error)) from error
    except KeyFileError as error:
        return {"error": str(error), "problems": error.lines}
    return asdict(preview) | {"read_as": read_as, "warnings": uploads.get_warnings(warnings, preview)}


@transaction.atomic
def submit(
    merchant: Merchant, content: Iterable[bytes], *, actor: User, column: int | None = None, **fields: Any
) -> SetupRequest:
    """Create a request with its license file, if any.

    Raises SetupRefused if the file's format is not supported, if it is a table and the merchant has to choose the
    `column` that holds the keys, or if too many requests are open.
    """
    # Serializes with other requests that count the open ones.
    Merchant.objects.select_for_update(no_key=True).get(pk=merchant.pk)
    if merchant.setup_requests.filter(status=Status.OPEN).count() >= MAX_OPEN:
        raise SetupRefused(
            gettext("You already have {max_open} open requests. Withdraw one, or wait for an answer.").format(
                max_open=MAX_OPEN
            )
        )

    request = SetupRequest.objects.create(merchant=merchant, asked_by=actor, **fields)
    try:
        for number, part in enumerate(unpack(content)):
            SetupRequestPart.objects.create(request=request, number=number, content=part)
    except KeyFileError as error:
        raise SetupRefused(str(error)) from error
    if request.parts.exists():
        with in_english():
            request.preview = preview_file(request, {"column": column} if column else {})
        request.save(update_fields=["preview"])
    SetupEvent.objects.create(request=request, kind=Kind.ASKED, happened_by=str(actor), text=request.comment)
    if settings.SUPPORT_EMAIL:
        notify(SetupAsked, request.merchant, request)
    return request


@transaction.atomic
def apply(request: SetupRequest, *, actor: str) -> None:
    """Create or reuse the pool and the products, and import the keys. A worker imports a long file.

    Raises SetupRefused if the file can't be read. The request then stays open.
    """
    # Imports lock the merchant before the pool.
    Merchant.objects.select_for_update(no_key=True).get(pk=request.merchant_id)
    request = _lock_open(request)
    if request.preview.get("error"):
        raise SetupRefused(gettext("Can’t import the license file: {error}").format(error=request.preview["error"]))

    request.pool = pool = _set_up_pool(request)
    for wanted in request.products:
        _set_up_product(request, pool, **wanted)
    if request.parts.exists():
        uploads.begin(
            pool,
            request.parts.read(),
            actor=actor,
            file_name=request.file_name,
            confirmed=True,
            read_as=request.preview["read_as"],
        )
    request.save(update_fields=["pool"])
    _close(request, Kind.APPLIED, actor=actor)
    notify(SetupApplied, request.merchant, request)


def _set_up_pool(request: SetupRequest) -> LicensePool:
    fields = {"threshold": request.threshold, "recipients": request.recipients}
    pool, is_new = LicensePool.objects.get_or_create(
        merchant=request.merchant, name=request.pool_name, defaults=fields
    )
    if not is_new:
        LicensePool.objects.filter(pk=pool.pk).update(**fields)
        rearm(pool)
    return pool


def _set_up_product(request: SetupRequest, pool: LicensePool, *, sku: str, name: str) -> None:
    product, is_new = Product.objects.get_or_create(
        merchant=request.merchant, sku=sku, defaults={"name": name, "quantity_rule": request.quantity_rule}
    )
    if not is_new and product.quantity_rule != request.quantity_rule:
        product.quantity_rule = request.quantity_rule
        product.save(update_fields=["quantity_rule"])
    with suppress(SourceChangeRefused):  # the product already has it
        add_source(product, "pool", pool)


@transaction.atomic
def answer(request: SetupRequest, *, text: str, actor: str) -> None:
    """Close a request with an answer instead. Raises SetupRefused if it is already closed."""
    _close(_lock_open(request), Kind.ANSWERED, actor=actor, text=text)
    notify(SetupAnswered, request.merchant, request)


@transaction.atomic
def withdraw(request: SetupRequest, *, actor: str) -> None:
    """Close a request that the merchant no longer needs. Raises SetupRefused if it is already closed."""
    _close(_lock_open(request), Kind.WITHDRAWN, actor=actor)


def _lock_open(request: SetupRequest) -> SetupRequest:
    """Lock an open request, so that only one person can close it. Raises SetupRefused."""
    locked = SetupRequest.objects.select_for_update(no_key=True, of=["self"]).select_related("merchant")
    request = locked.get(pk=request.pk)
    if request.status != Status.OPEN:
        raise SetupRefused(gettext("The request is already {status}.").format(status=gettext(request.status)))
    return request


def _close(request: SetupRequest, kind: SetupEvent.Kind, *, actor: str, text: str = "") -> None:
    request.status = Status(kind)
    request.save(update_fields=["status"])
    request.parts.all().delete()
    SetupEvent.objects.create(request=request, kind=kind, happened_by=actor, text=text)
