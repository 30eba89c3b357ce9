"""Connections to mail servers and providers: ours, or those of merchants."""

import smtplib
import socket
import warnings
from contextlib import ExitStack
from email import message_from_bytes, policy
from time import monotonic
from typing import Any

from anymail.exceptions import AnymailNotSupportedWarning
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address

from fulfillment import callouts
from fulfillment.models import MailAccount

# For reaching a merchant's mail server and all that is said to it, however slowly; less than LEASE.
MOST_SECONDS = 45
# For one that is away: most of those are silent from the start.
MOST_SECONDS_TO_CONNECT = 10
MAILGUN = {
    MailAccount.Kind.MAILGUN: "https://api.mailgun.net/v3",
    MailAccount.Kind.MAILGUN_EU: "https://api.eu.mailgun.net/v3",
}

# anymail says so of SendGrid at every mail.
warnings.filterwarnings("ignore", category=AnymailNotSupportedWarning, module=r"anymail\.backends\.sendgrid")


class GuardedSMTP(smtplib.SMTP):
    """Connects to what merchants may name. Its timeout is for all of it, not for each answer: then it is cut off."""

    limit = ExitStack()

    def _get_socket(self, host, port, timeout) -> socket.socket:
        started = monotonic()
        line = callouts.connect(host, port, min(timeout, MOST_SECONDS_TO_CONNECT))
        line.settimeout(timeout)
        self.limit = ExitStack()
        self.limit.enter_context(callouts.cut_after(timeout - (monotonic() - started), line))
        return line

    def close(self) -> None:
        self.limit.close()
        super().close()


class GuardedSMTPS(smtplib.SMTP_SSL, GuardedSMTP):
    """The same in TLS from the start: SMTP_SSL wraps the socket that GuardedSMTP gets."""


class AddressNotSupported(Exception):
    """The mail server takes no addresses with letters outside ASCII before the @."""


class SmtpBackend(EmailBackend):
    """Django's, for international addresses, too (RFC 6531)."""

    def _send(self, message) -> bool:
        recipients = message.recipients()
        if all(address.rpartition("@")[0].isascii() for address in recipients):
            return super()._send(message)  # type: ignore[misc]
        connection: Any = self.connection
        connection.ehlo_or_helo_if_needed()
        if not connection.has_extn("smtputf8"):
            raise AddressNotSupported
        # Django would write the address as an encoded word, which is another address.
        parsed: Any = message_from_bytes(message.message().as_bytes(linesep="\r\n"), policy=policy.SMTPUTF8)
        parsed.replace_header("To", ", ".join(recipients))
        sender = sanitize_address(message.from_email, "utf-8")
        connection.sendmail(sender, recipients, parsed.as_bytes(), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
        return True


class MerchantsServer(SmtpBackend):
    """A merchant's mail server; never in plain text."""

    def __init__(self, account: MailAccount, most_seconds: float) -> None:
        tls = account.security == MailAccount.Security.TLS
        super().__init__(
            host=account.host,
            port=account.port,
            username=account.user_name,
            password=account.password,
            use_ssl=tls,
            use_tls=not tls,
            timeout=most_seconds,
        )
        self.ssl_context = callouts.TLS

    @property
    def connection_class(self):
        return GuardedSMTPS if self.use_ssl else GuardedSMTP


def get_server(account: MailAccount | None = None, most_seconds: float = MOST_SECONDS) -> BaseEmailBackend:
    """Where mails are handed over: to a merchant's account, or else where the installation's go."""
    if account is None:
        return get_connection()
    # All that anymail would else look up in the installation's settings is said here.
    options: dict[str, Any]
    match account.kind:
        case MailAccount.Kind.SMTP:
            return MerchantsServer(account, most_seconds)
        case MailAccount.Kind.POSTMARK:
            options = {
                "server_token": account.password,
                "message_stream": None,
                "api_url": "https://api.postmarkapp.com/",
            }
        case MailAccount.Kind.SENDGRID:
            options = {
                "api_key": account.password,
                "merge_field_format": None,
                "api_url": "https://api.sendgrid.com/v3/",
            }
        case _:
            options = {
                "api_key": account.password,
                "sender_domain": account.sender.rpartition("@")[2],
                "api_url": MAILGUN[MailAccount.Kind(account.kind)],
            }
    return get_connection(f"anymail.backends.{account.provider}.EmailBackend", debug_api_requests=False, **options)
