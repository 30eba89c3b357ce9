"""Code, pages and documents use plain English, and the texts for customers are translatable."""

import ast
import io
import re
import subprocess
import tokenize
from collections import defaultdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.template.base import Lexer, TokenType

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {".py", ".html", ".txt", ".md", ".js", ".css"}
# Decisions and the changelog record how things were; vendored files are not ours.
EXCLUDED = re.compile(r"(^docs/decisions|^CHANGELOG|/vendor/axe|^static/vendor|^requirements|/migrations/)")

# Forbidden words, each with a replacement.
NEVER = {
    r"\bwhom\b": "who, or name the person",
    r"\bnone but\b": "only",
    r"\b(tells?|told|telling) of\b": "notify, say or show",
    r"\b(is|are|was|were|be) told\b": "is notified, gets an e-mail, learns",
    r"\bso many\b": "a number, or as many",
    r"\bat it\b": "working on it",
    r"\banew\b": "again",
    r"\bby itself\b": "automatically",
    r"\bof one's own\b": "their own, its own",
    r"\bwho(m|so)?ever\b": "anyone who, or name the person",
    r"\botherwise than\b": "without, other than",
    r"\b(nobody|nothing|not) any more\b": "no longer",
    r"\bsomebody else\b": "someone else, another",
    r"\b(stands?|stood) (at|in|there|under|by)\b": "is",
    r"\bgives? back\b": "returns",
    r"\bthe log says\b": "a reference",
    r"\bis (had|to be)\b": "must be, or the active voice",
    r"\b(behaviour|catalogue|favour|whilst|amongst)\w*\b": "American spelling",
}
# Forbidden words in names, between underscores.
NEVER_IN_NAMES = re.compile(r"(^|_)(MOST|LONGEST|PATIENCE|KEPT_FOR|AT_ONCE|tell|announce|facts_of|oddities)(_|$)")

COMMITS_FROM = "2026-11-29T12:00:00Z"
MAX_SUBJECT = 72

CUSTOMERS_TEMPLATES = [
    *sorted(ROOT.glob("templates/customer/*.html")),
    *(ROOT / "templates/emails" / name for name in ("delivery.html", "delivery.txt", "lost_key.txt")),
]
CUSTOMERS_MODULES = ["delivery/composition.py", "portal/customer/lost_key.py", "portal/customer/order.py"]
SHOWN_ATTRIBUTES = {"title", "alt", "placeholder", "aria-label"}


@cache
def project_files():
    """The hand-written files of the project, as paths relative to its root."""
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.suffix in TEXTS and path.is_file())
    hidden = {"var", "locale"}
    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in path.parts)
        and path.parts[0] not in hidden
        and not EXCLUDED.search(str(path))
    )


def words_of(path):
    """The numbered lines of a file. For a module, only comments and strings."""
    source = (ROOT / path).read_text()
    if path.suffix != ".py":
        return enumerate(source.splitlines(), start=1)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [
        (token.start[0] + offset, line)
        for token in tokens
        if token.type in {tokenize.COMMENT, tokenize.STRING}
        for offset, line in enumerate(token.string.splitlines())
    ]


def test_no_text_contains_a_forbidden_word():
    found = [
        f"{path}:{number}: {match[0]!r}: write {better}"
        for path in project_files()
        if path != Path("portal/tests/test_wording.py")
        for number, line in words_of(path)
        for pattern, better in NEVER.items()
        if (match := re.search(pattern, line, re.IGNORECASE))
    ]

    assert found == []


def modules():
    for path in project_files():
        if path.suffix == ".py":
            yield path, ast.parse((ROOT / path).read_text())


def test_names_use_the_terms_of_the_field():
    found = set()
    for path, tree in modules():
        for node in ast.walk(tree):
            name = getattr(node, "id", None) or getattr(node, "name", None) or getattr(node, "arg", None)
            if isinstance(name, str) and NEVER_IN_NAMES.search(name):
                found.add(f"{path}: {name}")

    assert sorted(found) == []


def test_no_two_classes_share_a_name():
    homes = defaultdict(list)
    for path, tree in modules():
        if "tests" not in path.parts:
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and node.name != "Command":  # Django's name for every command
                    homes[node.name].append(str(path))

    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def too_long(subjects):
    return [subject for subject in subjects if len(subject) > MAX_SUBJECT]


def test_commit_subjects_are_short():
    log = subprocess.run(
        ["git", "-c", "safe.directory=*", "log", f"--since={COMMITS_FROM}", "--format=%s"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert too_long(["x" * MAX_SUBJECT]) == [] and too_long(["x" * (MAX_SUBJECT + 1)])
    assert too_long(log.stdout.splitlines()) == []  # empty without the git history


@pytest.mark.parametrize("template", CUSTOMERS_TEMPLATES, ids=lambda path: path.name)
def test_every_text_in_a_customers_template_is_translatable(template):
    assert untranslatable_in_template(template.read_text()) == []


class TextCollector(HTMLParser):
    """Collects the texts of a page and the attributes that users see or hear."""

    def __init__(self):
        super().__init__()
        self.texts, self.ignored = [], 0

    def handle_starttag(self, tag, attrs):
        self.ignored += tag in {"style", "script"}
        self.texts += [value for name, value in attrs if name in SHOWN_ATTRIBUTES and value]

    def handle_endtag(self, tag):
        self.ignored -= tag in {"style", "script"}

    def handle_data(self, data):
        if not self.ignored:
            self.texts.append(data)


def untranslatable_in_template(source):
    html, is_translated = "", False
    for token in Lexer(source).tokenize():
        if token.token_type == TokenType.BLOCK:
            tag = token.contents.split()[0]
            is_translated = {"blocktranslate": True, "endblocktranslate": False}.get(tag, is_translated)
        elif token.token_type == TokenType.TEXT and not is_translated:
            html += token.contents
    collector = TextCollector()
    collector.feed(html)
    return [text.strip() for text in collector.texts if re.search(r"[^\W\d_]{2}", text)]


@pytest.mark.parametrize("module", CUSTOMERS_MODULES)
def test_every_sentence_in_a_customers_module_is_translatable(module):
    assert untranslatable_in_module((ROOT / module).read_text()) == []


def untranslatable_in_module(source):
    tree = ast.parse(source)
    marked = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            marked.add(id(body[0].value))  # a docstring
        if isinstance(node, ast.Call) and re.search(r"^_$|gettext", getattr(node.func, "id", "")):
            marked |= {id(argument) for argument in ast.walk(node)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in marked
        and re.search(r"^[^<=]*[^\W\d_] [^\W\d_]", node.value)
    ]


def test_the_checks_detect_an_untranslatable_text():
    page = "{% if a %}<p title='Your order'>Thanks</p>{% endif %}"
    assert untranslatable_in_template(page) == ["Your order", "Thanks"]
    assert untranslatable_in_template("<p>{% blocktranslate %}Thanks{% endblocktranslate %}</p>") == []
    module = "text = 'Thanks a lot'\nother = gettext('Thanks a lot')"
    assert untranslatable_in_module(module) == ["Thanks a lot"]
