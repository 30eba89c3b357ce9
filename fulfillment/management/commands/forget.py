import json

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder

from fulfillment.personal_data import NotAnAddress, PersonalData, describe_counts
from merchants.models import Merchant


class Command(BaseCommand):
    help = (
        "Erase a customer's personal data, found by e-mail address, from orders, deliveries and histories. Accounting"
        " data and licenses stay. With --export, only print the data as JSON."
    )

    def add_arguments(self, parser):
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--merchant", metavar="SLUG", help="only this merchant's data")
        parser.add_argument("--export", action="store_true", help="print the data instead of erasing it")

    def handle(self, *, email, merchant, export, **options):
        try:
            held = PersonalData(email, get_merchant(merchant) if merchant else None)
        except NotAnAddress as error:
            raise CommandError(f"“{email}” is not an e-mail address.") from error
        if export:
            self.stdout.write(json.dumps(held.export(), cls=DjangoJSONEncoder, ensure_ascii=False, indent=2))
            return

        self.stdout.write(f"Erased: {describe_counts(held.erase(actor='manage.py forget'))}.")


def get_merchant(slug: str) -> Merchant:
    try:
        return Merchant.objects.get(slug=slug)
    except Merchant.DoesNotExist as error:
        raise CommandError(f"No merchant has the slug “{slug}”.") from error
