"""Read activation codes from a web service's answers."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from html import unescape
from typing import Any
from xml.etree.ElementTree import ParseError

import re2
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext

from fulfillment.sources.web_service.models import WebService
from outbound.encodings import Unreadable
from outbound.outgoing_requests import MAX_ANSWER_BYTES, Answer

# Statuses below 500 that are worth a retry: timeout, too early, too many requests.
TEMPORARY_STATUSES = {408, 425, 429}
MAX_CODE_LENGTH = 10_000
STEP = re.compile(r"""\.\*|\[\*\]|\.([A-Za-z_][A-Za-z0-9_-]*)|\['([^'\\]+)'\]|\["([^"\\]+)"\]|\[(-?[0-9]{1,6})\]""")
# A bare code, marked up for browsers: <pre>AAAA-BBBB</pre>.
WRAPPED = re.compile(r"\s*<(pre|code)>([^<>]*)</\1>\s*", re.I)
PAGE = re.compile(r"\s*(?:<\?xml\b[^>]*>\s*)?<(?:!doctype|html|head|body)\b", re.I)
TAG = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>", re.I)


class NoCode(Exception):
    """The answer has no usable code. The message tells the merchant why."""

    def __init__(self, message: str, *, temporary: bool = False):
        super().__init__(message)
        self.temporary = temporary


class PathError(Exception):
    """The path is invalid. The message is for the merchant."""


def read_codes(service: WebService, answer: Answer) -> list[str]:
    """Return the codes in an answer, by the service's settings. None if it sends them itself. Raises NoCode."""
    _check_status(service, answer)
    if service.sends_itself:
        return []
    text = _decode(answer)
    try:
        check_path(service.answer, service.path)
    except PathError as error:
        raise NoCode(str(error)) from error
    codes = [code.strip() for code in FORMATS[service.answer](service, answer, text)]
    if not service.holds_list and len(codes) > 1:
        raise NoCode(
            gettext("Expected one code, but the answer has {codes}. Allow several codes in the settings?").format(
                codes=len(codes)
            )
        )
    if not codes or not all(codes):
        if service.answer == WebService.Answer.BODY:
            raise NoCode(gettext("Found no code in the answer."))
        raise NoCode(gettext("Found no code at {path}.").format(path=service.path))
    for code in codes:
        if len(code) > MAX_CODE_LENGTH:
            raise NoCode(
                gettext("The code has {code} characters. The limit is {max_code_length}.").format(
                    code=intcomma(len(code)), max_code_length=intcomma(MAX_CODE_LENGTH)
                )
            )
        if not all(character.isprintable() or character in "\t\n\r" for character in code):
            raise NoCode(gettext("The code contains unprintable characters."))
    return codes


def _check_status(service: WebService, answer: Answer) -> None:
    status = answer.status_code
    try:
        is_temporary = service.temporary_pattern and re2.search(service.temporary_pattern, answer.text)
    except re2.error as error:
        raise NoCode(
            gettext("The temporary error pattern isn’t a valid regular expression."), temporary=True
        ) from error
    if is_temporary:
        raise NoCode(gettext("The answer matches the temporary error pattern."), temporary=True)
    if status in TEMPORARY_STATUSES or status >= 500:
        raise NoCode(gettext("The service answered {status}.").format(status=status), temporary=True)
    if 300 <= status < 400:
        raise NoCode(
            gettext(
                "The service answered {status}, a redirect. We don’t follow redirects. Enter the final URL."
            ).format(status=status)
        )
    if not 200 <= status < 300:
        raise NoCode(gettext("The service answered {status}.").format(status=status))


