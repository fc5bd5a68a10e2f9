"""``motet plan`` with a broker: lanes as the topics have them, and what is wrong with these."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.kafka


def test_lanes_are_those_of_the_topics(motet, prefix, make_file):
    file = make_file(prefix, slots=3)
    code, out, err = motet("plan", file, "--json", "--cpus", 8, "--gpus", 0)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["lanes"], found["slots"], found["possible"]) == (4, 3, True)
    assert found["owners"] == [
        {"owner": 0, "slots": [0, 2], "lanes": [0, 2, 3]},
        {"owner": 1, "slots": [1], "lanes": [1]},
    ]
    assert found["open_bytes_max"] == 4 << 30
    out = motet("plan", file, "--cpus", 8, "--gpus", 0).out
    assert out.startswith(f"{prefix}: 4 lanes, 3 slots, 6 actors on 8 CPUs and 0 GPUs\n")


def test_topics_that_are_missing_keep_a_run_from_starting(motet, prefix, make_file):
    file = make_file(prefix, create=False)
    code, out, err = motet("plan", file, "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["lanes"], found["possible"]) == (None, False)
    assert len(found["missing"]) == 5
    remedy = f"it is not there; `motet topics create {file}` makes it"
    assert all(remedy in line for line in found["missing"])
    assert err.splitlines() == [f"motet: error: {line}" for line in found["missing"]]
