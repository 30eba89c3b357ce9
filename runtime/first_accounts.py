"""Create an administrator and a merchant, each if there is none.

python -m runtime.first_accounts STAFF COMPANY OWNER LANGUAGE
"""

import os
import sys

import django

FIRST_KEY = "First shop"


def main(staff: str, company: str, owner: str, language: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    django.setup()

    from django.core.management import call_command

    from merchants.models import Merchant, User

    if User.objects.filter(is_superuser=True, is_active=True).exists():
        sys.stdout.write("Keeping the administrators. `python3 run.py manage staff ADDRESS` adds one.\n")
    else:
        call_command("staff", staff)
    if Merchant.objects.exists():
        sys.stdout.write("Keeping the merchants. `python3 run.py manage merchant NAME --owner ADDRESS` adds one.\n")
    else:
        call_command("merchant", company, owner=owner, language=language, api_key=FIRST_KEY)


if __name__ == "__main__":
    main(*sys.argv[1:])
