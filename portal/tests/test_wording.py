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
from string import Formatter

import pytest
from django.template.base import Lexer, TokenType
from django.urls import NoReverseMatch, reverse

from runtime.tests.programs import need

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {".py", ".html", ".txt", ".md", ".js", ".css", ".example"}
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

# Every text of these is translatable, except examples of code and what is listed below.
TEMPLATES = [
    path
    for kind in ("html", "txt")
    for path in sorted(ROOT.glob(f"templates/**/*.{kind}"))
    if path.parent not in {ROOT / "templates/portal/verify", ROOT / "templates/portal/requests"}
]
# Shops and programs read the API's and the licensing service's texts in English, and operators read those of commands,
# settings and logs.
ENGLISH = re.compile(
    r"^(api|benchmarks|demo|docs|examples|faults|runtime|vault|work)/|^[^/]+$|/(tests|migrations|management)/"
    r"|^licensing/(?!models/)|^portal/(formats/.*|(celery|middleware|settings|urls|wsgi)\.py)|^delivery/(providers|sns)\.py|^fulfillment/payments\.py|^shops/inbox\.py"
)
# Functions whose texts users don't see: names of locks, seeds of digests, SQL, patterns, errors of programmers.
INTERNAL = re.compile(
    r"^(advisory_lock|compile|Counter|debug|exception|execute|fingerprint|Histogram|log|logger|log_change|mark_safe|RawSQL|report|secret_number|sub"
    r"|[A-Z]\w*Error|ImproperlyConfigured|AnymailWebhookValidationFailure|_refuse)$"
)
# Stored values, such as the names of actors and of formats, and examples.
STORED = {
    *("the customer", "the mail server", "\0, support staff", "upload link of the notice of \0"),
    *("Keywell’s own orders", "The customer’s data was erased.", "This was first reported with a different value."),
    *("API key \0", "API key", "not valid", "The order is \0.", "Order \0, \0 of \0"),
    *("events of shops", "refund, refunded, order.refunded, chargeback", "sale, paid, order.paid, order.completed"),
    "event \0",
    *("marks \0", " with an error", "\0\0, size \0", "empty lines", "separator lines", "several times"),
    *("Basic \0", "Bearer \0", "Basic (user name \0)", "Photo Pro", "Engines Ltd"),
}
# SQL, header fields and lists of columns.
CODE = re.compile(
    r"^\s*(SELECT|COPY|WITH|INSERT|UPDATE|LEFT JOIN|, \w+ AS) |^[a-z_]+ IS NULL |_id AS \0, $|^date_trunc\("
    r"|; (charset|filename)=|max-age=|^(, )?[a-z_]+(, [a-z_]+)+$|^\(\?:|^tuple\["
)
NAMED_URL = re.compile(r"{% url [\"']([\w:-]+)[\"'] [^%]*as \w+ %}")
# What a filter or a badge shows without _().
PLAIN_LITERAL = re.compile(r'(?:default:|^badge "[^"]+" )"([^"]+)"')
CODES = {"main", "YOUR-SKU", "apiKey"}
CSS_BLOCKS = {"main_class", "coltype"}
SHOWN_ATTRIBUTES = {"title", "alt", "placeholder", "aria-label", "data-label"}


