"""Only one process at a time is inside ``one_compiler``, and a dead one lets go."""

from __future__ import annotations

import select
import subprocess
import sys

_INSIDE = """
import sys
from pipeline.encoders.one_compiler import one_compiler
with one_compiler():
    print("inside", flush=True)
    sys.stdin.readline()
"""


def _process() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _INSIDE]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_second_process_waits_until_the_first_one_is_out_or_dead(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with _process() as first, _process() as second:
        said = [each.stdout for each in (first, second)]
        ready, _, _ = select.select(said, [], [], 60)
        assert len(ready) == 1
        inside, waits = (first, second) if ready == [first.stdout] else (second, first)
        assert inside.stdout.readline() == "inside\n"
        assert select.select([waits.stdout], [], [], 0.5)[0] == []
        inside.kill()
        assert waits.stdout.readline() == "inside\n"
        waits.stdin.close()
        assert waits.wait(timeout=60) == 0
