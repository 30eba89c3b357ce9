"""The registry of source kinds by code. fulfillment/sources fills it; models use it without importing fulfillment."""

from typing import Any

SOURCES: dict[str, Any] = {}
