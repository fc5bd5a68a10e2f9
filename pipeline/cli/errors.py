"""What went wrong, as the user reads it: one line each on stderr, and the exit code.

0 done, 1 failed while running, 2 usage or invalid input and nothing was done, 3 a broker or a
cluster cannot be reached at start. A traceback is shown with ``MOTET_DEBUG=1`` only.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import typer

from pipeline.cli.terminal import say
from pipeline.errors import MotetError

# click's ClickException, wherever this version of typer keeps it.
_ClickError: type[BaseException] = typer.BadParameter.__mro__[2]
DEBUG = "MOTET_DEBUG"


def guarded(command: Callable[[], object]) -> int:
    """Runs a command and gives its exit code; whatever it raises becomes lines on stderr."""
    try:
        command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        return _pipe_closed()
    except (KeyboardInterrupt, typer.Abort):
        say("motet: error: interrupted before it was done; run the same command again")
        return 1
    except (Exception, SystemExit) as error:  # a user's class may call sys.exit
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return report(error)
    return 0


def report(error: BaseException) -> int:
    """Writes the error's lines to stderr and gives its exit code."""
    if isinstance(error, MotetError):
        for line in str(error).splitlines() or [type(error).__name__]:
            say(f"motet: error: {line}")
        return error.exit_code
    if isinstance(error, _ClickError):
        say(f"motet: error: {_usage(error)}")
        return 2
    first = (str(error).splitlines() or [""])[0]
    shown = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if isinstance(error, SystemExit):
        shown += " (a class of yours, or a library of it, called sys.exit)"
    say(f"motet: error: unexpected {shown}; {DEBUG}=1 shows the traceback")
    return 1


def _usage(error: BaseException) -> str:
    message: str = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    message = message.replace(": Value error, ", ": ")  # what some versions put before a choice
    message = message.replace(". Did you mean", "; did you mean")
    end = "" if message.endswith("?") else ";"
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "motet"
    return f"{message[:1].lower()}{message[1:]}{end} `{command} --help` shows what it takes"


def _pipe_closed() -> int:
    """The reader has gone, as ``head`` does: done. Python's own flush at exit must not fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return 0
