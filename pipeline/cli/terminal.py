"""Writing to the user: data to stdout, everything else to stderr, bars only on a terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from pipeline import clock
from pipeline.errors import MotetError
from pipeline.logs import as_json, log_line

TOGETHER_US = 500_000  # signals that come within it are one
PROGRESS = "MOTET_PROGRESS"  # `json`: how far it is, as lines on stderr
LINE_US = 200_000  # between two of them


def emit(line: str) -> None:
    """One line of data on stdout, at once; raises MotetError where it cannot be written.

    A stdout that was closed before we began (``>&-``) takes nothing, as ``print`` has it.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # its reader has gone: the command ends, and that is no error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise MotetError(
            f"stdout: it cannot be written ({why}); free space there, or send it elsewhere"
        ) from error


def on_terminal() -> bool:
    """Whether stdout is a terminal, for colours."""
    return sys.stdout is not None and sys.stdout.isatty()


def say(line: str) -> None:
    """One line on stderr; an object where logs are JSON (``MOTET_LOG_FORMAT``)."""
    if as_json():
        log_line(line)
    else:
        typer.echo(line, err=True)


def warn(line: str) -> None:
    say(f"motet: warning: {line}")


def counted(number: int, noun: str) -> str:
    """``1 stream``, ``2 streams``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """Control characters in what came over the network must not reach a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that work ends where it can end cleanly.

    A second signal is not held back: it interrupts at once. One that comes with the first is
    the same: ``timeout`` sends each to the process, and to its group.
    """
    stop = threading.Event()
    asked_us = 0

    def asked(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked_us
        if stop.is_set() and clock.monotonic_us() - asked_us > TOGETHER_US:
            raise KeyboardInterrupt
        asked_us = asked_us or clock.monotonic_us()
        stop.set()

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt inside, whatever they do around it.

    What was started inside is stopped on the way out; in another thread than the main one
    nothing is changed.
    """

    def asked(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress_is_shown() -> bool:
    """Whether somebody sees how far it is: a person on a terminal, or who started us."""
    on_screen = sys.stderr is not None and sys.stderr.isatty() and not as_json()
    return on_screen or os.environ.get(PROGRESS) == "json"


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """A bar with the time that is left, on stderr where that is a terminal; the callable is told
    how much is done.

    Where ``MOTET_PROGRESS`` is ``json`` it is lines of JSON on stderr, for who started us.
    """
    if os.environ.get(PROGRESS) == "json":
        yield _progress_lines(what, total)
        return
    if not progress_is_shown():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task: Any = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _progress_lines(what: str, total: float | None) -> Callable[[float], None]:
    """Says ``{"progress": what, "done": 0.2, "total": 1.0}`` from now on, not too often."""
    said_us: int | None = None

    def tell(done: float) -> None:
        nonlocal said_us
        now_us = clock.monotonic_us()
        if said_us is None or now_us - said_us >= LINE_US:
            said_us = now_us
            typer.echo(json.dumps({"progress": what, "done": done, "total": total}), err=True)

    tell(0.0)
    return tell
