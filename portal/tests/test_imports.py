"""Imports follow the layers in docs/architecture.md."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Each application may import the layers above it in this list, but not its own layer. licensing is separate.
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
    ["api", "shops"],
    ["runtime", "demo", "portal"],
]
ALLOWED = {app: {*sum(LAYERS[:level], [])} for level, apps in enumerate(LAYERS) for app in apps}
ALLOWED["licensing"] = {"vault", "work", "merchants"}
for app in ("runtime", "demo", "portal"):
    ALLOWED[app] |= {"licensing"}
ALLOWED["portal"] |= {"runtime"}

# The kinds of sources are applications in fulfillment/sources. They import fulfillment, never the other way around.
KINDS = {path.parent.name for path in (ROOT / "fulfillment/sources").glob("*/apps.py")}
# Their sections of the portal, and the patterns of their names.
SECTIONS = {"web_service": "web_services", "netlicensing": "netlicensing"}
# The template folders of their pages and of the licensing pages.
OWN_TEMPLATES = {*SECTIONS.values(), "licensing"}
NAME_PATTERNS = {"web_service": "web.?service", "netlicensing": "net.?licensing|LicensingAccount|LicensePackage"}
# fulfillment serves manual and pool sources itself. The licensing pages link to the accounts that use the service.
ALLOWED_USERS = {
    "manual": {"fulfillment/actions.py"},
    "pool": {"fulfillment/actions.py", "portal/products/views.py"},
    "netlicensing": {"portal/licensing/access.py", "portal/licensing/views.py"},
    "web_service": set(),
}

# Django calls these before models may be imported.
IMPORTING_LATE = {"manage.py", "vault/apps.py", "fulfillment/apps.py", "shops/apps.py"}


@cache
def text_of(path):
    return path.read_text()


@cache
def tree_of(path):
    return ast.parse(text_of(path))


@cache
def modules():
    return list(find_modules())


def find_modules():
    for app in ALLOWED:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts and "tests" not in path.parts:
                yield pytest.param(path, id=str(path.relative_to(ROOT)))


@cache
def imported_by(path):
    return list(imported(tree_of(path)))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules())
def test_a_module_imports_only_from_lower_layers(path):
    app = path.relative_to(ROOT).parts[0]

    used = {name.split(".")[0] for name in imported_by(path)} & set(ALLOWED)

    assert used <= ALLOWED[app] | {app}


def is_own(path, kind):
    return path.startswith((f"fulfillment/sources/{kind}/", f"portal/{SECTIONS.get(kind)}/", "demo/"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_its_own_folders_import_a_kind_of_source(kind):
    module = f"fulfillment.sources.{kind}."
    users = {
        str(path.relative_to(ROOT))
        for param in modules()
        for path in param.values
        if any(f"{name}.".startswith(module) for name in imported_by(path))
    }

    assert {path for path in users if not is_own(path, kind)} == ALLOWED_USERS.get(kind, set())


@pytest.mark.parametrize("kind", sorted(NAME_PATTERNS))
def test_only_the_settings_and_urls_name_a_kind_of_source(kind):
    templates = [path for path in (ROOT / "templates").rglob("*.html") if path.parent.name not in OWN_TEMPLATES]
    files = [ROOT / "run.py", *templates, *(path for param in modules() for path in param.values)]
    named = {str(path.relative_to(ROOT)) for path in files if re.search(NAME_PATTERNS[kind], text_of(path), re.I)}

    # The licensing service implements the API of NetLicensing.
    apart = ("licensing/", "portal/licensing/")
    others = {path for path in named if not is_own(path, kind) and not path.startswith(apart)}
    # The other side of requests to a web service.
    others -= {"shops/kinds/noventiq_request.py"}
    assert others == {"portal/settings.py", "portal/urls.py"}


@pytest.mark.parametrize("path", modules())
def test_no_function_contains_imports(path):
    if str(path.relative_to(ROOT)) in IMPORTING_LATE:
        return

    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not list(imported(node)), f"{node.name} imports"


def test_every_package_is_in_the_list():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "faults"}

    assert packages == set(ALLOWED)
