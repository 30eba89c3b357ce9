from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from delivery.link_requests import reset_url
from merchants.models import User
from runtime.checks import Unusable, check_email_address


class Command(BaseCommand):
    help = (
        "Make someone an administrator (superuser) and print a link with which they set their password, within three"
        " hours. For an administrator who can't sign in, it prints a new link."
    )

    def add_arguments(self, parser):
        parser.add_argument("email")

    @transaction.atomic
    def handle(self, *, email, **options):
        try:
            check_email_address(email)
        except Unusable as error:
            raise CommandError(str(error)) from error
        user = User.objects.filter(email=email.lower()).first()
        if user is None:
            user = User.objects.create_superuser(email)
        elif not user.is_superuser:
            raise CommandError(f"{user} already has an account without these rights. Change them in the admin.")
        self.stdout.write(f"Administrator {user.email}. Set the password: {reset_url(user)}")
