"""The arrows of docs/architecture.md: imports point one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Each application may import those before it; of one line none knows another. The licensing service stands alone.
LAYERS = [
    ["vault", "work"],
    ["merchants"],
    ["orders"],
    ["pools"],
    ["outbound"],
    ["notices"],
    ["webhooks"],
    ["delivery"],
    ["fulfillment"],
    ["api"],
    ["runtime", "demo", "portal"],
]
SEES = {app: {*sum(LAYERS[:level], [])} for level, apps in enumerate(LAYERS) for app in apps}
SEES["licensing"] = {"vault", "work", "merchants"}
for app in ("runtime", "demo", "portal"):
    SEES[app] |= {"licensing"}
SEES["portal"] |= {"runtime"}

# No module of it knows a kind of source: those are applications in fulfillment/sources, and know all of fulfillment.
KINDS = {path.parent.name for path in (ROOT / "fulfillment/sources").glob("*/apps.py")}

# Django calls these before models may be imported.
LATE = {"manage.py", "vault/apps.py", "fulfillment/apps.py"}


def modules():
    for app in SEES:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts and "tests" not in path.parts:
                yield pytest.param(path, id=str(path.relative_to(ROOT)))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", list(modules()))
def test_a_module_imports_only_from_applications_below(path):
    app = path.relative_to(ROOT).parts[0]

    used = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))} & set(SEES)

    assert used <= SEES[app] | {app}


@pytest.mark.parametrize("path", list(modules()))
def test_no_import_hides_in_a_function(path):
    if str(path.relative_to(ROOT)) in LATE:
        return

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not list(imported(node)), f"{node.name} imports"


def test_every_package_of_ours_is_in_the_list():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "faults"}

    assert packages == set(SEES)
