import re
import smtplib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Any

import requests
from anymail.exceptions import AnymailError, AnymailInvalidAddress, AnymailRecipientsRefused
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.template.loader import render_to_string

from merchants.addresses import to_ascii_domain
from merchants.models import Merchant
from outbound.mail_servers import SESSION_TIMEOUT, AddressNotSupported, get_server
from outbound.models import MailAccount
from outbound.outgoing_requests import OutgoingRequestError, storable
from work.attempts import Failure
from work.models import advisory_lock

ENHANCED_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}(?!\d)")
# Of the mailbox: unknown, not an address, moved, of a domain that takes no mail, disabled.
ABOUT_ADDRESS = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"}
# Of the sender, the mail system, the network, or a policy: we are not let in, or not yet.
NOT_ABOUT_ADDRESS = ("5.1.7", "5.1.8", "5.3.", "5.4.", "5.7.")

UNCERTAIN_ERRORS = (
    "The mail server broke off after it had received the whole e-mail, which may have arrived."
    " We send it again ten minutes later."
)
NOT_INTERNATIONAL = (
    "The mail server does not accept addresses with international characters before the @ (SMTPUTF8). Ask the customer"
    " for another address, or use a mail server that does."
)

# For a merchant's mail server to take a test mail.
TEST_TIMEOUT = 10


class MailError(Failure):
    """A mail was not taken. Permanent: it will not be, as long as the address is the same.

    Perhaps taken: the mail server went silent when it may have had all of it. Not let in: it refused our login.
    Unreachable: there was no talking to it, about whatever mail.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        perhaps_taken: bool = False,
        not_let_in: bool = False,
        unreachable: bool = False,
    ):
        # One that may have been taken is not sent again at once (docs/decisions/0003-at-least-once-mail.md).
        pause = timedelta(minutes=10) if perhaps_taken else timedelta(0)
        super().__init__(storable(message), permanent=permanent, pause=pause)
        self.perhaps_taken = perhaps_taken
        self.not_let_in = not_let_in
        self.unreachable = unreachable


def make_message_id() -> str:
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    return f"<{uuid.uuid4()}@{domain}>"


def named(name: str, address: str) -> str:
    """An address with a name in plain letters, which mail servers and providers want encoded each their way."""
    user, _, domain = address.rpartition("@")
    return str(Address(" ".join(name.split()), user, domain))


def compose_plain(template: str, recipients: list[str], context: dict[str, Any]) -> EmailMessage:
    """Make a mail of a template whose first line is the subject."""
    subject, _, body = render_to_string(template, context | {"base_url": settings.BASE_URL}).partition("\n")
    return EmailMessage(
        subject=" ".join(subject.split()),
        body=body.strip() + "\n",
        to=recipients,
        headers={"Message-ID": make_message_id(), "Auto-Submitted": "auto-generated"},
    )


def write_sender(message: EmailMessage, merchant: Merchant) -> None:
    """Have a mail to a customer come in the merchant's name, from our address, and be answered to the merchant."""
    message.from_email = named(merchant.sender, parseaddr(settings.DEFAULT_FROM_EMAIL)[1])
    message.reply_to = [merchant.reply_to] if merchant.reply_to else []


@contextmanager
def send_email(
    message: EmailMessage, account: MailAccount | None = None, *, timeout: float = SESSION_TIMEOUT
) -> Iterator[str]:
    """Hand a mail to the mail server or provider; for a `with` block that notes it at once.

    With a merchant's account it goes through that, and comes from its address; its mail server has `most_seconds`.

    Gives the Message-ID under which the other side knows it. Only after the block are goodbyes said to the server, for
    those can take as long as they please. Raises MailError if the mail was not taken.
    """
    message.to = [to_ascii_domain(address) for address in message.to]
    message.connection = server = get_server(account, timeout)
    if account:
        message.from_email = named(parseaddr(message.from_email)[0], account.sender)
    try:
        _hand_over(message, server)
        status = getattr(message, "anymail_status", None)
        yield getattr(status, "message_id", None) or message.extra_headers["Message-ID"]
    finally:
        with suppress(OSError):
            server.close()


def send_test_mail(message: EmailMessage, merchant: Merchant, account: MailAccount | None) -> None:
    """Send a mail while a person waits, and a process of the web server: shortly, one at a time. Raises MailError."""
    with advisory_lock("test mail", merchant.pk) as locked:
        if not locked:
            raise MailError("Another test mail is still under way; try again in a moment.")
        with send_email(message, account, timeout=TEST_TIMEOUT):
            pass


def _hand_over(message: EmailMessage, server: BaseEmailBackend) -> None:
    try:
        server.open()
        message.send()
    except smtplib.SMTPRecipientsRefused as error:
        answers = list(error.recipients.values())
        answer = "; ".join(f"{code} {_text(text)}" for code, text in answers)
        wrong = all(is_about_address(code, _text(text), of_recipient=True) for code, text in answers)
        raise MailError(f"The mail server refused the address: {answer}", permanent=wrong) from error
    except (AnymailInvalidAddress, AnymailRecipientsRefused) as error:
        raise MailError(f"The mail provider refused the address: {error}", permanent=True) from error
    except smtplib.SMTPAuthenticationError as error:
        answer = f"{error.smtp_code} {_text(error.smtp_error)}"
        raise MailError(f"The mail server refused the login: {answer}", not_let_in=True) from error
    except smtplib.SMTPResponseException as error:
        answer = _text(error.smtp_error)
        wrong = is_about_address(error.smtp_code, answer)
        raise MailError(f"The mail server answered {error.smtp_code} {answer}", permanent=wrong) from error
    except AddressNotSupported as error:
        raise MailError(NOT_INTERNATIONAL, permanent=True) from error
    except UnicodeError as error:
        raise MailError("The address cannot be mailed to.", permanent=True) from error
    except smtplib.SMTPServerDisconnected as error:
        perhaps_taken = getattr(server, "has_sent_all", False)
        text = UNCERTAIN_ERRORS if perhaps_taken else f"The mail server closed the connection: {error}"
        raise MailError(text, perhaps_taken=perhaps_taken, unreachable=True) from error
    except AnymailError as error:
        raise MailError(
            f"The mail provider did not take the mail: {error}",
            perhaps_taken=isinstance(error, requests.ReadTimeout),
            not_let_in=error.status_code in (401, 403),
            unreachable=isinstance(error, requests.ConnectionError | requests.Timeout),
        ) from error
    except (OSError, OutgoingRequestError) as error:
        raise MailError(f"The mail server did not take the mail: {error}", unreachable=True) from error


def is_about_address(code: int, answer: str, *, of_recipient: bool = False) -> bool:
    """Whether a mail server's answer says that the address is wrong, and not that it may take the mail later.

    A refused recipient is a wrong address, unless the enhanced status code (RFC 3463) names another reason. For a mail
    that is refused as a whole it is the other way round.
    """
    if not 500 <= code < 600:
        return False
    found = ENHANCED_STATUS.match(answer)
    if not found:
        return of_recipient
    status = found[0]
    return not status.startswith(NOT_ABOUT_ADDRESS) if of_recipient else status in ABOUT_ADDRESS


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
