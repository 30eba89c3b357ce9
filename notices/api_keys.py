"""API keys: creating and revoking them, and notices to the owners."""

from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import EXPIRY_NOTICE, ApiKey, Merchant
from notices.models import MerchantNotice
from notices.sending import NoticeKind, notify, register
from work.refusals import Refused


class ApiKeyRefused(Refused):
    code = "api_key_refused"


class ApiKeyNotice(NoticeKind):
    def recipients(self, notice):
        return notice.merchant.owners_addresses()


class ApiKeyCreated(ApiKeyNotice):
    code, name = "api_key_created", _("API key created")


class ApiKeyRevoked(ApiKeyNotice):
    code, name = "api_key_revoked", _("API key revoked")


class ApiKeyExpires(ApiKeyNotice):
    code, name = "api_key_expires", _("API key expires soon")

    def obsolete_reason(self, notice):
        if notice.subject.revoked_at:
            return gettext("The key was revoked first.")
        return "" if notice.subject.expires_soon else gettext("The key’s expiration was changed first.")


register(ApiKeyCreated, ApiKeyRevoked, ApiKeyExpires)


@transaction.atomic
def create_api_key(merchant: Merchant, *, name: str, actor: str, **fields: Any) -> tuple[ApiKey, str]:
    """Create a key and notify the owners. Only this call returns its text. Raises ApiKeyRefused for a used name."""
    # Serializes with other requests that create a key of the same name, as a second click does.
    Merchant.objects.select_for_update(no_key=True).get(pk=merchant.pk)
    if ApiKey.objects.with_name(merchant, name).exists():
        raise ApiKeyRefused(gettext("Another API key already has this name."))

    key, text = ApiKey.objects.create_key(merchant=merchant, name=name, created_by=actor, **fields)
    notify_owners(ApiKeyCreated, key)
    return key, text


@transaction.atomic
def revoke_api_key(key: ApiKey, *, actor: str) -> None:
    """Revoke the key for good and notify the owners. Does nothing if it is already revoked."""
    if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now(), revoked_by=actor):
        notify_owners(ApiKeyRevoked, key)


@transaction.atomic
def warn_of_expiry() -> None:
    """Notify the owners once about each key in use that expires soon, and again if they postpone its expiration."""
    noticed = MerchantNotice.objects.filter(
        subject_type=ContentType.objects.get_for_model(ApiKey),
        subject_id=OuterRef("pk"),
        kind=ApiKeyExpires.code,
        created_at__gt=OuterRef("expires_at") - EXPIRY_NOTICE,
    )
    # Serializes with other sweeps, which skip these keys. A later statement sees the notices of earlier ones.
    locked = ApiKey.objects.expiring().select_for_update(skip_locked=True, of=["self"])
    keys = [key.pk for key in locked.order_by("pk")]
    for key in ApiKey.objects.filter(~Exists(noticed), pk__in=keys).select_related("merchant"):
        notify_owners(ApiKeyExpires, key)


def notify_owners(kind: type[ApiKeyNotice], key: ApiKey) -> None:
    if key.merchant.owners_addresses():
        notify(kind, key.merchant, key)
