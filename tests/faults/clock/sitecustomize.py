"""Sets off the wall clock of a Python process by the seconds that stand in a file.

Python imports it when it starts, where this folder is on PYTHONPATH. The file is named by
MOTET_FAULT_CLOCK; while it is not there, the clock is right.
"""

# ruff: noqa: TID251  it is the time itself that is changed here

import os
import time

_LOOK_S = 0.05
_real_s, _real_ns, _monotonic_s = time.time, time.time_ns, time.monotonic
_file = os.environ.get("MOTET_FAULT_CLOCK", "")
_look_at_s = 0.0
_offset_s = 0


def _offset() -> int:
    global _look_at_s, _offset_s
    if _monotonic_s() >= _look_at_s:
        _look_at_s = _monotonic_s() + _LOOK_S
        try:
            with open(_file) as file:
                _offset_s = int(file.read() or 0)
        except OSError:
            _offset_s = 0
    return _offset_s


if _file:
    time.time = lambda: _real_s() + _offset()
    time.time_ns = lambda: _real_ns() + _offset() * 1_000_000_000
