import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

from babel.dates import TIMEDELTA_UNITS, format_timedelta
from babel.lists import format_list
from django import template
from django.template.loader import get_template
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext

from licensing.envelope import format_value
from orders.localization import get_locale, show_money
from work.request_ids import current_request_id
from work.stored_texts import show_stored

register = template.Library()

# The color (static/components.css) and icon of each state. Red is only for states that need a person.
LOOKS = {
    state: look
    for look, states in {
        ("idle", "circle"): ["unpaid", "unmapped", "none", "generated"],
        ("good", "check-circle-fill"): [
            *("paid", "done", "balanced", "healthy", "issued", "delivered", "enabled", "ok", "activated", "imported"),
            *("active", "valid", "applied"),
        ],
        ("idle", "slash-circle"): [
            *("deleted", "terminated", "withdrawn", "canceled", "disabled", "deactivated", "discarded", "inactive"),
            *("revoked", "not valid", "ignored"),
        ],
        ("busy", "hourglass-split"): [
            *("pending", "queued", "deferred", "reading", "importing", "open", "received", "new")
        ],
        ("warn", "info-circle-fill"): ["test"],
        ("warn", "clock-fill"): [
            *("waiting", "low", "failing", "temporary", "ready", "expired", "warning", "held", "parked")
        ],
        ("bad", "exclamation-triangle-fill"): [
            *("failed", "mismatch", "empty", "bounced", "rejected", "complained", "stopped", "fatal", "refused"),
            *("rejecting",),
        ],
        ("good", "circle"): ["available"],
        ("busy", "shield-lock"): ["reserved"],
        ("good", "send"): ["sent"],
        ("good", "eye"): ["opened"],
        ("bad", "slash-circle"): ["paused"],
        ("idle", "arrow-return-left"): ["undone"],
        ("busy", "arrow-repeat"): ["marked"],
        ("good", "envelope"): ["answered"],
    }.items()
    for state in states
}


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    """An SVG from templates/icons, in the color and size of the surrounding text."""
    return mark_safe(get_template(f"icons/{name}.svg").render().strip())  # noqa: S308 (our own file)


@register.simple_tag
def request_id() -> str:
    """The id of the request, which support staff find in the logs."""
    return current_request_id()


@register.simple_tag
def badge(state: str, label: str = "") -> SafeString:
    """A badge with the state's label, color and icon."""
    return _badge(state, str(label) or gettext(state))


@cache
def _badge(state: str, label: str) -> SafeString:
    color, shape = LOOKS[state]
    return format_html('<span class="badge {}">{}{}</span>', color, icon(shape), label)


@register.simple_tag
def when(moment: datetime | None) -> SafeString:
    """A relative time such as “5 days ago”, with the exact time as a tooltip."""
    return _time(moment, format_distance(moment - timezone.now())) if moment else mark_safe("")


@register.simple_tag
def due(moment: datetime) -> SafeString:
    """When something happens next. What is overdue happens “in a moment”, not some time ago."""
    return _time(moment, format_distance(max(moment - timezone.now(), timedelta(0))))


@register.simple_tag
def at(moment: datetime | None) -> SafeString:
    """Date and time, with seconds and time zone as a tooltip."""
    return _time(moment, date_format(timezone.localtime(moment), "DATETIME_FORMAT")) if moment else mark_safe("")


@register.simple_tag
def clock(moment: datetime) -> SafeString:
    """The time of day with milliseconds. The date is a tooltip."""
    return _time(moment, f"{date_format(timezone.localtime(moment), 'H:i:s')}.{moment.microsecond // 1000:03}")


def _time(moment: datetime, text: str) -> SafeString:
    exact = date_format(timezone.localtime(moment), "EXACT_FORMAT")
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, text)


