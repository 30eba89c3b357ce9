"""One version number: pyproject.toml has it, everything else shows it."""

import subprocess
import sys
import tomllib

import pytest
from django.conf import settings

from merchants.models import User
from version import version


@pytest.fixture
def number():
    with (settings.BASE_DIR / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["version"]


def test_it_is_read_from_the_project_file(number):
    assert version() == number


def test_run_py_prints_it_without_preparing_an_environment(number, tmp_path):
    # With a Python that has no packages
    command = [sys.executable, "-I", "-S", "-c", "import runpy, sys; sys.argv[1:] = ['--version']"]
    command[-1] += f"; sys.path.insert(0, {str(settings.BASE_DIR)!r}); sys.prefix = ''"
    command[-1] += f"; runpy.run_path({str(settings.BASE_DIR / 'run.py')!r}, run_name='__main__')"

    assert subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout == f"Keywell {number}\n"


def test_the_api_schema_has_it(client, number):
    assert client.get("/api/schema/?format=json").json()["info"]["version"] == number


@pytest.mark.django_db
def test_the_pages_of_support_staff_show_it(client, number):
    assert number not in client.get("/admin/login/", follow=True).content.decode()

    client.force_login(User.objects.create_superuser("staff@keywell.example", "correct horse"))

    assert f"Keywell {number}" in client.get("/admin/").content.decode()


def test_the_changelog_names_it(number):
    assert number in (settings.BASE_DIR / "CHANGELOG.md").read_text()
