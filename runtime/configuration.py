"""Settings of a deployment: from the environment, which wins, and from the file .env.

Each setting NAME can also come from a file of its own, which NAME_FILE names: container engines and systemd pass
secrets that way. An empty setting counts as missing. All settings are described in .env.example.
"""

import logging
import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
# A line that environ.Env.read_env understands: the name, and the value.
SETTING = re.compile(r"(?:export )?([A-Za-z_0-9]+)=(.*)")
BOOLEANS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
# Settings that every installation needs, each with its alternatives.
REQUIRED = [("SECRET_KEY",), ("VAULT_KEYS",), ("EMAIL_URL", "ANYMAIL_ESP")]
# Names as similar as this are taken for a typing error.
SIMILARITY = 0.85

# It would print invalid lines once per process. `doubtful_settings` names them.
logging.getLogger("environ.environ").setLevel(logging.ERROR)


@cache
def known_settings() -> frozenset[str]:
    example = (BASE_DIR / ".env.example").read_text()
    return frozenset(re.findall(r"^#?([A-Z][A-Z_]+)=", example, re.MULTILINE))


def settings_file() -> Path:
    """Return the path of the installation's settings: .env, or what KEYWELL_ENV names."""
    return Path(os.environ.get("KEYWELL_ENV") or BASE_DIR / ".env")


def read_settings_file() -> None:
    """Complete the environment, which all child processes inherit. Raises ImproperlyConfigured."""
    for name in known_settings():
        if os.environ.get(name) == "":
            del os.environ[name]
    _read_values_from_files()
    path = settings_file()
    if path.is_file():
        try:
            environ.Env.read_env(path)
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(f"Cannot read the settings in {path}: {error}") from error
    _read_values_from_files()


def _read_values_from_files() -> None:
    for name in known_settings():
        path = os.environ.get(f"{name}_FILE")
        if path and not os.environ.get(name):
            try:
                os.environ[name] = Path(path).read_text().strip()
            except (OSError, ValueError) as error:
                raise ImproperlyConfigured(f"Cannot read {path}, which {name}_FILE names: {error}") from error


def doubtful_settings() -> list[str]:
    """Return a sentence about each setting that nothing reads, such as one with a typing error."""
    known = known_settings() | {f"{name}_FILE" for name in known_settings()}
    path = settings_file()
    lines = path.read_text().splitlines() if path.is_file() else []
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            match = SETTING.match(line)
            if match is None:
                found.append(f"Line {number} of {path} is ignored, because it isn’t NAME=value.")
            elif match[1] not in known:
                found.append(f"Unknown setting in line {number} of {path}: {_with_suggestion(match[1])}")
    named = {match[1] for line in lines if (match := SETTING.match(line))}
    for name in sorted(os.environ.keys() - known - named - {"KEYWELL_ENV", "KEYWELL_STATUS_FD"}):
        if name.startswith("KEYWELL_") or get_close_matches(name, known, 1, SIMILARITY):
            found.append(f"Unknown setting in the environment: {_with_suggestion(name)}")
    return found


def _with_suggestion(name: str) -> str:
    similar = get_close_matches(name, known_settings(), 1, 0.7)
    return f"{name}. Did you mean {similar[0]}?" if similar else f"{name}. See .env.example."


class Settings(environ.Env):
    """Reads settings. Errors are ImproperlyConfigured and name the setting, never its value if that may be secret."""

    def __init__(self) -> None:
        super().__init__()
        # A value is never another variable's: environ would take a secret that starts with $ for a name, and show it.
        self.escape_proxy = True
        self.ENVIRON = {name: value.replace("$", r"\$") for name, value in os.environ.items() if value}

    def require(self, *alternatives: str) -> list[str]:
        """Return what to say about a missing setting: nothing if one of the alternatives is set."""
        return [] if any(name in self.ENVIRON for name in alternatives) else [" or ".join(alternatives)]

    def parse(self, name: str, read: Callable[[str], Any], form: str, *, default: str) -> Any:
        """Return what `read` makes of a setting. The error names only the form: the value may be secret."""
        try:
            return read(str(self(name, default=default)))
        except (ValueError, KeyError, ImproperlyConfigured):
            raise ImproperlyConfigured(f"{name} must be {form}.") from None

    def flag(self, name: str, *, default: bool) -> bool:
        value = str(self(name, default="on" if default else "off"))
        if value.lower() not in BOOLEANS:
            raise ImproperlyConfigured(f"{name} must be on or off, not “{value[:20]}”.")
        return BOOLEANS[value.lower()]

    def number(self, name: str, *, default: int, minimum: int = 0) -> int:
        value = str(self(name, default=str(default)))
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < minimum:
            raise ImproperlyConfigured(f"{name} must be a whole number of at least {minimum}, not “{value[:20]}”.")
        return int(value)


def check_required(env: Settings, *required: tuple[str, ...]) -> None:
    missing = [text for alternatives in required for text in env.require(*alternatives)]
    if missing:
        raise ImproperlyConfigured(
            f"Missing settings: {', '.join(missing)}. If this installation had them, restore {settings_file()} from"
            " your copy. In a new one, `python3 run.py init` asks for them. .env.example describes each."
        )


def is_demo() -> bool:
    """Return whether this is a demo, whose logins everyone with access to this machine can read.

    Settings in a file, secrets, or a database of your own mean a real installation.
    """
    meant_seriously = ("SECRET_KEY", "VAULT_KEYS", "DATABASE_URL")
    given = any(os.environ.get(name) or os.environ.get(f"{name}_FILE") for name in meant_seriously)
    debug: Any = BOOLEANS.get((os.environ.get("DJANGO_DEBUG") or "on").lower())
    return not (settings_file().is_file() or given or debug is False)


def read_base_url(text: str) -> str:
    """Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(text)
    return text.rstrip("/")


def read_database_url(text: str) -> dict[str, Any]:
    """Raises ValueError unless it names a PostgreSQL database."""
    config: dict[str, Any] = environ.Env.db_url_config(text)
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise ValueError(text)
    return config


def read_broker_url(text: str) -> str:
    """Raises ValueError."""
    if urlsplit(text).scheme not in {"redis", "rediss", "redis+socket"}:
        raise ValueError(text)
    return text


def read_networks(text: str) -> list[IPv4Network | IPv6Network]:
    """Read a list, separated by commas. Raises ValueError."""
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]
