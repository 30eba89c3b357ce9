"""A merchant's accounts at Keywell's own licensing service, with the keys that are made for them."""

from django.db import transaction

from fulfillment.models import Fulfillment
from fulfillment.product_sources import SourceChangeRefused
from fulfillment.sources.netlicensing.models import LicensingAccount
from licensing.models import Role, Token
from outbound.breaker import probe_now
from portal.netlicensing.forms import AccountForm
from vault.fingerprints import fingerprint


@transaction.atomic
def save_account(account: LicensingAccount) -> None:
    """Save it, at our own service with a key that is good. Perhaps that mends it: what waits for it asks it again."""
    if account.is_own and not keys_of(account).live().exists():
        key = Token(merchant=account.merchant, token_type=Token.Type.APIKEY, api_key_role=Role.OPERATION)
        key.name = "Keywell’s own orders"
        key.save()
        account.api_key = key.number
    # How it stands, workers write meanwhile.
    account.save(update_fields=AccountForm.Meta.fields if account.pk else None)
    probe_now(account)
    Fulfillment.objects.ask_again(account)


@transaction.atomic
def remove_account(account: LicensingAccount) -> None:
    """Delete an account that no package uses, and its key at our own service. Raises SourceChangeRefused."""
    # Nobody adds a package meanwhile: that locks what a row refers to.
    LicensingAccount.objects.select_for_update().get(pk=account.pk)
    if account.packages.exists():
        raise SourceChangeRefused(f"“{account}” has license packages. Remove them first.")
    account.delete()
    if account.is_own:
        keys_of(account).delete()


def keys_of(account: LicensingAccount):
    """The key that was made for the account, if it was."""
    return Token.objects.filter(merchant=account.merchant, fingerprint=fingerprint(account.api_key))
