"""Programs that tests run as users would: shells, browsers, interpreters of other languages."""

import os
import shutil

import pytest


def need(*programs: str, package: str = "") -> str:
    """Return the path of the first program. If one is missing, skip the test or, where CI is set, fail it.

    `package` names the packages of Debian that have them, if their names differ.
    """
    if missing := [program for program in programs if not shutil.which(program)]:
        message = f"Not installed: {', '.join(missing)} (Debian: {package or ', '.join(missing)})."
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return str(shutil.which(programs[0]))
