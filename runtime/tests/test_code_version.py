"""A start sets the database up again after anything that it depends on has changed."""

from pathlib import Path

import pytest
from django.apps import apps

import run


def files():
    for app in apps.get_app_configs():
        path = Path(app.path)
        if path.is_relative_to(run.HERE) and not path.is_relative_to(run.VENV):
            yield from path.glob("migrations/0*.py")
    yield run.HERE / "portal/settings.py"
    yield run.HERE / "demo/orders.py"


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(run.HERE)))
def test_a_change_is_noticed(file, monkeypatch):
    before = run.code_version()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"# changed" if path == file else b""))

    assert run.code_version() != before
