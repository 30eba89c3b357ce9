"""`manage doctor`: what is wrong with an installation or could soon be, each with what to do about it.

Adds to the status page what takes longer or asks other servers: settings, versions, public address, DNS, clock.
"""

import ctypes
import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from email.utils import parseaddr, parsedate_to_datetime
from smtplib import SMTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import dns.exception
import dns.resolver
from django.conf import settings
from django.core.mail import get_connection
from django.db import connection
from django.utils import timezone

from merchants.models import User
from runtime import status
from runtime.checks import Doubtful, Unusable, certificate_of, check_address, split_address
from runtime.configuration import doubtful_settings, settings_file
from runtime.health import CheckFailed, check_migrations
from runtime.status import FAILED, WARNING, Finding
from vault.ciphers import UnknownKey, check_key_of, key_ids
from version import version
from work.valkey import valkey

TIMEOUT = 5  # seconds, for each answer of another server
# Signatures of webhooks and codes of authenticator apps fail beyond these seconds.
MAX_CLOCK_ERROR = 10
MIN_CERTIFICATE_LIFETIME = timedelta(days=14)
MIN_SECRET_LENGTH = 32
MIN_POSTGRESQL = 15
EXTENSIONS = {"btree_gin", "pg_trgm", "unaccent"}
# Settings of PostgreSQL that lists and searches rely on (docs/operating.md).
POSTGRESQL_SETTINGS = {"jit": "off", "max_parallel_workers_per_gather": "0", "random_page_cost": "1.1"}
# adjtimex(2): no program keeps the clock right.
TIME_ERROR = 5
# Seconds between 1900, where NTP begins, and 1970 (RFC 5905).
NTP_EPOCH = 2_208_988_800
# What /livez answers.
LIVEZ = {"status": "ok"}
DEMO_USERS = [f"{role}@keywell.example" for role in ("owner", "manager", "support", "staff")]


def examine(time_server: str = "") -> list[Finding]:
    """Run all checks of the status page and of this module, problems first."""

    def check_clock() -> Iterator[Finding]:
        return compare_clocks(time_server)

    return status.run_checks([*status.CHECKS, *CHECKS, check_clock])


def check_settings() -> Iterator[Finding]:
    subject = "Settings"
    for text in doubtful_settings():
        yield Finding(subject, text, WARNING, "Correct the name, or delete the line.")
    for weak, text, remedy in _weak_settings():
        if weak:
            yield Finding(subject, text, WARNING, remedy)
    path = settings_file()
    if path.is_file() and path.stat().st_mode & 0o077:
        yield Finding(subject, f"Others on this machine can read {path}.", FAILED, f"chmod 600 {path}")
    demo_users = User.objects.filter(email__in=DEMO_USERS, is_active=True)
    if settings_file().is_file() and demo_users.exists():
        text = "Users of the demo can sign in, whose passwords are in demo.env."
        yield Finding(subject, text, FAILED, "Clear “active” for them in the admin, under Users.")
    yield Finding(subject, f"Keywell {version()}, Python {sys.version.split()[0]}, vault keys: {len(key_ids())}.")


def _weak_settings() -> Iterator[tuple[bool, str, str]]:
    is_https = settings.BASE_URL.startswith("https://")
    yield settings.DEBUG, "DJANGO_DEBUG shows source code and settings to everyone.", "Remove DJANGO_DEBUG."
    yield (
        len(settings.SECRET_KEY) < MIN_SECRET_LENGTH or len(set(settings.SECRET_KEY)) < MIN_SECRET_LENGTH // 4,
        "SECRET_KEY can be guessed.",
        "Generate another one as .env.example says. Everyone has to sign in again.",
    )
    yield (
        not is_https and not _is_local(),
        f"BASE_URL is {settings.BASE_URL}: passwords and licenses travel unencrypted.",
        "Put a proxy with TLS in front, and set BASE_URL to its https:// address (docs/installing.md).",
    )
    yield (
        is_https and not settings.BEHIND_PROXY,
        "BEHIND_PROXY is off: all users share the proxy’s address, and one of them can lock out all.",
        "Set BEHIND_PROXY=on.",
    )
    yield "*" in settings.ALLOWED_HOSTS, "ALLOWED_HOSTS accepts every host name.", "Remove ALLOWED_HOSTS."
    yield (
        not settings.STAFF_SECOND_FACTOR_REQUIRED,
        "Support staff need no second factor.",
        "Remove STAFF_SECOND_FACTOR_REQUIRED.",
    )
    yield (
        not settings.SUPPORT_EMAIL,
        "SUPPORT_EMAIL is missing: nobody hears of merchants’ requests.",
        "Set SUPPORT_EMAIL to the address of your support staff.",
    )


