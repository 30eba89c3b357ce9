import re

import pytest
from django.conf import settings

DOCUMENTS = sorted([*settings.BASE_DIR.glob("*.md"), *settings.BASE_DIR.glob("docs/**/*.md")])


def test_the_documentation_page_loads_no_external_resources(client):
    for address in ("/api/docs/", "/api/docs/payments-create/"):
        page = client.get(address).content.decode()
        assert 'src="http' not in page and 'rel="stylesheet" href="http' not in page


def test_every_operation_documents_its_errors(client):
    schema = client.get("/api/schema/?format=json").json()

    assert "/api/v1/payments/" in schema["paths"]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"401", "403", "429"} <= set(answers), f"{method} {path}"
            assert "application/problem+json" in answers["401"]["content"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(settings.BASE_DIR)))
def test_links_between_documents_are_not_broken(document):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_the_files_and_symbols_named_in_the_architecture_document_exist():
    """Table rows in docs/architecture.md name an application, its files, and sometimes a symbol in a file."""
    page = (settings.BASE_DIR / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (`.+?`) \|", page, re.MULTILINE)
    named = [
        (app, *re.fullmatch(r"([\w/]+\.py)(?:: (\w+)(?:\(\))?)?", text).groups())  # type: ignore[union-attr]
        for app, files in rows
        for text in re.findall(r"`(.+?)`", files)
    ]

    assert len(named) > 25
    for app, file, symbol in named:
        source = (settings.BASE_DIR / app / file).read_text()
        assert not symbol or re.search(rf"\b{symbol}\b", source), f"{app}/{file} has no {symbol}"


def test_the_pre_push_hook_runs_the_same_checks_as_ci():
    hooks = (settings.BASE_DIR / ".pre-commit-config.yaml").read_text()
    ci = (settings.BASE_DIR / ".ci/run").read_text()

    command = ci.rpartition("exec ")[2].strip()
    assert f"entry: {command}\n" in hooks
