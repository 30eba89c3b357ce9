"""The arrows of docs/architecture.md: imports point one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Each room with those it may import from.
ROOMS: dict[str, set[str]] = {
    "rest": set(),
    "vault": set(),
    "merchants": {"rest", "vault"},
    "orders": {"rest", "vault", "merchants"},
    "pools": {"rest", "vault", "merchants", "orders"},
    "fulfillment": {"rest", "vault", "merchants", "orders", "pools"},
    "licensing": {"rest", "vault", "merchants"},
    "portal": {"rest", "vault", "merchants", "orders", "pools", "fulfillment", "licensing"},
}

# Inside fulfillment: each level may import those before it.
LEVELS = [
    {"shapes", "kinds"},
    {"models", "signatures", "encodings"},
    {"address_guard", "breaker", "subscriptions"},
    {"transport"},
    {"callouts"},
    {"mail_servers", "parameters"},
    {"answers", "mail"},
    {"notices"},
    {"item_notices", "pool_notices", "upstream_notices", "delivery_notices", "webhooks"},
    {"sns", "tracking"},
    {"net_licensing", "resending", "web_services"},
    {"console", "deactivation", "sources"},
    {"chains", "composition", "services"},
    {
        "attention",
        "delivery",
        "held_codes",
        "history",
        "link_requests",
        "notices",
        "personal_data",
        "providers",
        "refunds",
        "retention",
        "serializers",
        "setup",
    },
    {"receivers", "tasks", "api", "admin"},
    {"urls", "apps"},
]

# Django calls these before models may be imported.
LATE = {"manage.py", "vault/apps.py", "fulfillment/apps.py"}


def modules():
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
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
def test_a_module_imports_only_from_rooms_below(path):
    room = path.relative_to(ROOT).parts[0]

    used = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))} & set(ROOMS)

    assert used <= ROOMS[room] | {room}


@pytest.mark.parametrize("path", sorted((ROOT / "fulfillment").rglob("[a-z]*.py")), ids=str)
def test_a_module_of_fulfillment_imports_only_from_levels_below(path):
    module = path.relative_to(ROOT / "fulfillment").parts[0].removesuffix(".py")
    if module in {"tests", "migrations"}:
        return
    level = next(index for index, names in enumerate(LEVELS) if module in names)
    below = set().union(*LEVELS[:level], {module})

    names = [name.split(".") for name in imported(ast.parse(path.read_text())) if name.startswith("fulfillment.")]

    assert {name[1] for name in names} <= below


@pytest.mark.parametrize("path", list(modules()))
def test_no_import_hides_in_a_function(path):
    if str(path.relative_to(ROOT)) in LATE:
        return

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not list(imported(node)), f"{node.name} imports"


def test_every_package_of_ours_is_a_room():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "faults"}

    assert packages == set(ROOMS)
