from django.core.management import call_command
from django.core.management.base import BaseCommand

from merchants.models import Merchant, User

FIRST_KEY = "First shop"


class Command(BaseCommand):
    help = "Create an administrator, and a merchant with an API key, each if there is none. `run.py init` uses this."

    def add_arguments(self, parser):
        parser.add_argument("--staff", required=True, metavar="ADDRESS")
        parser.add_argument("--company", required=True, metavar="NAME")
        parser.add_argument("--owner", required=True, metavar="ADDRESS")
        parser.add_argument("--language", default="en")

    def handle(self, *, staff, company, owner, language, **options):
        if User.objects.filter(is_superuser=True, is_active=True).exists():
            self.stdout.write("Keeping the administrators. `manage staff ADDRESS` adds one.")
        else:
            call_command("staff", staff, stdout=self.stdout)
        if Merchant.objects.exists():
            self.stdout.write("Keeping the merchants. `manage merchant NAME --owner ADDRESS` adds one.")
        else:
            options = {"owner": owner, "language": language, "api_key": FIRST_KEY}
            call_command("merchant", company, **options, stdout=self.stdout, stderr=self.stdout)
