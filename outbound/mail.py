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
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from merchants.addresses import to_ascii_domain
from merchants.models import Merchant
from outbound.mail_servers import SESSION_TIMEOUT, AddressNotSupported, get_server
from outbound.models import MailAccount
from outbound.outgoing_requests import OutgoingRequestError, storable
from work.attempts import Failure
from work.locks import advisory_lock

ENHANCED_STATUS = re.compile(r"5\.\d{1,3}\.\d{1,3}(?!\d)")
# The mailbox is unknown, invalid, moved, in a domain without mail, or disabled.
ABOUT_ADDRESS = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"}
# The sender, mail system, network or a policy is the problem.
NOT_ABOUT_ADDRESS = ("5.1.7", "5.1.8", "5.3.", "5.4.", "5.7.")

MAY_HAVE_ARRIVED = _("The mail server disconnected after receiving the whole e-mail, which may have arrived.")
NOT_INTERNATIONAL = _(
    "The mail server doesn’t accept international characters before the @ (SMTPUTF8). Ask the customer for another"
    " address, or use a mail server that supports them."
)

TEST_SUBJECT = gettext_noop("[Test] %(subject)s")

# Seconds for a merchant's mail server to accept a test e-mail.
TEST_TIMEOUT = 10


class MailError(Failure):
    """The e-mail wasn't accepted.

    `permanent`: it never will be at this address. `may_have_arrived`: the server may have received all of it
    before it disconnected. `login_rejected`: it rejected our login. `unreachable`: no e-mail could have been sent.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        may_have_arrived: bool = False,
        login_rejected: bool = False,
        unreachable: bool = False,
    ):
        # Wait before resending one that may have arrived (docs/decisions/0003-at-least-once-mail.md).
        pause = timedelta(minutes=10) if may_have_arrived else timedelta(0)
        super().__init__(storable(message), permanent=permanent, pause=pause)
        self.may_have_arrived = may_have_arrived
        self.login_rejected = login_rejected
        self.unreachable = unreachable


def make_message_id() -> str:
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    return f"<{uuid.uuid4()}@{domain}>"


def format_address(name: str, address: str) -> str:
    """Return `Name <address>`, unencoded, because mail servers and providers want different encodings."""
    user, _, domain = address.rpartition("@")
    return str(Address(" ".join(name.split()), user, domain))


def compose_plain(template: str, recipients: list[str], context: dict[str, Any]) -> EmailMessage:
    """Compose a text e-mail from a template whose first line is the subject."""
    subject, _, body = render_to_string(template, context | {"base_url": settings.BASE_URL}).partition("\n")
    return EmailMessage(
        subject=" ".join(subject.split()),
        body=body.strip() + "\n",
        to=recipients,
        headers={"Message-ID": make_message_id(), "Auto-Submitted": "auto-generated"},
    )


def mark_subject(subject: Any) -> str:
    """Mark a subject as one of a test, in the active language."""
    return gettext(TEST_SUBJECT) % {"subject": subject}


def set_sender(message: EmailMessage, merchant: Merchant) -> None:
    """Send from our address in the merchant's name, with replies to the merchant."""
    message.from_email = format_address(merchant.sender, parseaddr(settings.DEFAULT_FROM_EMAIL)[1])
    message.reply_to = [merchant.reply_to] if merchant.reply_to else []


