import smtplib

from anymail.exceptions import AnymailError, AnymailInvalidAddress, AnymailRecipientsRefused
from django.core.mail import EmailMessage


class MailError(Exception):
    """A mail was not taken. Permanent: it will not be, as long as the address is the same."""

    def __init__(self, message: str, *, permanent: bool):
        super().__init__(message)
        self.permanent = permanent


def send(message: EmailMessage) -> str:
    """Hand a mail to the mail server or provider; return the Message-ID under which that knows it.

    Raises MailError.
    """
    try:
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
        raise MailError(
            f"The mail server answered {error.smtp_code} {_text(error.smtp_error)}", permanent=False
        ) from error
    except (OSError, AnymailError) as error:
        raise MailError(f"The mail server did not take the mail: {error}", permanent=False) from error

    status = getattr(message, "anymail_status", None)
    return getattr(status, "message_id", None) or message.extra_headers["Message-ID"]


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
