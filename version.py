import re
from pathlib import Path


def version() -> str:
    """Return the `[project] version` of pyproject.toml. run.py also calls it under a Python without tomllib."""
    pyproject = (Path(__file__).parent / "pyproject.toml").read_text()
    [number] = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    return number
