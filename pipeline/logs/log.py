"""One handler for all loggers of motet, set up once a process.

The format and the level come from MOTET_LOG_FORMAT and MOTET_LOG_LEVEL; actors get those of the
driver. The level can be changed while a process lives, the format cannot.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pipeline import clock
from pipeline.errors import InvalidInput, Problem
from pipeline.logs.repeats import Repeats

FORMAT, LEVEL = "MOTET_LOG_FORMAT", "MOTET_LOG_LEVEL"
FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
OURS = ("pipeline", "actors")  # the loggers above all others of ours
SECRET_CHARS_MIN = 4  # what is shorter stands in any line by chance
MASK = "***"
_PREFIX = "motet: "
_WORDS: Mapping[str, int] = {"warning: ": logging.WARNING, "error: ": logging.ERROR}


class _Handler(logging.Handler):
    """Writes lines to stderr: each once, the same ones limited, secrets masked.

    ``context`` is in every line: which pipeline, role, slots and epochs it comes from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.form: Literal["text", "json"] = "text"
        self.context: dict[str, Any] = {}
        self.secrets: set[str] = set()
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            now_us = clock.monotonic_us()
            self._tell(self._repeats.over(now_us))
            key = (record.name, record.levelno, record.msg)
            # whoever asked for debug lines wants all of them
            if record.levelno <= logging.DEBUG or self._repeats.lets(key, record, now_us):
                self._write(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        with self.lock or threading.RLock():
            self._tell(self._repeats.rest())
        super().close()

    def _tell(self, missed: Iterable[Any]) -> None:
        for sample, lines in missed:
            self._write(sample, repeated=lines)

    def _write(self, record: logging.LogRecord, repeated: int = 0) -> None:
        line = self._json(record, repeated) if self.form == "json" else self._text(record, repeated)
        for secret in self.secrets:
            line = line.replace(secret, MASK)
        if sys.stderr is not None:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def _json(self, record: logging.LogRecord, repeated: int) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _one_line(record),
            **self.context,
            **getattr(record, "facts", {}),
            **({"repeated": repeated} if repeated else {}),
        }
        return json.dumps(fields, ensure_ascii=False, default=str)

    def _text(self, record: logging.LogRecord, repeated: int) -> str:
        message = _one_line(record).removeprefix(_PREFIX)
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        told = {**self.context, **getattr(record, "facts", {})}
        where = " ".join(f"{name}={value}" for name, value in told.items())
        more = f" ({repeated} more like it)" if repeated else ""
        return f"{_PREFIX}{level}{message}{f' ({where})' if where else ''}{more}"


_handler: _Handler | None = None


def begin() -> None:
    """Sets the process's logs up by its environment; raises InvalidInput that names a variable."""
    global _handler
    form = format_of(os.environ.get(FORMAT) or "text", FORMAT)
    # people are told what they need by lines of their own; machines read everything
    set_level(os.environ.get(LEVEL) or ("info" if form == "json" else "warning"), LEVEL)
    if _handler is None:
        _handler = _Handler()
        atexit.register(_handler.close)
        for name in OURS:
            logging.getLogger(name).addHandler(_handler)
    _handler.form = form
    _handler.context = {}


def belongs(context: Mapping[str, Any], secrets: Iterable[str] = ()) -> None:
    """What is in every line from now on, and which texts are masked in all of them.

    ``context``: ``pipeline``, ``role``, ``slots`` and the like; added to what was told before.
    """
    if _handler is None:
        begin()
    assert _handler is not None
    _handler.context |= context
    for secret in secrets:
        if len(secret) >= SECRET_CHARS_MIN:
            _handler.secrets |= {str(secret), json.dumps(secret, ensure_ascii=False)[1:-1]}


def format_of(text: str, key: str) -> Literal["text", "json"]:
    """Raises InvalidInput that names ``key``."""
    if text == "text":
        return "text"
    if text == "json":
        return "json"
    raise InvalidInput(Problem(key, text, "there is no such format", "write text or json"))


def level_of(text: str, key: str) -> str:
    """Raises InvalidInput that names ``key``."""
    if text.lower() in LEVELS:
        return text.lower()
    remedy = f"write one of {', '.join(LEVELS)}"
    raise InvalidInput(Problem(key, text, "there is no such level", remedy))


def set_level(text: str, key: str = "level") -> None:
    """From now on, in this process; raises InvalidInput."""
    number = getattr(logging, level_of(text, key).upper())
    for name in OURS:
        logging.getLogger(name).setLevel(number)


def level() -> str:
    return logging.getLevelName(logging.getLogger(OURS[0]).getEffectiveLevel()).lower()


def environment() -> dict[str, str]:
    """What a process that is started now has to be given, so that it logs as this one does."""
    return {FORMAT: _handler.form, LEVEL: level()} if _handler is not None else {}


def as_json() -> bool:
    """Whether lines for the user are to be JSON, too."""
    return _handler is not None and _handler.form == "json"


def log_line(line: str) -> None:
    """A line that was written for people (``motet: warning: ...``) as what it is."""
    words, number = line.removeprefix(_PREFIX), logging.INFO
    for begins, found in _WORDS.items():
        if words.startswith(begins):
            words, number = words.removeprefix(begins), found
    record = logging.LogRecord("pipeline.cli", number, "", 0, words, (), None)
    if _handler is not None and number >= logging.getLogger(OURS[0]).level:
        _handler.handle(record)


def _one_line(record: logging.LogRecord) -> str:
    return " ".join(record.getMessage().split())
