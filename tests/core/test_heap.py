"""Garbage is looked for hardly while a process starts, and often enough once it runs."""

from __future__ import annotations

import subprocess
import sys

RUN = """
import gc
from pipeline.heap import settle_heap, swell_heap

before = gc.get_threshold()
swell_heap()
starting = gc.get_threshold()
started = [[] for _ in range(1_000_000)]
settle_heap()
assert before[0] < gc.get_threshold()[0] < starting[0]
assert gc.get_freeze_count() > len(started)

full = []
gc.callbacks.append(lambda phase, of: phase == "stop" and full.append(of["generation"] == 2))
living = [[] for _ in range(1_000_000)]
print(sum(full))
"""


def test_what_a_start_leaves_does_not_put_full_collections_off():
    """A quarter of what the start made is more than all that is made after it."""
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
