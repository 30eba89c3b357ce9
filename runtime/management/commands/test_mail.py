from django.core.management.base import BaseCommand, CommandError

from outbound.mail import MailError, compose_plain, send_email


class Command(BaseCommand):
    help = "Send a test e-mail with the settings of this installation. Needs no database."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("recipient", metavar="ADDRESS")

    def handle(self, *, recipient, **options):
        try:
            with send_email(compose_plain("emails/installation_test.txt", [recipient], {})):
                self.stdout.write(f"Sent a test e-mail to {recipient}.")
        except MailError as error:
            raise CommandError(str(error)) from error
