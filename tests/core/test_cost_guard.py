"""What a window costs, counted: calls, copies, requests, imports, threads. No clock is read.

A budget stands in one table with the reason for it; what is counted on Python 3.11 is the budget
less some ten percent, so other versions fit. ``pytest -s`` prints all of it. Who exceeds one reads
which, by how much, and which functions are called most; who makes it cheaper lowers the budget.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import tracemalloc
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from counted_run import BEGIN_US, CountedRun, counted

from actors.packing import pack, unpack
from pipeline.benchmark.jobs import JOBS, VARIANTS
from pipeline.benchmark.order import Order
from pipeline.benchmark.payloads import make_payloads
from pipeline.benchmark.topics import fill, input_topics, make_topics, output_topics
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.local import run_local
from pipeline.tasks.host import RunControl


class Budget(NamedTuple):
    most: float
    why: str


BUDGETS = {
    # Python calls, in steady state, the broker's own left out
    "audio: ingest, a window of one record": Budget(
        56, "read, merge, lane, close, job, admit, dispatch, settle: each once a window"
    ),
    "audio: encode, a window": Budget(
        14, "a clip made and its row found; features, and the look at them, one call a batch"
    ),
    "audio: fusion, a window": Budget(15, "join, fuse together, write one JSON result"),
    "audio: commit, a result": Budget(0.1, "a transaction costs the same however many it holds"),
    "fused: ingest, a window of three records": Budget(
        145, "three inputs are merged, and a job made for each of three stages"
    ),
    "fused: encode, a job": Budget(130, "Pillow parses and reads each JPEG through a time limit"),
    "fused: fusion, a window": Budget(20, "three vectors to one, in one call for all windows"),
    "small: ingest, a record of 20 ms": Budget(
        22, "the cost of a record that closes nothing: what bounds records a second"
    ),
    "small: encode, a window of 50 records": Budget(21, "no call for a piece"),
    "small: fusion, a window": Budget(25, "as of a window of one record"),
    # requests to the broker
    "audio: polls, 1,000 records": Budget(4.5, "as few as the fetches are large"),
    "audio: transactions, a commit interval and slot": Budget(1, "contract: one a slot"),
    "audio: requests, a transaction": Budget(5, "begin, produce, flush, offsets, commit"),
    "small: stable ends asked, 1,000 records": Budget(0.5, "not at all while records come"),
    # bytes
    "ingest: bytes allocated, a window of 32,000": Budget(
        2_500, "payloads are handed on, not copied; what is allocated names them"
    ),
    "encode: bytes at the peak, a byte of payload": Budget(
        0.13, "16-bit samples are read where they lie: one window at a time is floats"
    ),
    "Ray: bytes beside the payload, a window": Budget(
        85, "payloads travel as buffers beside the pickle, which holds what names them"
    ),
    # modules and threads
    "import pipeline: modules": Budget(80, "a version and nothing else"),
    "motet --help: modules": Budget(450, "typer and pydantic; a command loads the rest"),
    "an ingest half: modules": Budget(680, "kafka-python, numpy, the spec; no torch, no Ray"),
    "a fusion half: modules": Budget(690, "the same and orjson; no torch, no Ray"),
    "a local run: threads, four slots and one stage": Budget(
        18, "ingest, fusion, a replica, a commit for each slot; the others only at start and end"
    ),
}
seen: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def table():
    """Prints what was counted, with ``-s``."""
    yield
    print()
    for name, budget in BUDGETS.items():
        if name in seen:
            print(f"{name:52} {seen[name]:9.2f} of {budget.most:7.2f}   {budget.why}")


def hold(name: str, value: float, most_called: object = "") -> None:
    budget = BUDGETS[name]
    seen[name] = value
    over = 100 * (value / budget.most - 1)
    assert value <= budget.most, (
        f"{name}: {value:.2f}, which is {over:.0f} % over the budget of {budget.most:g} "
        f"({budget.why}). {most_called}"
    )


# -- calls and requests -----------------------------------------------------------------------


@lru_cache
def run_of(job: str) -> CountedRun:
    return counted(job, {"audio": 1_280, "fused": 1_280, "small": 192}[job])


@pytest.mark.parametrize(
    ("name", "part", "unit"),
    [
        ("audio: ingest, a window of one record", "ingest", "window"),
        ("audio: encode, a window", "encode", "job"),
        ("audio: fusion, a window", "fusion", "window"),
        ("audio: commit, a result", "commit", "result"),
        ("fused: ingest, a window of three records", "ingest", "window"),
        ("fused: encode, a job", "encode", "job"),
        ("fused: fusion, a window", "fusion", "window"),
        ("small: ingest, a record of 20 ms", "ingest", "record"),
        ("small: encode, a window of 50 records", "encode", "job"),
        ("small: fusion, a window", "fusion", "window"),
    ],
)
def test_python_calls(name, part, unit):
    run = run_of(name.partition(":")[0])
    calls = run.per(part, unit)
    hold(name, calls, f"Most called: {', '.join(run.calls.dearest(part, 12))}")


def test_the_count_is_the_same_again():
    again = counted("small", 192)
    first = run_of("small")
    for part in ("ingest", "fusion", "commit"):
        assert again.calls.counts[part] == pytest.approx(first.calls.counts[part], rel=0.02)


def test_requests_to_the_broker():
    run = run_of("audio")
    hold("audio: polls, 1,000 records", run.steps["poll"] / run.records * 1000)
    intervals = run.counted_us / run.spec.commit_interval_us + 1  # one may have been due before
    a_slot = len(run.transactions) / run.spec.slots
    hold("audio: transactions, a commit interval and slot", a_slot / intervals)
    whole = [run.steps[step] for step in ("begin", "produce", "flush", "send_offsets", "commit")]
    hold("audio: requests, a transaction", sum(whole) / len(run.transactions))
    small = run_of("small")
    hold(
        "small: stable ends asked, 1,000 records",
        small.steps["stable_ends"] / small.records * 1000,
    )


# -- bytes ------------------------------------------------------------------------------------


def test_ingest_copies_no_payload_and_encoding_few():
    run = CountedRun("audio", 640)
    fetches = run._source.poll(0.0)
    values = {id(record.value): record.value for f in fetches for record in f.records}
    assert len(values) == VARIANTS // 2  # those of the one partition that was read
    records = sum(len(fetch.records) for fetch in fetches)
    tracemalloc.start()
    try:
        run.ingest.on_fetches(fetches, 0)
        while run.ingest.pump(0):
            pass
        assignments = run.ingest.take_assignments(0)
        _, peak_bytes = tracemalloc.get_traced_memory()
        hold("ingest: bytes allocated, a window of 32,000", peak_bytes / records)
        [first, *_] = assignments
        of_batch = sum(len(record.payload) for job in first.jobs for record in job.records)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        run._encoders[first.stage].run(first.jobs)
        _, peak_bytes = tracemalloc.get_traced_memory()
        hold("encode: bytes at the peak, a byte of payload", (peak_bytes - before) / of_batch)
    finally:
        tracemalloc.stop()
    for assignment in assignments:
        for record in (record for job in assignment.jobs for record in job.records):
            assert record.payload is record.log.value
            assert record.payload is values[id(record.payload)]


def test_payloads_cross_to_an_encoder_beside_the_pickle():
    """What Ray does with an argument: the buffers are laid into shared memory, once."""
    run = CountedRun("audio", 640)
    run.ingest.on_fetches(run._source.poll(0.0), 0)
    run.ingest.pump(0)
    [first, *_] = run.ingest.take_assignments(0)
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(pack(first.jobs, 0), protocol=5, buffer_callback=buffers.append)
    hold("Ray: bytes beside the payload, a window", len(text) / len(first.jobs))
    jobs = unpack(pickle.loads(text, buffers=buffers), 0)
    for job, back in zip(first.jobs, jobs, strict=True):
        sent = np.frombuffer(job.records[0].payload, np.uint8)
        assert np.shares_memory(sent, np.frombuffer(back.records[0].payload, np.uint8))


# -- modules and threads ----------------------------------------------------------------------

HALVES = "import pipeline.connectors.kafka, pipeline.tasks.{half}_runner, pipeline.tasks.starting"


@pytest.mark.parametrize(
    ("name", "program", "light"),
    [
        ("import pipeline: modules", "import pipeline", ("kafka", "numpy", "pydantic")),
        (
            "motet --help: modules",
            "import contextlib, io, actors\nfrom pipeline.cli import main\n"
            "with contextlib.redirect_stdout(io.StringIO()): main(['--help'])",
            ("numpy", "kafka"),
        ),
        ("an ingest half: modules", HALVES.format(half="ingest"), ("numba", "librosa")),
        ("a fusion half: modules", HALVES.format(half="fusion"), ("numba", "librosa")),
    ],
)
def test_modules(name, program, light):
    told = "\nimport sys, json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program + told], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout.splitlines()[-1])
    tops = {module.partition(".")[0] for module in modules}
    assert tops & {"torch", "ray", "transformers", "matplotlib", *light} == set()
    hold(name, len(modules))


def test_threads(monkeypatch):
    """All that a local run starts, those that have ended again included; none is left."""
    started: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    job, connector = JOBS["audio"], MemoryConnector(MemoryBroker(), pending_wait_s=5.0)
    make_topics(connector, [*input_topics(job, "in"), *output_topics("threads")])
    fill(connector, job, "in", BEGIN_US, 128, make_payloads())
    spec = Order("host", "audio", "in", 128, BEGIN_US, name="threads").spec
    before = set(threading.enumerate())
    monkeypatch.setattr(threading.Thread, "start", noted)
    totals, _ = run_local(spec, connector, RunControl(until_end=True))
    monkeypatch.undo()
    assert totals.windows == 128
    hold("a local run: threads, four slots and one stage", len(started), started)
    left = [each.name for each in threading.enumerate() if each not in before and each.is_alive()]
    assert left == []


def test_no_budget_stands_for_nothing():
    text = Path(__file__).read_text("utf-8")
    assert [name for name in BUDGETS if text.count(f'"{name}"') < 2] == []
