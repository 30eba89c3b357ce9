"""Settings of a deployment: where they come from, and what is said about those that are missing, wrong or unknown."""

import os
import re

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from runtime.configuration import (
    BASE_DIR,
    Settings,
    check_required,
    doubtful_settings,
    is_demo,
    known_settings,
    read_settings_file,
)

READ = re.compile(r'env(?:\.\w+)?\(\s*"([A-Z_]+)"')


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """An environment without settings, and the settings file to write."""
    monkeypatch.setattr(os, "environ", {"KEYWELL_ENV": str(tmp_path / ".env"), "PATH": os.environ["PATH"]})
    monkeypatch.setattr(environ.Env, "ENVIRON", os.environ)
    return tmp_path / ".env"


def test_every_setting_is_described():
    read = set(READ.findall((BASE_DIR / "portal/settings.py").read_text()))

    assert len(read) > 20
    assert read <= known_settings()


def test_the_environment_wins_over_the_file(environment):
    environment.write_text("PORT=8001\nHOST=::1\nLOG_LEVEL=DEBUG\n")
    os.environ |= {"PORT": "8002", "LOG_LEVEL": ""}

    read_settings_file()

    assert [os.environ[name] for name in ("PORT", "HOST", "LOG_LEVEL")] == ["8002", "::1", "DEBUG"]


def test_a_setting_can_come_from_a_file_of_its_own(environment, tmp_path):
    (tmp_path / "key").write_text("very secret\n")
    (tmp_path / "mail").write_text("smtp://localhost\n")
    environment.write_text(f"SECRET_KEY_FILE={tmp_path}/key\nEMAIL_URL=smtp://elsewhere\n")
    os.environ["EMAIL_URL_FILE"] = f"{tmp_path}/mail"

    for _ in range(2):  # a child process reads them again
        read_settings_file()

        assert os.environ["SECRET_KEY"] == "very secret"
        assert os.environ["EMAIL_URL"] == "smtp://localhost"


def test_a_missing_file_of_a_setting_is_named(tmp_path):
    os.environ["VAULT_KEYS_FILE"] = f"{tmp_path}/gone"

    with pytest.raises(ImproperlyConfigured, match="/gone, which VAULT_KEYS_FILE names: .*No such file"):
        read_settings_file()


def test_a_file_that_holds_no_text_is_named(tmp_path):
    (tmp_path / "key").write_bytes(b"\xff")
    os.environ["SECRET_KEY_FILE"] = f"{tmp_path}/key"

    with pytest.raises(ImproperlyConfigured, match="/key, which SECRET_KEY_FILE names"):
        read_settings_file()


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    os.environ["SECRET_KEY_FILE"] = str(tmp_path)

    with pytest.raises(ImproperlyConfigured, match="which SECRET_KEY_FILE names: .*Is a directory"):
        read_settings_file()


@pytest.mark.parametrize("value", ["$abc", "a$b$$", r"\$a", "$"])
def test_a_dollar_sign_is_an_ordinary_character(value):
    os.environ["SECRET_KEY"] = value

    assert Settings()("SECRET_KEY") == value


def test_an_empty_setting_is_missing():
    os.environ |= {"SECRET_KEY": "", "PORT": ""}

    with pytest.raises(ImproperlyConfigured, match="Missing settings: SECRET_KEY, EMAIL_URL or ANYMAIL_ESP"):
        check_required(Settings(), ("SECRET_KEY",), ("EMAIL_URL", "ANYMAIL_ESP"))
    assert Settings().number("PORT", default=8000) == 8000


@pytest.mark.parametrize("text", ["ture", "2", "enabled"])
def test_a_flag_is_on_or_off(text):
    os.environ["BEHIND_PROXY"] = text

    with pytest.raises(ImproperlyConfigured, match=f"BEHIND_PROXY must be on or off, not “{text}”"):
        Settings().flag("BEHIND_PROXY", default=False)


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "9" * 5000])
def test_a_number_is_whole(text):
    os.environ["API_REQUESTS_PER_MINUTE"] = text

    with pytest.raises(ImproperlyConfigured, match="API_REQUESTS_PER_MINUTE must be a whole number of at least 0"):
        Settings().number("API_REQUESTS_PER_MINUTE", default=1)


def test_unknown_settings_and_invalid_lines_are_named(environment):
    environment.write_text(
        "# a comment\n\nEMIAL_URL=smtp://localhost\nBASE_URL https://keys.example\nXYZ=1\nPORT=8000\nHOST = ::1\n"
    )
    os.environ |= {"KEYWELL_VRA": "/srv", "ALLOWED_HOST": "keys.example", "EMAIL": "me", "SECRET_KEY_FILE": "x"}

    assert doubtful_settings() == [
        f"Unknown setting in line 3 of {environment}: EMIAL_URL. Did you mean EMAIL_URL?",
        f"Line 4 of {environment} is ignored, because it isn’t NAME=value.",
        f"Unknown setting in line 5 of {environment}: XYZ. See .env.example.",
        f"Line 7 of {environment} is ignored, because it isn’t NAME=value.",
        "Unknown setting in the environment: ALLOWED_HOST. Did you mean ALLOWED_HOSTS?",
        "Unknown setting in the environment: KEYWELL_VRA. Did you mean KEYWELL_VAR?",
    ]


def test_the_example_has_no_unknown_settings(environment):
    environment.write_text((BASE_DIR / ".env.example").read_text())

    assert doubtful_settings() == []


@pytest.mark.parametrize(
    "setting", ["SECRET_KEY", "VAULT_KEYS", "DATABASE_URL", "SECRET_KEY_FILE", "DJANGO_DEBUG", "the file"]
)
def test_secrets_or_a_settings_file_rule_out_a_demo(setting, environment):
    assert is_demo()
    if setting == "the file":
        environment.touch()
    else:
        os.environ[setting] = "off"

    assert not is_demo()


def test_a_demo_may_have_another_port_folder_and_mail_server():
    os.environ |= {"PORT": "8001", "KEYWELL_VAR": "/srv", "EMAIL_URL": "smtp://localhost", "DATABASE_URL": ""}

    assert is_demo()
