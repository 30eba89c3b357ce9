"""Connections to mail servers and providers, the installation's or merchants' own."""

import smtplib
import socket
import threading
import warnings
from contextlib import ExitStack
from email import message_from_bytes, policy
from email.generator import BytesGenerator
from email.message import Message
from functools import lru_cache
from io import BytesIO
from time import monotonic
from typing import Any

from anymail.exceptions import AnymailNotSupportedWarning
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address

from outbound import address_guard
from outbound.models import MailAccount

# Seconds for a session with a merchant's mail server. A task may begin its last one after work.tasks.SLICE seconds,
# and has to end before CELERY_TASK_TIME_LIMIT.
SESSION_TIMEOUT = 40
# Seconds to connect, since most servers that are down don't even accept the connection.
CONNECT_TIMEOUT = 10
MAILGUN = {
    MailAccount.Kind.MAILGUN: "https://api.mailgun.net/v3",
    MailAccount.Kind.MAILGUN_EU: "https://api.eu.mailgun.net/v3",
}

GOODBYE = 421
END_OF_DATA = b"\r\n.\r\n"
SEVEN_BIT = policy.compat32.clone(cte_type="7bit", linesep="\r\n")
# Limits for reusing a connection, because mail servers close those that are busy or idle for long.
MAX_EMAILS_PER_CONNECTION, MAX_IDLE_SECONDS = 100, 20

# anymail's SendGrid backend warns about every e-mail.
warnings.filterwarnings("ignore", category=AnymailNotSupportedWarning, module=r"anymail\.backends\.sendgrid")


class WatchedSMTP(smtplib.SMTP):
    """Records whether the whole e-mail was sent: if the server then disconnects, it may have accepted it."""

    has_sent_all = False

    def data(self, msg):
        answer = super().data(msg)
        self.has_sent_all = False
        return answer

    def send(self, s) -> None:
        super().send(s)
        self.has_sent_all = isinstance(s, bytes) and s.endswith(END_OF_DATA)


class WatchedSMTPS(smtplib.SMTP_SSL, WatchedSMTP):
    """WatchedSMTP with TLS from the start."""


class GuardedSMTP(WatchedSMTP):
    """Connects through the address guard. Its timeout covers the whole session instead of each answer."""

    limit = ExitStack()

    def _get_socket(self, host, port, timeout) -> socket.socket:
        started = monotonic()
        line = address_guard.connect(host, port, min(timeout, CONNECT_TIMEOUT))
        line.settimeout(timeout)
        self.limit = ExitStack()
        self.limit.enter_context(address_guard.cut_after(timeout - (monotonic() - started), line))
        return line

    def close(self) -> None:
        self.limit.close()
        super().close()


class GuardedSMTPS(smtplib.SMTP_SSL, GuardedSMTP):
    """GuardedSMTP with TLS from the start: SMTP_SSL wraps the socket that GuardedSMTP opens."""


class AddressNotSupported(Exception):
    """The mail server accepts only ASCII characters before the @."""


class SmtpBackend(EmailBackend):
    """Django's backend, plus international addresses (RFC 6531) and servers that accept only ASCII (RFC 6152).

    Replaces a connection that the server closes after an e-mail, as servers do that limit the number per connection.
    """

    email_count = 0  # accepted on this connection

    @property
    def connection_class(self):
        return WatchedSMTPS if self.use_ssl else WatchedSMTP

    @property
    def has_sent_all(self) -> bool:
        """Whether the server may have accepted the e-mail without confirming it."""
        return getattr(self.connection, "has_sent_all", False)

    def open(self) -> bool | None:
        if opened := super().open():
            self.email_count = 0
        return opened

    def _disconnect(self) -> None:
        try:
            super().close()
        except OSError:
            self.connection = None

    def _send(self, message) -> bool:
        try:
            self._transmit(message)
        except smtplib.SMTPException as error:
            if not self.email_count or self.has_sent_all or not _is_goodbye(error):
                raise
            # The server has closed the kept connection, so it can't have accepted the e-mail.
            self._disconnect()
            self.open()
            self._transmit(message)
        self.email_count += 1
        return True

    def _transmit(self, message) -> None:
        recipients = message.recipients()
        connection: Any = self.connection
        connection.ehlo_or_helo_if_needed()
        content = _flatten(message.message())
        options = []
        if not all(address.rpartition("@")[0].isascii() for address in recipients):
            if not connection.has_extn("smtputf8"):
                raise AddressNotSupported
            # Django would encode the address, which makes it another address.
            parsed: Any = message_from_bytes(content, policy=policy.SMTPUTF8)
            parsed.replace_header("To", ", ".join(recipients))
            content, options = parsed.as_bytes(), ["SMTPUTF8", "BODY=8BITMIME"]
        elif content.isascii():
            pass
        elif connection.has_extn("8bitmime"):
            options = ["BODY=8BITMIME"]
        else:
            content = message_from_bytes(content, policy=SEVEN_BIT).as_bytes()
        sender = sanitize_address(message.from_email, "utf-8")
        connection.sendmail(sender, [_bare(address) for address in recipients], content, mail_options=options)


