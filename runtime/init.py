"""`run.py init`: checks and writes the settings of a real installation, and creates its first accounts."""

import argparse
import contextlib
import os
import re
import secrets
import sys
from collections.abc import Callable
from functools import partial
from getpass import getpass
from urllib.parse import quote

from runtime.checks import (
    Doubtful,
    Unusable,
    check_address,
    check_email_address,
    check_mail,
    check_name,
    check_tls,
    split_address,
)
from runtime.configuration import (
    BASE_DIR,
    REQUIRED,
    SETTING,
    Settings,
    known_settings,
    read_settings_file,
    settings_file,
)
from runtime.installation import new_vault_key, read_settings, refuse_lost_settings
from runtime.machine import listen, reason, run, say, warn
from runtime.serving import run_services

HEADER = """\
# Settings of this Keywell installation, written by `python3 run.py init`. All settings are described in .env.example.
# VAULT_KEYS decrypts activation codes. Keep a copy of it apart from the backups: without it, the codes are lost.
"""
# The folder for data if the default one is in use, such as by a demo.
OTHER_VAR = "data"


class Asker:
    """Gets answers from options and the environment, or at the terminal, and checks them."""

    def __init__(self, *, interactive: bool, skip_checks: bool) -> None:
        self.interactive = interactive
        self.skip_checks = skip_checks
        self.problems: list[str] = []

    def get(self, option: str, given: str | None, question: str, check: Callable[[str], str]) -> str:
        """Return the answer; empty, and a problem is noted, if there is no terminal to ask at."""
        answer = given or ""
        while True:
            if not answer and not self.interactive:
                self.problems.append(f"--{option} is missing. {question}")
                return ""
            answer = answer or input(f"{question} ").strip()
            if self.accepts(partial(check, answer)):
                return answer
            if not self.interactive:
                return ""
            answer = ""

    def accepts(self, check: Callable[[], str]) -> bool:
        """Return whether a check passed, or its doubts are accepted. Without a terminal, other failures are noted."""
        try:
            if found := check():
                say(f"  ok: {found}")
            return True
        except (Unusable, Doubtful) as error:
            if self.interactive or self.skip_checks:
                warn(f"  problem: {error}")
            if isinstance(error, Doubtful) and (self.skip_checks or (self.interactive and confirm("Keep it anyway?"))):
                return True
            self.problems.append(str(error))
            return False


def confirm(question: str) -> bool:
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def init(arguments: list[str]) -> int:
    options = parse(arguments)
    asker = Asker(interactive=sys.stdin.isatty(), skip_checks=options.skip_checks)
    given = given_settings()
    read_settings_file()
    refuse_several_lines(given_settings() | {"BASE_URL": options.address or "", "EMAIL_URL": options.email_url or ""})
    if is_complete():
        say(f"Keeping the settings in {settings_file()}.")
        settings: dict[str, str] = {}
    else:
        say("This sets up a real installation. Each answer is checked, and nothing is written before all are there.\n")
        settings = ask_for_settings(asker, options)
    staff = asker.get("staff", options.staff, "Your e-mail address, as the first administrator:", check_email_address)
    if settings:
        ask_for_mail(asker, options, settings, staff)
    company = asker.get("company", options.company, "Name of the first merchant, as customers know it:", check_name)
    owner = ask_for_owner(asker, options, staff)
    if not asker.interactive and asker.problems:
        sys.exit(
            "Nothing was written. Correct these, or use --skip-checks if they can wait:\n" + "\n".join(asker.problems)
        )
    if settings:
        write_settings(
            {name: value for name, value in settings.items() if not (options.only_missing and name in given)}
        )
    var = read_settings()
    answers = [f"--staff={staff}", f"--company={company}", f"--owner={owner}", f"--language={options.language}"]
    command = [sys.executable, "manage.py", "first_accounts", *answers]
    created: list[bool] = []

    def complete(lock: int) -> None:
        create_accounts(command, lock)
        created.append(True)

    status = run_services(var, complete=complete, stay=not options.no_start)
    if not created:
        warn("Interrupted before the accounts were created. Run `python3 run.py init` again with the same answers.")
        return 130
    if options.no_start:
        say("Next: start Keywell (docs/installing.md, in containers docs/containers.md).")
    return status


