"""Writing to the user: data to stdout, everything else to stderr, bars only on a terminal."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer


def emit(line: str) -> None:
    """One line of data on stdout, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(line: str) -> None:
    """One line on stderr."""
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

    A second signal is not held back: it interrupts at once.
    """
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """A bar on stderr where that is a terminal; the callable is told how much is done."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task: Any = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
