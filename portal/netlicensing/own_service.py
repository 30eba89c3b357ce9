"""API keys for accounts at Keywell's own licensing service."""

from django.db import transaction
from django.utils.translation import gettext

from fulfillment.models import Fulfillment
from fulfillment.product_sources import SourceChangeRefused
from fulfillment.sources.netlicensing.models import LicensingAccount
from licensing.models import Role, Token
from outbound.breaker import probe_now
from portal.netlicensing.forms import AccountForm
from vault.fingerprints import fingerprint


@transaction.atomic
def save_account(account: LicensingAccount) -> None:
    """Save an account, with a valid key if it is at our own service. Retry waiting items, since this may fix it."""
    if account.is_own and not keys_of(account).live().exists():
        key = Token(merchant=account.merchant, token_type=Token.Type.APIKEY, api_key_role=Role.OPERATION)
        key.name = "Keywell’s own orders"
        key.save()
        account.api_key = key.number
    # Leave the state out, because workers update it concurrently.
    account.save(update_fields=AccountForm.Meta.fields if account.pk else None)
    probe_now(account)
    Fulfillment.objects.ask_again(account)


@transaction.atomic
def remove_account(account: LicensingAccount) -> None:
    """Delete an account without packages, and its key at our own service. Raises SourceChangeRefused."""
    # Blocks adding a package in the meantime, since inserting a foreign key locks the referenced row.
    LicensingAccount.objects.select_for_update().get(pk=account.pk)
    if account.packages.exists():
        raise SourceChangeRefused(
            gettext("“{account}” has license packages. Remove them first.").format(account=account)
        )
    account.delete()
    if account.is_own:
        keys_of(account).delete()


def keys_of(account: LicensingAccount):
    """The key created for an account at our own service, if any."""
    return Token.objects.filter(merchant=account.merchant, fingerprint=fingerprint(account.api_key))
