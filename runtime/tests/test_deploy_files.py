"""The files in deploy/ and compose.yaml, as far as text can show."""

import re

import pytest
from django.conf import settings

from runtime.configuration import BASE_DIR

UNITS = sorted(BASE_DIR.glob("deploy/systemd/*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_where_the_documentation_installs(unit):
    installing = (BASE_DIR / "docs/installing.md").read_text()
    [folder] = re.findall(r"^WorkingDirectory=(.+)$", unit.read_text(), re.MULTILINE)

    assert f"{folder}/deploy/systemd/keywell.service" in installing
    assert set(re.findall(r"(/opt/\S+)/\.venv", unit.read_text())) <= {folder}


def test_the_proxy_in_compose_gets_no_secrets():
    compose = (BASE_DIR / "compose.yaml").read_text()
    [caddy] = re.findall(r"^  caddy:\n((?:    .*\n)+)", compose, re.MULTILINE)

    assert "BASE_URL: ${BASE_URL" in caddy
    assert "env_file" not in caddy


def test_nginx_logs_no_links_with_secrets_that_come_without_tls():
    nginx = (BASE_DIR / "deploy/nginx/keywell.conf").read_text()
    [plain] = re.findall(r"server \{\n    listen 80;.*?\n\}", nginx, re.DOTALL)

    assert "access_log off;" in plain


def test_the_image_has_every_application():
    allowed = {line.removeprefix("!") for line in (BASE_DIR / ".dockerignore").read_text().splitlines()}
    ours = {name.partition(".")[0] for name in settings.INSTALLED_APPS} & {path.name for path in BASE_DIR.iterdir()}

    assert ours - allowed == set()
    assert "shops" in ours
