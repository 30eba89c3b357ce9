"""Formats of log lines. Both carry the id of the request that they belong to."""

import json
import logging
from datetime import UTC, datetime

from work.request_ids import current_request_id


def _request_id_of(record: logging.LogRecord) -> str:
    # Django logs errors after the middleware, with the request.
    return getattr(getattr(record, "request", None), "request_id", "") or current_request_id()


class LineFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        request_id = _request_id_of(record)
        line = super().formatMessage(record)
        return f"{line} [{request_id}]" if request_id else line


class JsonFormatter(logging.Formatter):
    """One JSON object for each record. `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := _request_id_of(record):
            entry["request_id"] = request_id
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)
