"""What went wrong, as the user reads it: one line each on stderr, and the exit code.

0 done, 1 failed while running, 2 usage or invalid input and nothing was done, 3 a broker or a
cluster cannot be reached at start. A traceback is shown with ``MOTET_DEBUG=1`` only.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer

from pipeline.cli.terminal import say
from pipeline.errors import MotetError

# click's ClickException, wherever this version of typer keeps it.
_ClickError: type[BaseException] = typer.BadParameter.__mro__[2]
DEBUG = "MOTET_DEBUG"


# What the parser says of a value (patterns), in our words.
_NOT_VALID = {
    "Input should be a valid integer": "it is no whole number",
    "Input should be a valid number": "it is no number",
    r"Input should be greater than or equal to (-?[\d.]+\d|\d)": "it must be {} or more",
    r"Input should be less than or equal to (-?[\d.]+\d|\d)": "it must be {} or less",
}


def guarded(command: Callable[[], object], root: Any = None, arguments: Sequence[str] = ()) -> int:
    """Runs a command and gives its exit code; whatever it raises becomes lines on stderr.

    ``root``: the tree of commands that ``arguments`` are for, for errors of usage.
    """
    try:
        command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        return _pipe_closed()
    except (KeyboardInterrupt, typer.Abort):
        return interrupted("it was done")
    except (Exception, SystemExit) as error:  # a user's class may call sys.exit
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return report(error, root, arguments)
    return 0


def interrupted(before: str) -> int:
    """By Ctrl-C or SIGTERM; its line, and the exit code."""
    say(f"motet: error: interrupted before {before}; run the same command again")
    return 1


def report(error: BaseException, root: Any = None, arguments: Sequence[str] = ()) -> int:
    """Writes the error's lines to stderr and gives its exit code."""
    if isinstance(error, MotetError):
        for line in str(error).splitlines() or [type(error).__name__]:
            say(f"motet: error: {line}")
        return error.exit_code
    if isinstance(error, _ClickError):
        say(f"motet: error: {_usage(error, root, arguments)}")
        return 2
    first = (str(error).splitlines() or [""])[0]
    shown = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if isinstance(error, SystemExit):
        shown += " (a class of yours, or a library of it, called sys.exit)"
    say(f"motet: error: unexpected {shown}; {DEBUG}=1 shows the traceback")
    return 1


def _usage(error: Any, root: Any, arguments: Sequence[str]) -> str:
    """What is wrong with a command line, and which ``--help`` shows what it takes."""
    command, path = _command(root, arguments)
    if error.ctx is not None:
        path = error.ctx.command_path
    message = _of_option(error, command, arguments)
    if message is None:
        text = " ".join(error.format_message().split()).rstrip(".")
        text = text.replace(": Value error, ", ": ")  # what some versions put before a choice
        text = text.replace(". Did you mean", "; did you mean")
        text = re.sub(r" \(Possible options: (.+)\)$", r"; did you mean \1?", text)
        message = text[:1].lower() + text[1:]
    end = "" if message.endswith("?") else ";"
    return f"{message}{end} `{path} --help` shows what it takes"


def _command(root: Any, arguments: Sequence[str]) -> tuple[Any, str]:
    """The command that the arguments are for, and how it is called.

    What is wrong with an option's form is found before the parser knows its context.
    """
    command, path = root, "motet"
    for word in arguments:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            break
        command, path = inner, f"{path} {word}"
    return command, path


def _of_option(error: Any, command: Any, arguments: Sequence[str]) -> str | None:
    """An option without its value, or with one of the wrong form; None for other errors."""
    name = str(getattr(error, "option_name", None))
    takes = {opt: each for each in getattr(command, "params", ()) for opt in each.opts}
    if name in takes and "requires an argument" in error.format_message():
        option = takes[name]
        form = option.metavar or name.lstrip("-").upper()
        told = " ".join((option.help or "").split()).rstrip(".")
        return f"{name} needs a value: {name} {form}" + (
            f" ({told[:1].lower()}{told[1:]})" if told else ""
        )
    option = getattr(error, "param", None)
    why = _why_not_valid(error.format_message())
    if option is None or why is None:
        return None
    words = [part for word in arguments for part in word.split("=", 1)]
    flag = next((word for word in option.opts if word in words), None)
    return None if flag is None else f"{flag} = {words[words.index(flag) + 1]}: {why}"


def _why_not_valid(message: str) -> str | None:
    """In our words; None for what the parser says of other things."""
    for text, words in _NOT_VALID.items():
        found = re.search(text, message)
        if found is not None:
            return words.format(*found.groups())
    return None


def _pipe_closed() -> int:
    """The reader has gone, as ``head`` does: done. Python's own flush at exit must not fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return 0