class CachingPolicy(policy.Compat32):
    """Python’s default, but folds the headers that most e-mails share only once. That is a fifth of the work."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        return _fold(name, value) if name in SHARED_HEADERS else super().fold_binary(name, value)


@lru_cache(1000)
def _fold(name: str, value: Any) -> bytes:
    return policy.Compat32.fold_binary(LIKE_SMTP, name, value)


def _flatten(message: Message) -> bytes:
    content = BytesIO()
    BytesGenerator(content, mangle_from_=False, policy=LIKE_SMTP).flatten(message)
    return content.getvalue()


LIKE_SMTP = CachingPolicy(linesep="\r\n")
SHARED_HEADERS = {
    *("From", "Reply-To", "MIME-Version", "Content-Transfer-Encoding", "Auto-Submitted", "Content-Language")
}


def _is_goodbye(error: smtplib.SMTPException) -> bool:
    """Whether the server has closed the connection or is about to. A timeout isn't retried: it took long enough."""
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return not isinstance(error.__context__, TimeoutError)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return any(code == GOODBYE for code, _ in error.recipients.values())
    return getattr(error, "smtp_code", None) == GOODBYE


def _bare(address: str) -> str:
    return sanitize_address(address, "utf-8") if address.isascii() else address


class InstallationServer(SmtpBackend):
    """The installation's mail server. The connection stays open for the thread's next e-mail."""

    used_at = 0.0
    # Whether the last e-mail was accepted. Otherwise the server may be in the middle of one.
    is_clean = False

    @property
    def login(self) -> tuple:
        return self.host, self.port, self.username, self.password, self.use_tls, self.use_ssl, self.timeout

    def open(self) -> bool | None:
        is_idle = monotonic() - self.used_at > MAX_IDLE_SECONDS
        if self.connection and self.email_count and (is_idle or self.email_count >= MAX_EMAILS_PER_CONNECTION):
            self._disconnect()
        return super().open()

    def _send(self, message) -> bool:
        self.is_clean = False
        self.is_clean = super()._send(message)
        self.used_at = monotonic()
        return self.is_clean

    def close(self) -> None:
        if not self.is_clean:
            self._disconnect()


class MerchantServer(SmtpBackend):
    """A merchant's mail server, always with TLS."""

    def __init__(self, account: MailAccount, timeout: float) -> None:
        tls = account.security == MailAccount.Security.TLS
        super().__init__(
            host=account.host,
            port=account.port,
            username=account.user_name,
            password=account.password,
            use_ssl=tls,
            use_tls=not tls,
            timeout=timeout,
        )
        self.ssl_context = address_guard.TLS

    @property
    def connection_class(self):
        return GuardedSMTPS if self.use_ssl else GuardedSMTP


_thread_local = threading.local()


def _installation_server() -> BaseEmailBackend:
    server = get_connection()
    if not isinstance(server, InstallationServer):
        return server
    open_server = getattr(_thread_local, "server", None)
    if open_server and open_server.login == server.login:
        return open_server
    _thread_local.server = server
    return server


def get_server(account: MailAccount | None = None, timeout: float = SESSION_TIMEOUT) -> BaseEmailBackend:
    """Return the backend for a merchant's account or, without one, for the installation's server."""
    if account is None:
        return _installation_server()
    # Set everything that anymail would otherwise read from the installation's settings.
    options: dict[str, Any]
    match account.kind:
        case MailAccount.Kind.SMTP:
            return MerchantServer(account, timeout)
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