@cache
def project_files():
    """The hand-written files of the project, as paths relative to its root."""
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.suffix in TEXTS and path.is_file())
    hidden = {"var", "locale"}
    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in path.parts[:-1])
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
        [need("git"), "-c", "safe.directory=*", "log", f"--since={COMMITS_FROM}", "--format=%s"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert too_long(["x" * MAX_SUBJECT]) == [] and too_long(["x" * (MAX_SUBJECT + 1)])
    assert too_long(log.stdout.splitlines()) == []  # empty without the git history


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_every_text_in_a_template_is_translatable(template):
    assert untranslatable_in_template(template.read_text()) == []


@pytest.mark.parametrize("name", sorted({name for path in TEMPLATES for name in NAMED_URL.findall(path.read_text())}))
def test_links_in_translated_texts_lead_somewhere(name):
    # {% url … as … %} sets an empty string instead of raising an error.
    try:
        reverse(name)
    except NoReverseMatch as error:
        assert "with no arguments not found" in str(error)  # it has some in the template


UNREAD = {"style", "script", "pre", "code"}


class TextCollector(HTMLParser):
    """Collects the texts of a page and the attributes that users see or hear."""

    def __init__(self):
        super().__init__()
        self.texts, self.ignored = [], 0

    def handle_starttag(self, tag, attrs):
        self.ignored += tag in UNREAD
        self.texts += [value for name, value in attrs if name in SHOWN_ATTRIBUTES and value]

    def handle_endtag(self, tag):
        self.ignored -= tag in UNREAD

    def handle_data(self, data):
        if not self.ignored:
            self.texts.append(data)


def untranslatable_in_template(source):
    html, is_translated = "", False
    for token in Lexer(source).tokenize():
        if token.token_type == TokenType.BLOCK:
            tag, *values = token.contents.split()
            if tag in {"blocktranslate", "block"}:
                is_translated = tag == "blocktranslate" or values[0] in CSS_BLOCKS
            elif tag in {"endblocktranslate", "endblock"}:
                is_translated = False
        elif token.token_type == TokenType.TEXT and not is_translated:
            html += token.contents
        if token.token_type in {TokenType.VAR, TokenType.BLOCK}:
            html += "".join(literal for literal in PLAIN_LITERAL.findall(token.contents) if literal not in CODES)
    collector = TextCollector()
    collector.feed(html)
    texts = [re.sub(r"\S*[/?]\S*", "", text).strip() for text in collector.texts]  # without URLs
    return [text for text in texts if re.search(r"[^\W\d_]{2}", text)]


def test_every_text_in_a_module_is_translatable():
    found = [
        f"{path}: {text!r}"
        for path in project_files()
        if path.suffix == ".py" and not ENGLISH.search(str(path))
        for text in untranslatable_in_module((ROOT / path).read_text())
    ]

    assert found == []


# Keywords whose values are shown, even if they are a single word.
LABELS = {"label", "help_text", "verbose_name", "short_description", "title", "button"}
# Enumerations of a wire format, whose values people see unchanged.
VALUES_ONLY = {"Currency", "Source", "Type"}
# Two words, a word before a full stop, a word and a value, or what HTML shows.
WORD, OPEN, CLOSE = r"[^\W\d_]", "[“(‘•]*", "[,;:.’”)]?"
SENTENCE = re.compile(
    rf"^[^<=]*{WORD}{CLOSE} {OPEN}{WORD}|{WORD}{{2}}[.…]$|{WORD}{{2}}{CLOSE} {OPEN}\0|\0{CLOSE} {WORD}{{2}}"
    rf"|>[^<>{{}}]*{WORD}{{3}}[^<>{{}}]*</"
)


def untranslatable_in_module(source):
    """The sentences of a module outside gettext(). The values in an f-string are NUL."""
    tree = ast.parse(source)
    hidden = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            hidden |= {id(line.value) for line in body if isinstance(line, ast.Expr)}  # docstrings
        elif isinstance(node, ast.JoinedStr | ast.Compare | ast.Subscript):
            hidden |= {id(part) for part in ast.walk(node) if part is not node}
        elif isinstance(node, ast.Dict):
            hidden |= {id(key) for key in node.keys}
        elif isinstance(node, ast.FunctionDef):
            hidden.add(id(node.returns))
        elif isinstance(node, ast.Call) and is_hidden(node.func):
            hidden |= {id(part) for part in ast.walk(node)}
    texts = [text_of(node) for node in ast.walk(tree) if id(node) not in hidden]
    labels = {
        text_of(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in LABELS
    } | {label for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for label in plain_choices(node)}
    shown = [text for text in texts if SENTENCE.search(text) and text not in STORED and not CODE.search(text)]
    return shown + sorted(label for label in labels if re.search(WORD, label))


def plain_choices(node):
    """The members of an enumeration whose labels aren't translatable."""
    if node.name in VALUES_ONLY or not any("Choices" in ast.unparse(base) for base in node.bases):
        return []
    members = [line for line in node.body if isinstance(line, ast.Assign)]
    return [
        ast.unparse(line) for line in members if not isinstance(line.value, ast.Tuple) or text_of(line.value.elts[-1])
    ]


def test_texts_outside_functions_are_translated_when_they_are_shown():
    found = [f"{path}: {text}" for path, tree in modules() for text in translated_on_import(tree)]

    assert found == []
    assert translated_on_import(ast.parse("@action(description=gettext('Retry'))\ndef retry(): gettext('Done')"))
    assert translated_on_import(ast.parse("def retry(): gettext('Done')")) == []


def translated_on_import(node):
    """The calls of gettext() that run once, in whatever language is active then."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        inner = [*getattr(node, "decorator_list", []), *node.args.defaults, *node.args.kw_defaults]
    else:
        inner = list(ast.iter_child_nodes(node))
    function = getattr(node, "func", None)
    own = [ast.unparse(node)] if function and ast.unparse(function) in {"gettext", "ngettext"} else []
    return own + [text for part in inner if part for text in translated_on_import(part)]


def is_hidden(function):
    *owner, name = ast.unparse(function).split(".")
    return name == "_" or "gettext" in name or any(map(INTERNAL.match, [name, *owner[-1:]]))


def text_of(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_the_checks_detect_an_untranslatable_text():
    page = "{% if a %}<p title='Your order'>Thanks</p>{% endif %}"
    assert untranslatable_in_template(page) == ["Your order", "Thanks"]
    assert untranslatable_in_template("<p>{% blocktranslate %}Thanks{% endblocktranslate %}</p>") == []
    assert untranslatable_in_template('{{ name|default:"Nobody" }}{% badge "paid" "Late" %}') == ["NobodyLate"]
    assert untranslatable_in_template('{{ name|default:_("Nobody") }}{{ page|default:"main" }}') == []
    module = "text = 'Thanks a lot'\nother = gettext('Thanks a lot')\nfield(label='Name', help_text=_('Yours'))"
    assert untranslatable_in_module(module) == ["Thanks a lot", "Name"]
    assert untranslatable_in_module("reply(f'Order {number} has {count} codes')") == ["Order \0 has \0 codes"]
    assert untranslatable_in_module("format_html('<a href=\"{}\">Open</a>', url)") == ['<a href="{}">Open</a>']
    module = "class Status(models.TextChoices):\n    PAID = 'paid'\n    OPEN = 'open', _('Open')"
    assert untranslatable_in_module(module) == ["PAID = 'paid'"]


def test_every_placeholder_of_a_message_gets_a_value():
    wrong = [f"{path}: {text!r}" for path, tree in modules() for text in incomplete_messages(tree)]

    assert wrong == []
    assert incomplete_messages(ast.parse("gettext('{a} and {b}').format(a=1)")) == ["{a} and {b}"]
    assert incomplete_messages(ast.parse("ngettext('{n} key', '{n} keys', n).format(n=n)")) == []


def incomplete_messages(tree):
    return list(find_incomplete_messages(tree))


def find_incomplete_messages(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            given = {keyword.arg for keyword in node.keywords}
            message = node.func.value
            if isinstance(message, ast.Call) and is_hidden(message.func) and None not in given:
                for text in map(text_of, message.args):
                    if {name for _, name, _, _ in Formatter().parse(text) if name is not None} - given:
                        yield text
