import re
from pathlib import Path


def version() -> str:
    """The `[project] version` of pyproject.toml, also for run.py under a Python that has no tomllib."""
    pyproject = (Path(__file__).parent / "pyproject.toml").read_text()
    [number] = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    return number
