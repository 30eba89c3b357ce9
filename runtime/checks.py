"""Checks of what an operator entered. They need no database."""

import os
import re
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator

from merchants.text import is_invisible

# Seconds to connect to the public address.
CONNECT_TIMEOUT = 5
# Seconds for a test e-mail: longer than settings.EMAIL_TIMEOUT.
MAIL_TIMEOUT = 60


class Unusable(Exception):
    """This can't be used."""


class Doubtful(Exception):
    """This doesn't work now, but may work later."""


class NotServed(Doubtful):
    """Nothing answers at a public address yet."""


def check_address(url: str) -> str:
    """Check a public URL: its form and its DNS entry; return what was found. Raises Unusable or Doubtful."""
    parts = split_address(url)
    host = str(parts.hostname)
    try:
        found = sorted({str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError) as error:
        raise Doubtful(
            f"DNS has no address for {host}. Add an A or AAAA record that points to this server."
        ) from error
    if parts.scheme == "http" and not all(ip_address(address).is_loopback for address in found):
        raise Doubtful(f"{url} isn’t encrypted: everyone on the way can read passwords and licenses. Use https://.")
    return f"{host} is {', '.join(found)}"


def split_address(url: str):
    try:
        parts = urlsplit(url)
        is_plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username)
        if parts.scheme in {"http", "https"} and parts.hostname and is_plain and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise Unusable(f"“{url}” isn’t an address such as https://keys.example.com, without anything after the host.")


def check_tls(url: str) -> str:
    """Check the certificate of a public URL; return what was found. Raises Doubtful."""
    if url.startswith("http://"):
        return ""
    try:
        return f"the certificate is valid until {certificate_of(url):%Y-%m-%d}"
    except NotServed as error:
        # The proxy comes after `init`.
        return str(error)


def certificate_of(url: str) -> datetime:
    """Return when the certificate of an https:// URL expires. Raises Doubtful if it isn't valid, or NotServed."""
    parts = split_address(url)
    host, port = str(parts.hostname), parts.port or 443
    try:
        with (
            socket.create_connection((host, port), CONNECT_TIMEOUT) as connection,
            ssl.create_default_context().wrap_socket(connection, server_hostname=host) as secured,
        ):
            expires_at = str(secured.getpeercert()["notAfter"])  # type: ignore[index]
            return datetime.fromtimestamp(ssl.cert_time_to_seconds(expires_at), UTC)
    except ssl.SSLCertVerificationError as error:
        raise Doubtful(f"The certificate of {host} isn’t valid: {error.verify_message}.") from error
    except (OSError, ValueError) as error:
        raise NotServed(
            f"nothing serves TLS at port {port} of {host} yet ({getattr(error, 'strerror', None) or error})."
            " Start the proxy in front of Keywell (docs/installing.md)."
        ) from error


def check_email_address(text: str) -> str:
    try:
        EmailValidator()(text)
    except ValidationError as error:
        raise Unusable(f"“{text}” isn’t an e-mail address.") from error
    return ""


def check_name(text: str) -> str:
    if not text.strip() or len(text) > 200 or any(map(is_invisible, text)):
        raise Unusable("A name has 1 to 200 visible characters.")
    return ""


def check_mail(recipient: str, settings: dict[str, str]) -> str:
    """Send a test e-mail with these settings, in another process; return what was done. Raises Doubtful."""
    command = [sys.executable, "manage.py", "test_mail", recipient]
    try:
        result = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, timeout=MAIL_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise Doubtful(
            f"The mail server doesn’t answer within {MAIL_TIMEOUT} seconds ({_mail_server(settings)})."
        ) from error
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["The test e-mail failed."])[-1]
        reason = re.sub(r"^[\w.]*(CommandError|ImproperlyConfigured): ", "", reason)
        raise Doubtful(f"{reason} ({_mail_server(settings)})")
    return f"sent a test e-mail to {recipient}"


def _mail_server(settings: dict[str, str]) -> str:
    """Return the host and port of EMAIL_URL, without its login."""
    return urlsplit(settings.get("EMAIL_URL") or os.environ.get("EMAIL_URL", "")).netloc.rpartition("@")[2]
