from datetime import datetime, timedelta
from functools import cache

from django import template
from django.template.loader import get_template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from licensing.envelope import text_of
from orders.money import in_currency

register = template.Library()

# How each state looks: a color (static/components.css) and a shape. Red is only for what needs a person.
LOOKS = {
    # Orders
    "unpaid": ("idle", "circle"),
    "paid": ("good", "check-circle-fill"),
    "deleted": ("idle", "slash-circle"),
    "terminated": ("idle", "slash-circle"),
    # Fulfillments
    "pending": ("busy", "hourglass-split"),
    "waiting": ("warn", "clock-fill"),
    "done": ("good", "check-circle-fill"),
    "failed": ("bad", "exclamation-triangle-fill"),
    "unmapped": ("idle", "circle"),
    # The proof that no key was lost
    "sound": ("good", "check-circle-fill"),
    "broken": ("bad", "exclamation-triangle-fill"),
    # Pools and their keys
    "healthy": ("good", "check-circle-fill"),
    "low": ("warn", "clock-fill"),
    "empty": ("bad", "exclamation-triangle-fill"),
    "available": ("good", "circle"),
    "reserved": ("busy", "shield-lock"),
    "issued": ("good", "check-circle-fill"),
    "withdrawn": ("idle", "slash-circle"),
    # Deliveries
    "none": ("idle", "circle"),
    "queued": ("busy", "hourglass-split"),
    "sent": ("good", "send"),
    "canceled": ("idle", "slash-circle"),
    "deferred": ("busy", "hourglass-split"),
    "delivered": ("good", "check-circle-fill"),
    "opened": ("good", "eye"),
    "bounced": ("bad", "exclamation-triangle-fill"),
    "rejected": ("bad", "exclamation-triangle-fill"),
    "complained": ("bad", "exclamation-triangle-fill"),
    # Webhooks, of which a message is delivered as a mail is
    "enabled": ("good", "check-circle-fill"),
    "failing": ("warn", "clock-fill"),
    "stopped": ("bad", "exclamation-triangle-fill"),
    "disabled": ("idle", "slash-circle"),
    # Servers that codes come from, how their answers were read, and licenses after a refund
    "paused": ("bad", "slash-circle"),
    "ok": ("good", "check-circle-fill"),
    "temporary": ("warn", "clock-fill"),
    "fatal": ("bad", "exclamation-triangle-fill"),
    "deactivated": ("idle", "slash-circle"),
    "activated": ("good", "check-circle-fill"),
    # Imports of keys
    "reading": ("busy", "hourglass-split"),
    "ready": ("warn", "clock-fill"),
    "refused": ("bad", "exclamation-triangle-fill"),
    "importing": ("busy", "hourglass-split"),
    "imported": ("good", "check-circle-fill"),
    "discarded": ("idle", "slash-circle"),
    "undone": ("idle", "arrow-return-left"),
    # Licensing: products, licensees, licenses, logins and keys; what a validation says
    "active": ("good", "check-circle-fill"),
    "inactive": ("idle", "slash-circle"),
    "marked": ("busy", "arrow-repeat"),
    "revoked": ("idle", "slash-circle"),
    "expired": ("warn", "clock-fill"),
    "valid": ("good", "check-circle-fill"),
    "not valid": ("idle", "slash-circle"),
    "warning": ("warn", "clock-fill"),
    # Requests to set up automatic sending
    "open": ("busy", "hourglass-split"),
    "applied": ("good", "check-circle-fill"),
    "answered": ("good", "envelope"),
}


@cache
def _drawing(name: str) -> SafeString:
    return mark_safe(get_template(f"icons/{name}.svg").render().strip())  # noqa: S308 (a file of ours)


@register.simple_tag
def icon(name: str) -> SafeString:
    """A drawing of templates/icons, in the color and size of the text beside it."""
    return _drawing(name)


@register.simple_tag
@cache
def badge(state: str, label: str = "") -> SafeString:
    """A state, as the word, color and shape that it has everywhere."""
    color, shape = LOOKS[state]
    return format_html('<span class="badge {}">{}{}</span>', color, icon(shape), label or state)


@register.simple_tag
def when(moment: datetime | None) -> SafeString:
    """A time in words, such as “5 days ago”, with the exact one for who points at it."""
    return _time(moment, roughly(moment - timezone.now())) if moment else mark_safe("")


@register.simple_tag
def at(moment: datetime | None) -> SafeString:
    """A time as date and time, with seconds and zone for who points at it."""
    return _time(moment, f"{timezone.localtime(moment):%-d %b %Y, %H:%M}") if moment else mark_safe("")


def _time(moment: datetime, text: str) -> SafeString:
    exact = f"{timezone.localtime(moment):%-d %b %Y, %H:%M:%S %Z}"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, text)


# In seconds, the longest first.
UNITS = {"year": 31_557_600, "month": 2_629_800, "week": 604_800, "day": 86_400, "hour": 3600, "minute": 60}


def roughly(distance: timedelta) -> str:
    """How far a time lies ahead or back, in its largest unit."""
    seconds = abs(distance.total_seconds())
    for unit, length in UNITS.items():
        if seconds >= length:
            count = int(seconds // length)
            text = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"{text} ago" if distance < timedelta(0) else f"in {text}"
    return "just now" if distance < timedelta(0) else "in a moment"


# What kinds of events look like in a history.
EVENTS = {
    "paid": "check-circle-fill",
    "reported": "inbox",
    "codes": "key",
    "mail": "envelope",
    "refund": "arrow-return-left",
    "address": "pencil",
    "reveal": "eye",
    "retry": "arrow-repeat",
    "seen": "person-circle",
    "revoke": "slash-circle",
    "renew": "arrow-repeat",
    "erased": "eraser",
    "replaced": "arrow-repeat",
    "mapped": "arrow-repeat",
    "reinstated": "arrow-repeat",
    "released": "send",
    "unsure": "envelope",
    "returned": "arrow-return-left",
    "asked": "inbox",
    "renamed": "pencil",
    "marked": "arrow-repeat",
    "unmarked": "slash-circle",
    "activated": "check2",
    "deactivated": "slash-circle",
    "license_changed": "pencil",
    "license_on": "check2",
    "license_off": "slash-circle",
    "transfer": "arrow-repeat",
    "licenses": "key",
}


@register.simple_tag
def event_icon(kind: str) -> SafeString:
    """What a kind of event looks like; one that is a state looks like that."""
    return _drawing(EVENTS[kind] if kind in EVENTS else LOOKS[kind][1])


@register.simple_tag
def look(state: str) -> str:
    return LOOKS[state][0] if state else ""


@register.simple_tag(takes_context=True)
def desk_url(context, action: str, *arguments, **query) -> str:
    """The address of an act at the desk of this page, or, without one, of the page."""
    return context["desk"].url(action, *arguments, **query)


@register.filter
def stated(value) -> str:
    """What a licensing property says, as software reads it."""
    return text_of(value)


@register.filter
def money(amount, currency: str) -> str:
    """An amount as people read it, with its currency."""
    return f"{currency} {in_currency(amount, currency):,}".strip()
