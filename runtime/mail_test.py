"""Send a test e-mail from this installation: `python -m runtime.mail_test ADDRESS`."""

import os
import sys

import django


def main(recipient: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    django.setup()

    from outbound.mail import MailError, compose_plain, send_email

    try:
        with send_email(compose_plain("emails/installation_test.txt", [recipient], {})):
            pass
    except MailError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1])
