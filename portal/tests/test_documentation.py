import re

import pytest
from django.conf import settings

DOCUMENTS = sorted([*settings.BASE_DIR.glob("*.md"), *settings.BASE_DIR.glob("docs/**/*.md")])


def test_the_documentation_page_loads_nothing_from_elsewhere(client):
    page = client.get("/api/docs/").content.decode()

    assert "swagger-ui" in page
    assert "https://" not in page


def test_every_operation_says_which_errors_it_answers(client):
    schema = client.get("/api/schema/?format=json").json()

    assert "/api/v1/payments/" in schema["paths"]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"401", "403", "429"} <= set(answers), f"{method} {path}"
            assert "application/problem+json" in answers["401"]["content"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(settings.BASE_DIR)))
def test_every_link_between_documents_leads_somewhere(document):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_the_paths_of_a_payment_and_of_a_resend_lead_through_files_that_are_there():
    """Rows of tables in docs/architecture.md: an application, its files, and perhaps what of a file is meant."""
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


def test_a_push_is_checked_by_what_ci_runs():
    hooks = (settings.BASE_DIR / ".pre-commit-config.yaml").read_text()
    ci = (settings.BASE_DIR / ".ci/run").read_text()

    command = ci.rpartition("exec ")[2].strip()
    assert f"entry: {command}\n" in hooks