def _decode(answer: Answer) -> str:
    if answer.is_cut:
        raise NoCode(gettext("The answer is longer than {size} KiB.").format(size=MAX_ANSWER_BYTES // 1024))
    try:
        return answer.decode()
    except Unreadable as error:
        raise NoCode(str(error)) from error


def _in_body(service: WebService, answer: Answer, text: str) -> Iterator[str]:
    text = _unquote(text)
    if "html" in answer.content_type and (wrapped := WRAPPED.fullmatch(text)):
        text = unescape(wrapped[2])
    _refuse_document(answer.content_type, text)
    if service.holds_list:
        yield from filter(str.strip, text.splitlines())
    else:
        yield text


def _unquote(text: str) -> str:
    """Unwrap a code sent as a JSON string, whatever the Content-Type."""
    if not text.lstrip().startswith('"'):
        return text
    with suppress(ValueError):
        document = json.loads(text)
        return document if isinstance(document, str) else text
    return text


def _refuse_document(content_type: str, text: str) -> None:
    """Raise NoCode for a web page, and for JSON or XML labeled as such: they may be errors.

    The label alone proves nothing, because PHP sends everything as text/html.
    """
    is_html = "html" in content_type
    if PAGE.match(text) or (is_html and TAG.search(text)):
        raise NoCode(gettext("The answer is a web page instead of a code."))
    if not (is_html or "json" in content_type or "xml" in content_type):
        # Without such a label, a document may be the license.
        return
    kind = "XML" if text.lstrip().startswith("<") else "JSON" if _is_json(text) else ""
    if kind:
        raise NoCode(gettext("The answer is {kind}. Enter the path of the code in it.").format(kind=kind))


def _is_json(text: str) -> bool:
    """Whether the text is a JSON object, list, boolean or null. A number may be a code."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict | list | bool) or document is None


def _in_json(service: WebService, answer: Answer, text: str) -> Iterator[str]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoCode(_not("JSON", text)) from error
    for found in find(document, service.path):
        for value in found if isinstance(found, list) else [found]:
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise NoCode(
                    gettext("Expected text at {path}, but found {found}.").format(
                        path=service.path, found=_kind(value)
                    )
                )
            yield str(value)


def _in_xml(service: WebService, answer: Answer, text: str) -> Iterator[str]:
    try:
        # The text is already decoded, so drop the declared encoding.
        root = fromstring(re.sub(r"\A\s*<\?xml[^>]*\?>", "", text))
    except DefusedXmlException as error:
        raise NoCode(gettext("The answer is XML that declares entities, which we don’t accept.")) from error
    except (ParseError, ValueError) as error:
        raise NoCode(_not("XML", text)) from error
    path, attribute = split_attribute(service.path)
    # A path may begin with the root element's name.
    name, _, rest = path.lstrip("/").partition("/")
    if not path.startswith("//") and root.tag.rpartition("}")[2] == name:
        path = rest
    found = root.iterfind(_with_any_namespace(path)) if path else [root]
    for element in found:
        yield element.get(attribute, "") if attribute else "".join(element.itertext())


FORMATS: dict[str, Callable[[WebService, Answer, str], Iterator[str]]] = {
    WebService.Answer.BODY: _in_body,
    WebService.Answer.JSON: _in_json,
    WebService.Answer.XML: _in_xml,
}


def _place(service: WebService) -> str:
    if service.answer == WebService.Answer.BODY:
        return gettext("in the answer")
    return gettext("at {path}").format(path=service.path)


def _not(format: str, text: str) -> str:
    if PAGE.match(text):
        return gettext("The answer isn’t {format}, but a web page.").format(format=format)
    return gettext("The answer isn’t {format}.").format(format=format)


def _kind(value: Any) -> str:
    names = {
        dict: gettext("an object"),
        list: gettext("a list in a list"),
        bool: gettext("true or false"),
        float: gettext("a fraction"),
    }
    return names.get(type(value), gettext("nothing"))


# Paths


def check_path(kind: str, path: str) -> None:
    """Raise PathError if the path is invalid for this kind of answer."""
    if kind == WebService.Answer.JSON:
        parse_path(path)
    if kind == WebService.Answer.XML:
        bare, attribute = split_attribute(path)
        name = r"[A-Za-z_][\w.-]*"
        step = rf"(?:{name}|\*)(?:\[[1-9][0-9]{{0,5}}\]|\[@{name}='[^']*'\])?"
        if not re.fullmatch(rf"/{{0,2}}{step}(?:/{step})*|", bare) or not (bare or attribute):
            raise PathError(gettext("Enter an XML path such as license/key, //key, item[2]/key or item/@code."))


def parse_path(path: str) -> list[str | int | None]:
    """Parse a JSON path, a subset of RFC 9535, into names, positions and None for `*`. Raises PathError."""
    steps: list[str | int | None] = []
    rest = path if path.startswith(("$", "[", ".")) else f".{path}"
    rest = rest.removeprefix("$")
    while rest:
        match = STEP.match(rest)
        if match is None:
            raise PathError(gettext("Enter a JSON path such as $.license.key, $.keys[*] or $.items[0]['key']."))
        name = match.group(1) or match.group(2) or match.group(3)
        position = match.group(4)
        steps.append(name if name else int(position) if position else None)
        rest = rest[match.end() :]
    return steps


def find(document: Any, path: str) -> list[Any]:
    """Return the values at a path in a JSON document, in document order."""
    found = [document]
    for step in parse_path(path):
        found = [value for node in found for value in _children(node, step)]
    return found


def _children(node: Any, step: str | int | None) -> list[Any]:
    if step is None:
        return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    if isinstance(step, str):
        return [node[step]] if isinstance(node, dict) and step in node else []
    return [node[step]] if isinstance(node, list) and -len(node) <= step < len(node) else []


def split_attribute(path: str) -> tuple[str, str]:
    """Split an XML path into the element's path and the attribute at its end, if any."""
    match = re.search(r"(?:^|/)@([A-Za-z_][\w.-]*)$", path)
    return (path[: match.start()], match.group(1)) if match else (path, "")


def _with_any_namespace(path: str) -> str:
    """Convert a path for ElementTree: relative to the root, with names in any namespace."""
    # Skip quoted strings.
    steps = re.sub(r"('[^']*')|(^|/)(?=[A-Za-z_*])", lambda match: match.group(1) or f"{match.group(2)}{{*}}", path)
    return f".{steps}" if steps.startswith("/") else f"./{steps}"