def is_complete() -> bool:
    """Return whether the settings file and the environment have what an installation can't do without."""
    env = Settings()
    return not [text for names in REQUIRED for text in env.require(*names)]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 run.py init",
        description="Set up a real installation: check and write its settings, create the first administrator and the"
        " first merchant with an API key, and start. Asks for what isn't given. Settings in the environment, such as"
        " DATABASE_URL or EMAIL_URL_FILE, are used and written too.",
    )
    parser.add_argument("--address", metavar="URL", help="where users and shops reach it: https://keys.example.com")
    parser.add_argument(
        "--email-url", metavar="URL", help="smtp+tls://user:password@host:587; better in the environment: EMAIL_URL"
    )
    parser.add_argument("--sender", metavar="ADDRESS", help="the sender of all e-mails")
    parser.add_argument("--staff", metavar="ADDRESS", help="the first administrator, who gets a test e-mail")
    parser.add_argument("--company", metavar="NAME", help="the first merchant, as customers know it")
    parser.add_argument("--owner", metavar="ADDRESS", help="its owner, who gets an invitation (default: --staff)")
    languages = ["en", *sorted(path.parent.name for path in BASE_DIR.glob("locale/*/LC_MESSAGES"))]
    parser.add_argument(
        "--language", default="en", choices=languages, help="of e-mails to the merchant's members (en)"
    )
    parser.add_argument("--skip-checks", action="store_true", help="accept what doesn't work yet: DNS, TLS, mail")
    parser.add_argument("--only-missing", action="store_true", help="don't write settings that the environment has")
    parser.add_argument("--no-start", action="store_true", help="end when everything is set up")
    return parser.parse_args(arguments)


def ask_for_settings(asker: Asker, options: argparse.Namespace) -> dict[str, str]:
    """Return the settings except for mail. Settings in the environment are kept."""
    address = asker.get(
        "address",
        options.address or os.environ.get("BASE_URL"),
        "Public address, such as https://keys.example.com:",
        check_address,
    )
    settings = given_settings()
    if address:
        asker.accepts(partial(check_tls, address))
        settings |= network_settings(address) | settings | {"BASE_URL": address.rstrip("/")}
    os.environ.update({name: settings[name] for name in ("HOST", "PORT") if name in settings})
    listen("init").close()
    if "DATABASE_URL" not in settings:
        settings.setdefault("KEYWELL_VAR", free_folder())
    return settings | new_secrets(settings)


def new_secrets(settings: dict[str, str]) -> dict[str, str]:
    """Return the secrets that the settings lack. Stops if there is an installation already, which needs its own."""
    made = {"SECRET_KEY": secrets.token_urlsafe(48), "VAULT_KEYS": new_vault_key()}
    missing = {name: value for name, value in made.items() if not settings.keys() & {name, f"{name}_FILE"}}
    if missing:
        refuse_lost_settings(BASE_DIR / settings.get("KEYWELL_VAR", "var"))
    return missing


def given_settings() -> dict[str, str]:
    """Return the settings in the environment. Those from files of their own stay there."""
    known = sorted(known_settings())
    in_files = {f"{name}_FILE": os.environ[f"{name}_FILE"] for name in known if os.environ.get(f"{name}_FILE")}
    plain = {name: os.environ[name] for name in known if os.environ.get(name) and f"{name}_FILE" not in in_files}
    return plain | in_files


def network_settings(address: str) -> dict[str, str]:
    """Return where to listen: behind a proxy, which does TLS, or directly."""
    parts = split_address(address)
    if parts.scheme == "https":
        return {"BEHIND_PROXY": "on", "HOST": "127.0.0.1", "PORT": "8000"}
    is_local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    local = "::1" if parts.hostname == "::1" else "127.0.0.1"
    return {"HOST": local if is_local else "0.0.0.0", "PORT": str(parts.port or 80)}  # noqa: S104