def _is_local() -> bool:
    return split_address(settings.BASE_URL).hostname in {"localhost", "127.0.0.1", "::1"}


def compare_clocks(time_server: str = "") -> Iterator[Finding]:
    subject = "Clock"
    remedy = "Install a program that keeps it right, such as chrony: apt-get install chrony"
    errors = dict(_clock_errors(time_server))
    wrong = {name: error for name, error in errors.items() if abs(error) > MAX_CLOCK_ERROR}
    for name, error in wrong.items():
        way = "ahead of" if error > 0 else "behind"
        text = f"The clock of this machine is {abs(error):,.0f} seconds {way} {name}."
        yield Finding(subject, text, FAILED, f"Set the clock that is wrong. {remedy}")
    if not wrong and errors:
        yield Finding(subject, f"It agrees with {', '.join(errors)}.")
    if not wrong and _is_unsynchronized():
        yield Finding(subject, "Nothing keeps the clock of this machine right.", WARNING, remedy)


def _clock_errors(time_server: str) -> Iterator[tuple[str, float]]:
    """Yield other clocks, and by how many seconds this machine's clock is ahead of each."""
    with suppress(Exception), connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
        yield "PostgreSQL", time.time() - cursor.fetchone()[0]
    with suppress(Exception):
        seconds, microseconds = valkey().time()
        yield "the broker", time.time() - seconds - microseconds / 1e6
    with suppress(OSError, ValueError), _open_livez() as response:
        yield settings.BASE_URL, time.time() - parsedate_to_datetime(response.headers["Date"]).timestamp()
    if time_server:
        with suppress(OSError, struct.error):
            yield time_server, time.time() - ask_time(time_server)


def ask_time(server: str) -> float:
    """Return the time of an NTP server, HOST or HOST:PORT, in seconds since 1970 (SNTP, RFC 4330). Raises OSError."""
    host, _, port = server.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(TIMEOUT)
        asking.connect((host, int(port or 123)))
        asking.send(b"\x23" + bytes(47))  # version 4, client
        seconds, fraction = struct.unpack("!II", asking.recv(48)[40:48])
    return float(seconds - NTP_EPOCH + fraction / 2**32)


def _is_unsynchronized() -> bool:
    with suppress(AttributeError):
        return ctypes.CDLL(None).ntp_adjtime(ctypes.create_string_buffer(512)) == TIME_ERROR
    return False


def check_public_address() -> Iterator[Finding]:
    subject = "Public address"
    url = settings.BASE_URL
    try:
        yield Finding(subject, f"{check_address(url)}.")
    except (Unusable, Doubtful) as error:
        yield Finding(subject, str(error), WARNING, "Correct BASE_URL or DNS.")
    if url.startswith("https://"):
        yield from _check_certificate(url)
    try:
        with _open_livez() as response:
            is_ours = json.load(response) == LIVEZ
    except HTTPError as error:
        yield Finding(subject, f"{url}/livez answers {error.code}.", FAILED, "Look into the proxy’s configuration.")
    except (OSError, ValueError) as error:
        text = f"{url} doesn’t answer from here: {getattr(error, 'reason', error)}."
        yield Finding(subject, text, WARNING, "Open it from elsewhere. If it fails there, check proxy and firewall.")
    else:
        remedy = "Look into the proxy’s configuration, and at DNS."
        yield (
            Finding(subject, f"{url} is Keywell.")
            if is_ours
            else Finding(subject, f"Something else answers at {url}.", FAILED, remedy)
        )


def _open_livez() -> Any:
    split_address(settings.BASE_URL)  # raises if it isn't an http(s) address
    request = Request(f"{settings.BASE_URL}/livez", headers={"User-Agent": "Keywell doctor"})  # noqa: S310 (see above)
    return urlopen(request, timeout=TIMEOUT)  # noqa: S310 (see above)


def _check_certificate(url: str) -> Iterator[Finding]:
    subject = "Certificate"
    try:
        expires_at = certificate_of(url)
    except Doubtful as error:
        yield Finding(subject, str(error), FAILED, "Look into the proxy’s configuration.")
        return
    left = expires_at - timezone.now()
    text = f"It is valid until {expires_at:%Y-%m-%d}."
    if left < MIN_CERTIFICATE_LIFETIME:
        yield Finding(subject, text, WARNING, "Renew it, and see why that doesn’t happen automatically.")
    else:
        yield Finding(subject, text)


