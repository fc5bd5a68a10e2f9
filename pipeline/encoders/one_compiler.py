"""One process at a time fills numba's cache on disk with librosa's functions."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["one_compiler"]


@contextmanager
def one_compiler() -> Iterator[None]:
    """While it holds, no other process of this user is inside one.

    librosa compiles functions when it is imported and when they are first called, and keeps them
    in two files each. Two processes that do so at the same moment can leave files of each, which
    do not fit: from then on every process that calls the function ends with a segmentation fault
    (https://github.com/numba/numba/issues/10128). The replicas of a stage start at the same moment.
    The lock is the kernel's: it ends with the process.
    """
    path = Path(tempfile.gettempdir()) / f"motet-numba-{os.getuid()}.lock"
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
