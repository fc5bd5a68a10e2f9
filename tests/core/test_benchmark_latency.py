"""The self-test of the latency harness: a system that stands is seen by every send of that time."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import jsonschema
import pytest
from PIL import Image

from pipeline.benchmark.jobs import JOBS, STREAMS
from pipeline.benchmark.loaded import Asked, in_memory
from pipeline.benchmark.order import Order
from pipeline.benchmark.topics import event_begin_us, input_topics, make_topics, output_topics
from pipeline.cli import main
from pipeline.clock import monotonic_us, wall_us
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.local import run_local

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
STALL_S = 1.5
RATE = 64.0


class Stall:
    """Holds all commits of the broker for STALL_S, once, from some time after the first on."""

    def __init__(self) -> None:
        self.begun_us = 0
        self.ended_us = 0
        self._first_us: int | None = None
        self._never = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, step: str, _port: object) -> None:
        if step != "commit":
            return
        with self._lock:  # the slots commit side by side: each of them is held
            if self._first_us is None:
                self._first_us = monotonic_us()
            if not self.begun_us and monotonic_us() - self._first_us > 1_000_000:
                self.begun_us = monotonic_us()
                self._never.wait(STALL_S)
                self.ended_us = monotonic_us()


def test_every_send_that_was_due_while_the_system_stood_is_as_late_as_that_makes_it():
    """A closed loop would have sent nothing meanwhile, and shown one bad latency."""
    stall = Stall()
    connector = MemoryConnector(MemoryBroker(hook=stall), pending_wait_s=5.0)
    job = JOBS["audio"]
    asked = Asked(job, True, RATE, seconds=5.0, warm_seconds=0.0)
    make_topics(connector, [*input_topics(job, "in"), *output_topics("stalled")])
    begin_us = event_begin_us(asked.windows, wall_us())
    order = Order("host", "audio", "in", asked.windows, begin_us, name="stalled",
                  until_end=False, wait_ms=0)  # fmt: skip
    answered = in_memory(asked, connector, run_local, order)
    assert stall.ended_us - stall.begun_us >= STALL_S * 1e6
    assert len(answered.latencies) == asked.windows  # nothing is left out
    during = [each for each in answered.latencies if stall.begun_us <= each.due_us < stall.ended_us]
    assert len(during) >= 0.9 * RATE * STALL_S
    for each in during:
        assert each.latency_us >= stall.ended_us - each.due_us
    # so those that were due in its first third are later than two thirds of it
    long_us = round(STALL_S * 2 / 3 * 1e6)
    assert sum(each.latency_us >= long_us for each in during) >= 0.9 * RATE * STALL_S / 3
    told = answered.as_json(asked)
    assert told["latency"]["max"] >= STALL_S * 2 / 3
    assert told["latency"]["windows"] == asked.windows


def test_the_command_measures_in_memory_and_says_so_as_json(capsys, tmp_path):
    path, picture = tmp_path / "latency.json", tmp_path / "latency.png"
    line = ["bench", "latency", "audio", "--broker", "memory", "--rate", "64", "--seconds", "1",
            "--warm", "0", "--json", str(path), "--picture", str(picture)]  # fmt: skip
    assert main(line) == 0
    out, _ = capsys.readouterr()
    head, row = out.splitlines()
    assert head.split()[:3] == ["job", "side", "windows/s"]
    assert row.split()[:4] == ["audio", "local", "64", "-"]
    found = json.loads(path.read_text())
    schema = json.loads((SCHEMAS / "bench-latency.schema.json").read_text())
    jsonschema.validate(found, schema)
    [measured] = found["measured"]
    assert set(found) == set(schema["properties"])
    assert set(measured) == set(schema["$defs"]["measured"]["properties"])
    assert measured["latency"]["windows"] == 2 * STREAMS
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["run", "sound"], "JOB = sound: is no job; take one of audio, fused, small, model"),
        (["run", "audio", "--windows", "100"], "--windows = 100: streams send side by side"),
        (["run", "--broker", "disk"], "--broker = disk: there is one other broker than Kafka"),
        (["run", "--broker", "memory", "--kafka", "h:1"], "--broker = memory: it goes without"),
        (["run", "--broker", "memory", "--ray"], "--ray: the broker in memory is in the process"),
        (["run", "--ray"], "--ray: no cluster host is installed here"),
        (["run", "--json", "/nowhere/x.json"], "--json = /nowhere/x.json: there is no folder"),
        (["run", "--picture", "x.bmp"], "--picture = x.bmp: is no kind of picture"),
        (["latency", "audio", "--load", "0.5", "--rate", "9"], "--load = 0.5: --rate says how"),
        (["recovery", "--local", "--what", "fusion"], "--what = fusion: without Ray there is one"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_measured(capsys, line, said):
    assert main(["bench", *line]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"motet: error: {said}")