def free_folder() -> str:
    """Return the default data folder, relative to run.py; or another one if that holds a demo."""
    return OTHER_VAR if (BASE_DIR / "var/secrets.env").exists() else "var"


def ask_for_owner(asker: Asker, options: argparse.Namespace, staff: str) -> str:
    """Return the address of the first merchant's owner, who may be the administrator."""
    owner: str = options.owner or staff
    if asker.interactive and not options.owner:
        owner = input("E-mail address of its owner (empty: yours): ").strip() or staff
    if owner == staff:
        return owner
    return asker.get("owner", owner, "E-mail address of its owner:", check_email_address)


def ask_for_mail(asker: Asker, options: argparse.Namespace, settings: dict[str, str], staff: str) -> None:
    """Complete the settings with a mail server and a sender that have sent an e-mail to the administrator."""
    sender = options.sender or settings.get("DEFAULT_FROM_EMAIL")
    question = "Sender of all e-mails, such as licenses@example.com:"
    settings["DEFAULT_FROM_EMAIL"] = asker.get("sender", sender, question, check_email_address)
    settings.setdefault("SUPPORT_EMAIL", staff)
    url = options.email_url
    while True:
        if url or not settings.keys() & {"EMAIL_URL", "EMAIL_URL_FILE", "ANYMAIL_ESP"}:
            # Compose would take $ for the beginning of a variable.
            settings["EMAIL_URL"] = (url or ask_for_server(asker)).replace("$", "%24")
        if not (staff and settings.get("EMAIL_URL", "elsewhere")) or asker.accepts(
            partial(test_mail, settings, staff)
        ):
            return
        if not asker.interactive:
            return
        url = ask_for_server(asker)


def ask_for_server(asker: Asker) -> str:
    if not asker.interactive:
        asker.problems.append("--email-url is missing. Mail server, such as smtp+tls://user:password@host:587")
        return ""
    server = ""
    while not server:
        server = input("Mail server (host:port, or smtp://host:port if it has no TLS): ").strip()
    if "://" in server:
        return server
    host, _, port = server.partition(":")
    scheme = {"465": "smtp+ssl", "25": "smtp"}.get(port, "smtp+tls")
    user = input("User at the mail server (empty if it needs none): ").strip()
    login = f"{quote(user, safe='')}:{quote(getpass('Password: '), safe='')}@" if user else ""
    return f"{scheme}://{login}{host}:{port or 587}"


def test_mail(settings: dict[str, str], staff: str) -> str:
    servers = {"DATABASE_URL": "postgresql://unused/unused", "BROKER_URL": "redis://unused"}
    return check_mail(staff, servers | settings)


def write_settings(settings: dict[str, str]) -> None:
    """Add to the settings file, readable only by its owner. What it contains already stays."""
    path = settings_file()
    path.touch(mode=0o600)
    with path.open("r+") as file:
        with contextlib.suppress(PermissionError):  # another user's; in a container, the host's
            os.fchmod(file.fileno(), 0o600)
        before = file.read()
        # An empty setting counts as missing, and of two lines with the same name the last one counts.
        given = {match[1] for line in before.splitlines() if (match := SETTING.match(line)) and match[2]}
        lines = [f"{name}={quoted(value)}\n" for name, value in settings.items() if name not in given]
        # Added at the end, so that a full disk leaves the rest as it was.
        separator = "" if before.endswith("\n") or not before else "\n"
        file.write(f"{separator}{HEADER}{''.join(lines)}")
    say(f"Settings written to {path}")


def quoted(value: str) -> str:
    """Return how a settings file has the value: as it is, unless its own quotes would be lost."""
    if not re.fullmatch(r"'.*'|\".*\"", value):
        return value
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def refuse_several_lines(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        if len(value.splitlines()) > 1:
            sys.exit(f"Nothing was written. {name} has several lines, but a setting has one.")


def create_accounts(command: list[str], lock: int) -> None:
    result = run(list(command), lock)
    if result.returncode:
        sys.exit(f"Creating the first accounts failed: {reason(result)} Run `python3 run.py init` again.")
    say(result.stdout)
