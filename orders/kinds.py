"""The kinds of sources by their codes, as fulfillment/sources registers them. Models look them up here."""

from typing import Any

SOURCES: dict[str, Any] = {}
