"""The secrets without which a backup can't be read, in a file to keep apart from it, optionally with a passphrase."""

import base64
import hashlib
import json
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEPT = ["SECRET_KEY", "VAULT_KEYS"]
# scrypt (RFC 7914): 128 MiB and half a second for each guess
COST = {"n": 2**17, "r": 8, "p": 1}
MAX_MEMORY = 256 * 1024 * 1024


class SecretsError(Exception):
    """The message is for the operator."""


def keep_secrets(path: Path, passphrase: str = "") -> None:
    """Write the settings KEPT into a new file that only its owner can read."""
    text = "".join(f"{name}={os.environ[name]}\n" for name in KEPT)
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(_encrypt(text, passphrase) if passphrase else text)
    except FileExistsError as error:
        raise SecretsError(
            f"{path} exists already, and may be the secrets of an older backup. Name another file."
        ) from error
    except OSError as error:
        path.unlink(missing_ok=True)
        raise SecretsError(f"Cannot write {path}: {error.strerror}.") from error


def read_secrets(path: Path, passphrase: str = "") -> str:
    """Return the lines for .env. Raises SecretsError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeError) as error:
        raise SecretsError(f"Cannot read {path}: {error}") from error
    return _decrypt(text, passphrase) if text.startswith("{") else text


def read_passphrase(path: Path | None) -> str:
    """Return the passphrase in a file; empty without a file. Raises SecretsError."""
    if path is None:
        return ""
    try:
        passphrase = path.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise SecretsError(f"Cannot read {path}: {error}") from error
    if not passphrase:
        raise SecretsError(f"{path} is empty.")
    return passphrase


def _encrypt(text: str, passphrase: str) -> str:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    content = _cipher(passphrase, salt, COST).encrypt(nonce, text.encode(), None)
    encoded = {"salt": salt, "nonce": nonce, "content": content}
    kept = {name: base64.b64encode(value).decode() for name, value in encoded.items()}
    return json.dumps({"cipher": "AES-256-GCM", "scrypt": COST} | kept, indent=2) + "\n"


def _decrypt(text: str, passphrase: str) -> str:
    if not passphrase:
        raise SecretsError("These secrets are encrypted. Give the passphrase with --passphrase-file.")
    try:
        kept = json.loads(text)
        salt, nonce, content = (base64.b64decode(kept[name]) for name in ("salt", "nonce", "content"))
        return _cipher(passphrase, salt, kept["scrypt"]).decrypt(nonce, content, None).decode()
    except InvalidTag as error:
        raise SecretsError("The passphrase is wrong, or the file is damaged.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SecretsError("The file is damaged.") from error


def _cipher(passphrase: str, salt: bytes, cost: dict[str, int]) -> AESGCM:
    return AESGCM(hashlib.scrypt(passphrase.encode(), salt=salt, dklen=32, maxmem=MAX_MEMORY, **cost))
