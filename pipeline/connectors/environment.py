"""How processes that take media want their memory: kept, and not given back at every buffer."""

from __future__ import annotations

import ctypes
import os
from types import MappingProxyType

# Read at process start. Without these glibc gives every multi-megabyte fetch buffer its own
# mapping and faults it in anew at each fetch; with them consuming media, and encoding it, costs
# about half the CPU time.
CONSUMER_ENV = MappingProxyType(
    {
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
        "MALLOC_TOP_PAD_": str(64 << 20),
    }
)
_PARAMETERS = {  # of mallopt(3), by what the environment calls them
    "MALLOC_TRIM_THRESHOLD_": -1,
    "MALLOC_TOP_PAD_": -2,
    "MALLOC_MMAP_THRESHOLD_": -3,
}


def keep_buffers() -> None:
    """Does to this process, from now on, what ``CONSUMER_ENV`` does to one that starts with it.

    Nothing where its environment has settings of its own, or the C library has none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or _PARAMETERS.keys() & os.environ.keys():
        return
    for name, number in _PARAMETERS.items():
        mallopt(number, int(CONSUMER_ENV[name]))
