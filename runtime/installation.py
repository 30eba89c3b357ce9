"""The settings and the data folder of the installation that this process works for."""

import base64
import contextlib
import errno
import os
import secrets
import sys
import tempfile
from pathlib import Path

import environ

from runtime.configuration import BASE_DIR, read_settings_file, settings_file
from runtime.machine import address, bracketed


def read_settings() -> Path:
    """Complete the environment, which all child processes inherit, and return the data folder."""
    read_settings_file()
    host, port = address()
    seen = "localhost" if host in {"0.0.0.0", "::"} else bracketed(host)  # noqa: S104
    set_default("BASE_URL", f"http://{seen}:{port}")
    var = (BASE_DIR / (os.environ.get("KEYWELL_VAR") or "var")).resolve()
    # Django's checks take as long as a worker's start. They run once, before migrating.
    os.environ.update(KEYWELL_VAR=str(var), DJANGO_SETTINGS_MODULE="portal.settings", CELERY_SKIP_CHECKS="1")
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        (var / "log").mkdir(exist_ok=True)
    except OSError as error:
        sys.exit(cannot_write(error))
    return var


def prepare_demo(var: Path) -> None:
    """Create, once, the secrets that a real installation must provide."""
    path = var / "secrets.env"
    if not path.exists():
        refuse_lost_settings(var)
        with tempfile.NamedTemporaryFile("w", dir=var, prefix="secrets.") as new:
            new.write(f"SECRET_KEY={secrets.token_urlsafe(48)}\nVAULT_KEYS={new_vault_key()}\n")
            new.flush()
            with contextlib.suppress(FileExistsError):
                os.link(new.name, path)
    environ.Env.read_env(path)
    set_default("STAFF_SECOND_FACTOR_REQUIRED", "off")
    set_default("EMAIL_URL", f"filemail:///{var}/mail")


def refuse_lost_settings(var: Path) -> None:
    """Stop if this folder holds a real installation: its secrets were in settings that are gone."""
    if (var / "postgres").exists() and not (var / "secrets.env").exists():
        sys.exit(
            f"{var} holds an installation, but its settings are missing: {settings_file()} lacks SECRET_KEY or"
            " VAULT_KEYS. Restore them from your copy, or set KEYWELL_ENV to the path of the file with them. For"
            " another installation, set KEYWELL_VAR to another folder."
        )


def set_default(name: str, value: str) -> None:
    os.environ[name] = os.environ.get(name) or value


def new_vault_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def cannot_write(error: OSError) -> str:
    var = os.environ.get("KEYWELL_VAR")
    remedy = "Make room" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "Change its owner"
    return f"Cannot write to {var}: {error.strerror}. {remedy}, or set KEYWELL_VAR to another folder."