def check_mail_domain() -> Iterator[Finding]:
    """SPF (RFC 7208), DKIM (RFC 6376) and DMARC (RFC 7489), without which e-mails land in spam folders."""
    subject = "Sender’s domain"
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    if "." not in domain:
        text = f"DEFAULT_FROM_EMAIL is {settings.DEFAULT_FROM_EMAIL}: mail servers reject such a sender."
        yield Finding(subject, text, FAILED, "Set DEFAULT_FROM_EMAIL to an address at your domain.")
        return
    for name, wanted, remedy in [
        (domain, "v=spf1", "Add the TXT record that your mail provider gives."),
        (f"_dmarc.{domain}", "v=DMARC1", f"Add a TXT record for _dmarc.{domain}, at least: v=DMARC1; p=none"),
    ]:
        kind = "SPF" if wanted == "v=spf1" else "DMARC"
        texts = _texts_in_dns(name)
        if texts is None:
            yield Finding(
                subject, f"DNS doesn’t answer about {kind} of {domain}.", WARNING, "Check this machine’s DNS."
            )
        elif any(text.startswith(wanted) for text in texts):
            yield Finding(subject, f"{domain} has {kind}.")
        else:
            yield Finding(subject, f"{domain} has no {kind}: e-mails may land in spam folders.", WARNING, remedy)
    # Names of DKIM keys can't be listed, but if nothing exists below _domainkey, DNS says so (RFC 8020).
    if _texts_in_dns(f"_domainkey.{domain}") == []:
        text = f"{domain} may have no DKIM keys."
        yield Finding(subject, text, WARNING, "See whether your mail provider signs e-mails, and add its record.")


def _texts_in_dns(name: str) -> list[str] | None:
    """Return the TXT records of a name; None if DNS doesn't answer."""
    try:
        answer = dns.resolver.resolve(name, "TXT", lifetime=TIMEOUT)
    except dns.resolver.NXDOMAIN:
        return []
    except dns.resolver.NoAnswer:
        return [""]
    except (dns.exception.DNSException, OSError):
        return None
    return [b"".join(record.strings).decode(errors="replace") for record in answer]


def check_postgresql() -> Iterator[Finding]:
    subject = "PostgreSQL"
    try:
        check_migrations()
    except CheckFailed as error:
        yield Finding(subject, str(error), FAILED, "Restart run.py, or run `manage migrate`.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT extname FROM pg_extension")
        missing = EXTENSIONS - {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(POSTGRESQL_SETTINGS)])
        found = dict(cursor.fetchall())
    number = connection.pg_version // 10_000  # type: ignore[attr-defined]
    if number < MIN_POSTGRESQL:
        yield Finding(subject, f"It is version {number}.", FAILED, f"Upgrade it to {MIN_POSTGRESQL} or later.")
    if missing:
        names = ", ".join(sorted(missing))
        yield Finding(subject, f"Extensions are missing: {names}.", FAILED, "Run `manage migrate` as the owner.")
    for name, wanted in POSTGRESQL_SETTINGS.items():
        if found.get(name) != wanted:
            text = f"{name} is {found.get(name)}: lists and searches are slower than they could be."
            yield Finding(subject, text, WARNING, f"Set {name} = {wanted} in postgresql.conf.")
    yield Finding(subject, f"Version {number}.")


def check_vault() -> Iterator[Finding]:
    subject = "Vault"
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM vault_fingerprintkey")
        row = cursor.fetchone()
    try:
        check_key_of(bytes(row[0]))
    except UnknownKey as error:
        yield Finding(subject, str(error), FAILED, "Put the key with that id into VAULT_KEYS, from your copy.")
    else:
        yield Finding(subject, "VAULT_KEYS fits the database.")


def check_mail_server() -> Iterator[Finding]:
    subject = "Mail server"
    server = get_connection()
    try:
        server.open()
        server.close()
    except (OSError, SMTPException) as error:
        text = f"It can’t be used: {error}."
        yield Finding(subject, text, FAILED, "Check EMAIL_URL, and `manage test_mail ADDRESS`.")
    else:
        yield Finding(subject, "It accepts connections.")


CHECKS: list[Callable[[], Iterator[Finding]]] = [
    check_settings,
    check_vault,
    check_mail_server,
    check_public_address,
    check_mail_domain,
    check_postgresql,
]
