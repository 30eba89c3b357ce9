"""A start sets the database up again after anything that it depends on has changed."""

from pathlib import Path

import pytest
from django.apps import apps

from runtime import serving
from runtime.configuration import BASE_DIR


def files():
    for app in apps.get_app_configs():
        path = Path(app.path)
        if path.is_relative_to(BASE_DIR) and not path.is_relative_to(BASE_DIR / ".venv"):
            yield from path.glob("migrations/0*.py")
    yield BASE_DIR / "portal/settings.py"
    yield BASE_DIR / "demo/orders.py"


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(BASE_DIR)))
def test_a_change_is_noticed(file, monkeypatch):
    before = serving.code_version()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"# changed" if path == file else b""))

    assert serving.code_version() != before
