"""The WordPress plugin in examples/wordpress, and what it sends is what WooCommerce sends."""

import subprocess

from django.conf import settings

from runtime.tests.programs import need

FOLDER = settings.BASE_DIR / "examples/wordpress"


def run_php(*arguments):
    php = need("php", package="php-cli")
    done = subprocess.run([php, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_syntax_is_valid():
    assert "No syntax errors" in run_php("-l", FOLDER / "keywell.php")


def test_it_passes_its_own_tests():
    assert run_php(FOLDER / "tests/run.php").count("ok: ") >= 20
