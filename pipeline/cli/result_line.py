"""A result as one line for people, and any record as one line of JSON."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.terminal import printable
from pipeline.spec import format_rfc3339

if TYPE_CHECKING:
    from pipeline.slot.ports import LogRecord

VALUES_SHOWN = 4


def pretty(record: LogRecord, colours: bool) -> str:
    """``cam-7  2026-01-31T12:00:00.000Z +1s  camera mic  [0.12 -0.03 ...] of 128``."""
    try:
        parts = _result_parts(json.loads(record.value or b""))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        parts = _other_parts(record)  # a record of another make, shown as what it is
    return "  ".join(
        typer.style(printable(text), fg=colour) if colours and colour else printable(text)
        for text, colour in parts
        if text
    )


def _result_parts(result: dict[str, Any]) -> list[tuple[str, str | None]]:
    """The texts of a line with their colours; raises where this is no result."""
    start_us, end_us = result["window"]["start_us"], result["window"]["end_us"]
    missing, failed = result["missing"], result["failed"]
    failures = ", ".join(f"{stage}: {reason}" for stage, reason in failed.items())
    return [
        (str(result["stream"]), "cyan"),
        (f"{format_rfc3339(start_us, 'milliseconds')} +{(end_us - start_us) / 1e6:g}s", None),
        (" ".join(result["present"]), None),
        (f"missing {' '.join(missing)}" if missing else "", "yellow"),
        (_output(result["output"]), None),
        *((f'{stage}: "{text}"', None) for stage, text in result.get("text", {}).items()),
        (f"failed {failures}" if failures else "", "red"),
    ]


def described(record: LogRecord) -> str:
    """The value where it is JSON on one line, otherwise a JSON object about the record."""
    value = record.value or b""
    if b"\n" not in value and _is_json(value):
        return value.decode()
    return json.dumps(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_us": record.timestamp_us,
            "key": _text(record.key),
            "headers": {name: _text(value) for name, value in record.headers},
            "bytes": len(value),
        },
        ensure_ascii=False,
    )


def _output(output: dict[str, Any]) -> str:
    if "label" in output:
        label = output["label"]
        score = output.get("scores", {}).get(label)
        return f"label {label}" if score is None else f"label {label} {score:.2f}"
    vector = output.get("vector")
    if vector is None:
        return "no vector"
    more = " ..." if len(vector) > VALUES_SHOWN else ""
    return f"[{' '.join(f'{v:.3g}' for v in vector[:VALUES_SHOWN])}{more}] of {len(vector)}"


def _other_parts(record: LogRecord) -> list[tuple[str, str | None]]:
    """Late and dead-letter records, or records of any other topic."""
    headers = dict(record.headers)
    return [
        (_text(record.key) or "(no key)", "cyan"),
        (f"{record.topic}-{record.partition}@{record.offset}", None),
        (f"{len(record.value or b'')} bytes", None),
        (_text(headers.get("content-type")) or "", None),
        (_text(headers.get("motet-reason")) or "", "yellow"),
        (_text(headers.get("motet-error")) or "", "red"),
    ]


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(data).decode()
