"""Threads that did not end in their time, and how a process ends in spite of them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable

# They are in a library in C. If the interpreter ends under them, the process dies by a signal,
# whatever its exit code was to be.
_stuck: list[threading.Thread] = []


def leave_behind(threads: Iterable[threading.Thread]) -> None:
    """Notes those that are alive."""
    _stuck.extend(thread for thread in threads if thread.is_alive())


def end_in_spite(code: int) -> None:
    """Ends the process at once where one of them is still alive; otherwise does nothing."""
    if any(thread.is_alive() for thread in _stuck):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