def format_distance(distance: timedelta) -> str:
    """Format a distance from now in its largest unit, such as “in 5 days”."""
    is_past, seconds = distance < timedelta(0), abs(distance.total_seconds())
    for unit, length in TIMEDELTA_UNITS[:-1]:
        if seconds >= length:
            return _format_distance(unit, int(seconds // length) * (-length if is_past else length), get_language())
    return gettext("just now") if is_past else gettext("in a moment")


@lru_cache(1000)
def _format_distance(unit: Any, seconds: int, language: str) -> str:
    whole = timedelta(seconds=seconds)
    # The threshold keeps Babel from choosing a larger unit.
    return str(format_timedelta(whole, unit, threshold=1000, add_direction=True, locale=get_locale(language)))


# The icon of each kind of event in a history.
EVENTS = {
    kind: name
    for name, kinds in {
        "check-circle-fill": ["paid"],
        "inbox": ["reported", "asked"],
        "key": ["codes", "licenses"],
        "envelope": ["mail", "unsure"],
        "arrow-return-left": ["refund", "returned"],
        "pencil": ["address", "renamed", "license_changed"],
        "eye": ["reveal"],
        "arrow-repeat": ["retry", "renew", "replaced", "mapped", "reinstated", "marked", "transfer"],
        "person-circle": ["seen"],
        "slash-circle": ["revoke", "unmarked", "deactivated", "license_off"],
        "eraser": ["erased"],
        "send": ["released"],
        "check2": ["activated", "license_on", "approved", "dealt"],
    }.items()
    for kind in kinds
}


@register.simple_tag
def event_icon(kind: str) -> SafeString:
    """The icon of a kind of event; kinds that are also states have the state's icon."""
    return icon(EVENTS[kind] if kind in EVENTS else LOOKS[kind][1])


@register.simple_tag
def state_icon(state: str) -> SafeString:
    return icon(LOOKS[state][1])


@register.simple_tag
def look(state: str) -> str:
    return LOOKS[state][0] if state else ""


@register.simple_tag(takes_context=True)
def desk_url(context, action: str, *arguments, **query) -> str:
    """The URL of an action on the order desk; the desk's page itself if `action` is empty."""
    return context["desk"].url(action, *arguments, **query)


@register.filter
def wire_format(value) -> str:
    return format_value(value)


@register.filter
def money(amount, currency: str) -> str:
    return show_money(amount, currency)


register.filter("stored", show_stored)


@register.filter
def amounts(totals: Mapping[str, Decimal]) -> str:
    """Amounts by currency, such as “EUR 59.98 and USD 9.00”."""
    return format_list(
        [money(amount, currency) for currency, amount in totals.items()], locale=get_locale(get_language() or "")
    )


@register.filter
def seconds(number: float | None) -> str:
    """A length of time in its largest unit: “0.8 s”, “12 s”, “5 min”, “3 h”."""
    if number is None:
        return "–"
    if number < 100:
        return gettext("{number} s").format(number=number_format(number, 1 if number < 10 else 0))
    if number < 6000:
        return gettext("{number} min").format(number=number_format(number / 60, 0))
    return gettext("{number} h").format(number=number_format(number / 3600, 0, force_grouping=True))


# A tag, or a word.
PARTS = re.compile(r"(<[^>]*>)|[^\s<>&]+")
MAX_UNBROKEN = 24  # letters of an address that fit everywhere


@register.filter
def breakable(text: str) -> SafeString:
    """A text whose long e-mail addresses and URLs may break after @, dots and slashes."""
    return mark_safe(PARTS.sub(_breakable, conditional_escape(text)))  # noqa: S308 (it is escaped)


def _breakable(part: re.Match) -> str:
    is_address = not part[1] and len(part[0]) > MAX_UNBROKEN and ("@" in part[0] or "://" in part[0])
    return re.sub(r"(?<=[@./])(?=[^/])", "<wbr>", part[0]) if is_address else part[0]


@register.filter
def marked(text: str) -> SafeString:
    """A text of the API's schema in the person's language: paragraphs and lists, with `code` and *emphasis*."""
    html = []
    for paragraph in str(conditional_escape(gettext(text) if text else "")).split("\n\n"):
        lines = paragraph.split("\n")
        if all(line.startswith("* ") for line in lines):
            html.append("<ul>" + "".join(f"<li>{line[2:]}</li>" for line in lines) + "</ul>")
        else:
            html.append(f"<p>{' '.join(lines)}</p>")
    joined = re.sub(r"`([^`]+)`", r"<code>\1</code>", "".join(html))
    return mark_safe(re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", joined))  # noqa: S308 (it is escaped)


@register.filter
def capped(count: int) -> str:
    """A number that was counted up to a hundred at most."""
    return "99+" if count > 99 else str(count)
