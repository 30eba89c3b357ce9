import smtplib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from anymail.exceptions import AnymailError, AnymailInvalidAddress, AnymailRecipientsRefused
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.template.loader import render_to_string

from fulfillment.models import Delivery


class MailError(Exception):
    """A mail was not taken. Permanent: it will not be, as long as the address is the same.

    Perhaps taken: the mail server went silent when it may have had all of it.
    """

    def __init__(self, message: str, *, permanent: bool = False, perhaps_taken: bool = False):
        super().__init__(message)
        self.permanent = permanent
        self.perhaps_taken = perhaps_taken


def compose_plain(template: str, recipients: list[str], context: dict[str, Any]) -> EmailMessage:
    """Make a mail of a template whose first line is the subject."""
    subject, _, body = render_to_string(template, context | {"base_url": settings.BASE_URL}).partition("\n")
    return EmailMessage(
        subject=" ".join(subject.split()),
        body=body.strip() + "\n",
        to=recipients,
        headers={"Message-ID": Delivery.make_message_id(), "Auto-Submitted": "auto-generated"},
    )


@contextmanager
def sent(message: EmailMessage) -> Iterator[str]:
    """Hand a mail to the mail server or provider; for a `with` block that notes it at once.

    Gives the Message-ID under which the other side knows it. Only after the block are goodbyes said to the server, for
    those can take as long as they please. Raises MailError if the mail was not taken.
    """
    message.connection = server = get_connection()
    try:
        _hand_over(message, server)
        status = getattr(message, "anymail_status", None)
        yield getattr(status, "message_id", None) or message.extra_headers["Message-ID"]
    finally:
        with suppress(OSError):
            server.close()


def _hand_over(message: EmailMessage, server: BaseEmailBackend) -> None:
    try:
        server.open()
        message.send()
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        answer = "; ".join(f"{code} {_text(text)}" for code, text in error.recipients.values())
        raise MailError(
            f"The mail server refused the address: {answer}", permanent=all(code >= 500 for code in codes)
        ) from error
    except (AnymailInvalidAddress, AnymailRecipientsRefused) as error:
        raise MailError(f"The mail provider refused the address: {error}", permanent=True) from error
    except smtplib.SMTPResponseException as error:
        raise MailError(f"The mail server answered {error.smtp_code} {_text(error.smtp_error)}") from error
    except UnicodeError as error:
        raise MailError("The address cannot be mailed to.", permanent=True) from error
    except smtplib.SMTPServerDisconnected as error:
        # smtplib says so of a connection that was closed, when the mail was not taken, and of one that fell silent.
        silent = isinstance(error.__context__, TimeoutError)
        raise MailError(f"The mail server broke off: {error}", perhaps_taken=silent) from error
    except (OSError, AnymailError) as error:
        raise MailError(f"The mail server did not take the mail: {error}") from error


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
