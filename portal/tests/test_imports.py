"""The arrows of docs/architecture.md: imports point one way."""

import ast
import re
from functools import cache
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
# Their sections of the portal, and what names them.
SECTIONS = {"web_service": "web_services", "netlicensing": "netlicensing"}
# The templates of their pages, and of the licensing service's.
OWN_TEMPLATES = {*SECTIONS.values(), "licensing"}
NAMES = {"web_service": "web.?service", "netlicensing": "net.?licensing|LicensingAccount|LicensePackage"}
# Orders are also served by hand and from stock. The pages of the licensing service lead to the accounts that use it.
USERS = {
    "manual": {"fulfillment/actions.py"},
    "pool": {"fulfillment/actions.py", "portal/products/views.py"},
    "netlicensing": {"portal/licensing/access.py", "portal/licensing/views.py"},
    "web_service": set(),
}

# Django calls these before models may be imported.
LATE = {"manage.py", "vault/apps.py", "fulfillment/apps.py"}


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
    for app in SEES:
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
def test_a_module_imports_only_from_applications_below(path):
    app = path.relative_to(ROOT).parts[0]

    used = {name.split(".")[0] for name in imported_by(path)} & set(SEES)

    assert used <= SEES[app] | {app}


def is_own(path, kind):
    return path.startswith((f"fulfillment/sources/{kind}/", f"portal/{SECTIONS.get(kind)}/", "demo/"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_a_kinds_own_folders_know_it(kind):
    module = f"fulfillment.sources.{kind}."
    users = {
        str(path.relative_to(ROOT))
        for param in modules()
        for path in param.values
        if any(f"{name}.".startswith(module) for name in imported_by(path))
    }

    assert {path for path in users if not is_own(path, kind)} == USERS.get(kind, set())


@pytest.mark.parametrize("kind", sorted(NAMES))
def test_a_kind_is_named_in_its_line_of_the_settings_and_of_the_addresses(kind):
    templates = [path for path in (ROOT / "templates").rglob("*.html") if path.parent.name not in OWN_TEMPLATES]
    files = [ROOT / "run.py", *templates, *(path for param in modules() for path in param.values)]
    named = {str(path.relative_to(ROOT)) for path in files if re.search(NAMES[kind], text_of(path), re.I)}

    # The licensing service speaks the language of NetLicensing.
    apart = ("licensing/", "portal/licensing/")
    others = {path for path in named if not is_own(path, kind) and not path.startswith(apart)}
    assert others == {"portal/settings.py", "portal/urls.py"}


@pytest.mark.parametrize("path", modules())
def test_no_import_hides_in_a_function(path):
    if str(path.relative_to(ROOT)) in LATE:
        return

    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not list(imported(node)), f"{node.name} imports"


def test_every_package_of_ours_is_in_the_list():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "faults"}

    assert packages == set(SEES)
