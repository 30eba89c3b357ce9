"""Create a merchant, invite its owner, and create its first API key."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from merchants.forms import ApiKeyForm, NewMerchantForm
from merchants.models import ApiKey, Invitation
from merchants.onboarding import FIRST_PAGE, MerchantExists, create_merchant
from notices.invitations import invitation_url, send_invitation
from outbound.mail import MailError

# The arguments that fill the fields of the forms.
ARGUMENTS = {"name": "NAME", "owner": "--owner", "language": "--language"}


class Command(BaseCommand):
    help = "Creates a merchant with the checkout page “main” and invites its owner."

    def add_arguments(self, parser):
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--owner", metavar="EMAIL", required=True, help="gets an invitation by e-mail")
        parser.add_argument("--language", default="en", help=f"one of {', '.join(dict(settings.LANGUAGES))}")
        parser.add_argument("--api-key", metavar="NAME", help="create an API key with all scopes and print it")
        parser.add_argument("--no-invitation", action="store_true", help="print the link of the invitation only")

    def handle(self, *, name: str, owner: str, language: str, api_key: str | None, **options: Any) -> None:
        form = NewMerchantForm({"name": name, "owner": owner, "language": language})
        self._check(form, ARGUMENTS)
        if api_key is not None:
            scopes = list(ApiKey.Scope.values)
            key_form = ApiKeyForm({"name": api_key, "scopes": scopes})
            self._check(key_form, {"name": "--api-key"})
        try:
            merchant, invitation, token = create_merchant(**form.cleaned_data)
        except MerchantExists as error:
            raise CommandError(f"NAME: {error}") from error

        self.stdout.write(f"Merchant: {merchant} ({merchant.slug}), with the checkout page “{FIRST_PAGE}”")
        self.stdout.write(f"Portal: {settings.BASE_URL}/")
        if api_key is not None:
            fields = {"name": key_form.cleaned_data["name"], "scopes": scopes, "created_by": "manage.py merchant"}
            _, text = ApiKey.objects.create_key(merchant=merchant, **fields)
            self.stdout.write(f"API key, shown only now: {text}")
        self._invite(invitation, token, by_mail=not options["no_invitation"])

    def _check(self, form: NewMerchantForm | ApiKeyForm, arguments: dict[str, str]) -> None:
        errors = [f"{arguments[field]}: {' '.join(map(str, messages))}" for field, messages in form.errors.items()]
        if errors:
            raise CommandError("\n".join(errors))

    def _invite(self, invitation: Invitation, token: str, *, by_mail: bool) -> None:
        until = f"works until {invitation.expires_at:%Y-%m-%d %H:%M} UTC"
        if by_mail:
            try:
                send_invitation(invitation, token)
            except MailError as error:
                self.stderr.write(f"The e-mail to {invitation.email} failed: {error} Send the link below instead.")
            else:
                self.stdout.write(f"Invitation: e-mailed to {invitation.email}, {until}")
                return
        self.stdout.write(f"Invitation of {invitation.email}, {until}: {invitation_url(token)}")
