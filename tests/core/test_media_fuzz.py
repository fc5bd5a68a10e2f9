"""Damaged records of every type: no crash, no hang, nothing kept, and the same fate twice.

``make fuzz`` takes 10,000 of each type, ``make fuzz RECORDS=N`` N. A failure names the number of
the record; ``python tests/support/fuzzing.py MEDIA NUMBER 1 FILE`` reads that one alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import DECODE_TIME_US, sources

RECORDS = int(os.environ.get("MOTET_FUZZ_RECORDS", "500"))
SUPPORT = Path(__file__).parents[1] / "support"
GROWN_BYTES_MAX = 32 << 20  # what pools and caches keep; a leak of one payload a record is more


@pytest.mark.timeout(0 if RECORDS > 1_000 else 120)
@pytest.mark.parametrize("media", sorted(sources()))
def test_damaged_records_do_no_harm(media: str, tmp_path: Path, record_property) -> None:
    at = tmp_path / "at"
    at.write_bytes(b"%12d" % -1)
    command = [sys.executable, str(SUPPORT / "fuzzing.py"), media, "0", str(RECORDS), str(at)]
    path = os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])
    ran = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    reached = int(at.read_bytes())
    assert ran.returncode == 0, f"{media}, record {reached}: {ran.returncode}\n{ran.stderr[-2000:]}"
    told = json.loads(ran.stdout.splitlines()[-1])
    record_property("told", told)
    print(media, json.dumps(told))
    assert reached == RECORDS - 1
    assert sum(told["became"].values()) == RECORDS
    assert set(told["became"]) & {"undecodable", "not decoded"}, "nothing was damaged"
    assert told["slowest_us"] < DECODE_TIME_US + 1_000_000
    assert told["grown_bytes"] < GROWN_BYTES_MAX
