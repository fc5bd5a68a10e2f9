"""Logs: one line a fact, as text for people or as JSON for machines."""

from __future__ import annotations

from pipeline.logs.log import (
    FORMATS,
    LEVELS,
    as_json,
    begin,
    belongs,
    environment,
    format_of,
    level,
    level_of,
    log_line,
    set_level,
)

__all__ = [
    "FORMATS",
    "LEVELS",
    "as_json",
    "begin",
    "belongs",
    "environment",
    "format_of",
    "level",
    "level_of",
    "log_line",
    "set_level",
]