class MailSession:
    """Hands e-mails to the mail server or provider over one connection, in a `with` block.

    A merchant's `account` replaces the installation's server and sender address, and its SMTP server has `timeout`
    seconds for the whole session.
    """

    def __init__(self, account: MailAccount | None = None, *, timeout: float = SESSION_TIMEOUT) -> None:
        self.account = account
        self.timeout = timeout
        self.server: BaseEmailBackend | None = None

    def __enter__(self) -> "MailSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: EmailMessage) -> str:
        """Return the Message-ID that the server or provider uses. Raises MailError if the e-mail wasn't accepted."""
        message.to = [to_ascii_domain(address) for address in message.to]
        self.server = self.server or get_server(self.account, self.timeout)
        message.connection = self.server
        if self.account:
            message.from_email = format_address(parseaddr(message.from_email)[0], self.account.sender)
        try:
            _hand_over(message, self.server)
        except BaseException:
            self.close()  # the server may be in the middle of an e-mail
            raise
        status = getattr(message, "anymail_status", None)
        return getattr(status, "message_id", None) or message.extra_headers["Message-ID"]

    def close(self) -> None:
        if self.server:
            with suppress(OSError):
                self.server.close()
        self.server = None


@contextmanager
def send_email(
    message: EmailMessage, account: MailAccount | None = None, *, timeout: float = SESSION_TIMEOUT
) -> Iterator[str]:
    """Hand an e-mail to the mail server or provider, then run the `with` block, which records it.

    Yields the Message-ID that the server or provider uses. The connection is closed only after the block, because that
    can take long. Raises MailError if the e-mail wasn't accepted.
    """
    with MailSession(account, timeout=timeout) as session:
        yield session.send(message)


def send_test_mail(message: EmailMessage, merchant: Merchant, account: MailAccount | None) -> None:
    """Send an e-mail while a person and a web process wait, so one at a time, with a timeout. Raises MailError."""
    with advisory_lock("test mail", merchant.pk) as locked:
        if not locked:
            raise MailError(gettext("Another test e-mail is in progress. Try again in a moment."))
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
        raise MailError(
            gettext("The mail server rejected the address: {answer}").format(answer=answer), permanent=wrong
        ) from error
    except (AnymailInvalidAddress, AnymailRecipientsRefused) as error:
        raise MailError(
            gettext("The mail provider rejected the address: {error}").format(error=error), permanent=True
        ) from error
    except smtplib.SMTPAuthenticationError as error:
        answer = f"{error.smtp_code} {_text(error.smtp_error)}"
        raise MailError(
            gettext("The mail server rejected the login: {answer}").format(answer=answer), login_rejected=True
        ) from error
    except smtplib.SMTPResponseException as error:
        answer = _text(error.smtp_error)
        wrong = is_about_address(error.smtp_code, answer)
        raise MailError(
            gettext("The mail server answered {smtp_code} {answer}").format(smtp_code=error.smtp_code, answer=answer),
            permanent=wrong,
        ) from error
    except AddressNotSupported as error:
        raise MailError(str(NOT_INTERNATIONAL), permanent=True) from error
    except UnicodeError as error:
        raise MailError(gettext("The address can’t receive e-mail."), permanent=True) from error
    except smtplib.SMTPServerDisconnected as error:
        may_have_arrived = getattr(server, "has_sent_all", False)
        text = (
            str(MAY_HAVE_ARRIVED)
            if may_have_arrived
            else gettext("The mail server closed the connection: {error}").format(error=error)
        )
        raise MailError(text, may_have_arrived=may_have_arrived, unreachable=True) from error
    except AnymailError as error:
        raise MailError(
            gettext("The mail provider didn’t accept the e-mail: {error}").format(error=error),
            may_have_arrived=isinstance(error, requests.ReadTimeout),
            login_rejected=error.status_code in (401, 403),
            unreachable=isinstance(error, requests.ConnectionError | requests.Timeout),
        ) from error
    except (OSError, OutgoingRequestError) as error:
        raise MailError(
            gettext("The mail server didn’t accept the e-mail: {error}").format(error=error), unreachable=True
        ) from error


def is_about_address(code: int, answer: str, *, of_recipient: bool = False) -> bool:
    """Whether a mail server's answer means that the address is wrong, so that retrying won't help.

    A rejected recipient is a wrong address unless the enhanced status code (RFC 3463) gives another reason. A rejected
    e-mail is the opposite: only an enhanced status code can blame the address.
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
