import re

from django import template
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

URL = re.compile(r"((?<!\S)https://\S+)")


@register.filter
def with_links(text: str) -> SafeString:
    """Escape the text and turn its https URLs into links."""
    parts = [_link(part) if URL.fullmatch(part) else conditional_escape(part) for part in URL.split(text)]
    return mark_safe("".join(parts))  # noqa: S308 (each part is escaped)


def _link(url: str) -> SafeString:
    return format_html('<a href="{0}" rel="noopener noreferrer">{0}</a>', url)
