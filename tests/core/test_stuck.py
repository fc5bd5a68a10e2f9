"""A thread that hangs in C code does not change how a process ends."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, threading
from pipeline.tasks.stuck import end_in_spite, leave_behind

def hang():
    while {hangs}:  # in C, and back without the interpreter: it cannot be ended
        ctypes.CDLL(None).usleep(2000)

thread = threading.Thread(target=hang, daemon=True)
thread.start()
thread.join(0.1)
leave_behind([thread])
print("said")
end_in_spite(3)
print("went on")
"""


def ended(hangs: bool) -> tuple[int, str]:
    program = PROGRAM.format(hangs=hangs)
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=60)
    return done.returncode, done.stdout.decode()


def test_a_process_with_a_stuck_thread_ends_at_once_with_its_code():
    assert ended(hangs=True) == (3, "said\n")


def test_one_without_goes_on():
    assert ended(hangs=False) == (0, "said\nwent on\n")
