"""The parts of measurements that can be wrong without anybody noticing: times, shares, checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka_user import await_that

from pipeline.benchmark.bare import BareEncoders
from pipeline.benchmark.checking import ResultCheck
from pipeline.benchmark.jobs import JOBS, STREAMS, VARIANTS, Window
from pipeline.benchmark.latency import Load
from pipeline.benchmark.order import Order
from pipeline.benchmark.payloads import make_payloads
from pipeline.benchmark.percentiles import Latencies, at_share, median, summary
from pipeline.benchmark.processes import MARK, Processes, cpu_of
from pipeline.benchmark.schedule import Schedule, send_on_schedule
from pipeline.benchmark.topics import event_begin_us, fill, input_topics, make_topics
from pipeline.clock import monotonic_us
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import InvalidInput, MotetError
from pipeline.slot.ports import TopicPartition

S = 1_000_000


# -- when sends are due -----------------------------------------------------------------------


@given(
    begin_us=st.integers(0, 10**15),
    rate=st.floats(0.1, 1e6),
    passed_us=st.integers(-S, 1_000 * S),
)
def test_what_is_due_is_what_has_its_time_and_nothing_else(begin_us, rate, passed_us):
    schedule = Schedule(begin_us, rate)
    now_us = begin_us + passed_us
    due = schedule.due_by(now_us)
    assert due == 0 or schedule.due_us(due - 1) <= now_us
    assert schedule.due_us(due) > now_us


class World:
    """A clock that moves when somebody waits, and while a send takes its time."""

    def __init__(self, takes_us: dict[int, int] | None = None) -> None:
        self.now_us = 0
        self.sent: list[tuple[int, int]] = []
        self._takes_us = takes_us or {}

    def send(self, number: int) -> None:
        self.sent.append((number, self.now_us))
        self.now_us += self._takes_us.get(number, 0)

    def wait(self, seconds: float) -> bool:
        self.now_us += max(1, round(seconds * 1e6))
        return False


def test_sends_keep_their_times_whatever_came_before():
    world = World({3: 500_000})  # one send that stands for half a second, at 100 a second
    sent = send_on_schedule(Schedule(0, 100), 100, world.send, lambda: world.now_us, world.wait)
    assert [number for number, _ in world.sent] == list(range(100))
    late = [at_us - number * 10_000 for number, at_us in world.sent]
    assert late[:4] == [0, 0, 0, 0]
    assert late[4] == 490_000  # all that were due meanwhile go at once
    assert late[53:] == [0] * 47  # and the schedule has not moved
    assert sent == (100, 490_000)


def test_who_is_told_to_stop_sends_no_more():
    world = World()
    sent = send_on_schedule(Schedule(0, 10), 100, world.send, lambda: 450_000, lambda _s: True)
    assert (sent.records, len(world.sent)) == (5, 5)


# -- percentiles ------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), st.floats(0.001, 0.9999))
def test_a_percentile_is_the_least_that_enough_do_not_exceed(values, share):
    ordered = sorted(values)
    found = at_share(ordered, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    below = [value for value in ordered if value < found]
    assert len(below) < share * len(values) + 1e-9


def test_a_percentile_of_too_few_is_not_told():
    told = summary(list(range(1, 1001)))
    assert (told["p50"], told["p99"], told["max"]) == (500e-6, 990e-6, 1000e-6)
    assert told["p99_9"] is None  # one window lies above: it would be chance
    assert summary(list(range(10_000)))["p99_9"] == 9989e-6
    assert summary([]) == {"windows": 0, "p50": None, "p90": None, "p99": None, "p99_9": None,
                           "mean": None, "max": None}  # fmt: skip


def test_latencies_count_from_when_a_send_was_due():
    latencies = Latencies()
    for due_us, seen_us in ((0, 5), (S, S + 7), (S + 1, S + 2), (3 * S, 3 * S + 9)):
        latencies.add(due_us, seen_us)
    assert latencies.since(S) == [1, 7, 9]
    assert latencies.since(0, 3 * S) == [1, 5, 7]
    seconds = latencies.by_second(S)
    assert [(each["second"], each["windows"]) for each in seconds] == [(0, 2), (2, 1)]
    assert seconds[0]["max"] == pytest.approx(7e-6)
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5


# -- jobs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JOBS)
def test_the_records_of_a_job_fill_its_windows_and_close_each_with_its_last(name):
    job, payloads = JOBS[name], make_payloads()
    windows, begin_us = 2 * STREAMS, 1_000 * S
    order = Order("host", name, "in", windows, begin_us, name="p")
    assert {entry.topic for entry in order.spec.inputs.values()} == set(input_topics(job, "in"))
    closed, sizes = [], dict.fromkeys(input_topics(job, "in"), 0)
    partitions: dict[bytes, set[int]] = {}
    for number in range(job.records(windows)):
        record = job.record(number, "in", begin_us, payloads)
        sizes[record.topic] += len(record.value)
        partitions.setdefault(record.key or b"", set()).add(record.partition)
        window = job.completes(number)
        if window is not None:
            closed.append(window)
    assert len(closed) == len(set(closed)) == windows
    assert set(closed) == {Window(f"stream-{n}", s * S) for n in range(STREAMS) for s in (0, 1)}
    assert all(len(found) == 1 for found in partitions.values())
    if "in.mic" in sizes:
        assert sizes["in.mic"] == windows * 32_000  # a second of sound, in however many pieces
    assert job.window_bytes(payloads) == pytest.approx(sum(sizes.values()) / windows, rel=0.01)
    with pytest.raises(InvalidInput, match="multiple of 32"):
        job.records(33)


def test_a_load_knows_when_each_window_is_due():
    job = JOBS["small"]
    load = Load(job, STREAMS, 0, Schedule(500, 1_600.0))
    due_us = load.due_us()
    assert len(due_us) == STREAMS
    # the last piece of the last stream is the last record of all
    assert max(due_us.values()) == due_us[Window("stream-31", 0)] == load.end_us
    assert load.end_us == Schedule(500, 1_600.0).due_us(50 * STREAMS - 1)


def test_event_time_of_a_measurement_is_past():
    for now_us in (1_790_000_000_000_000, 1_790_000_000_999_999):
        begin_us = event_begin_us(STREAMS * 7, now_us)
        assert begin_us % S == 0
        assert now_us - 12 * S < begin_us + 7 * S <= now_us - 10 * S


# -- the check of results ---------------------------------------------------------------------


def result(number: int, **changes: object) -> bytes:
    second, stream = divmod(number, STREAMS)
    made = {
        "stream": f"stream-{stream}",
        "window": {"start_us": second * S, "end_us": (second + 1) * S},
        "present": ["mic"],
        "coverage": {"mic": 1.0},
        "output": {"vector": [float(number % VARIANTS), 1.0]},
        "failed": {},
    }
    return json.dumps(made | changes).encode()


def checked(*values: bytes) -> list[str]:
    check = ResultCheck(JOBS["audio"], 0, 3 * STREAMS)
    for value in values:
        check.take(value)
    return check.problems()


ALL = [result(number) for number in range(3 * STREAMS)]


def test_right_results_pass_in_any_order():
    assert checked(*reversed(ALL)) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (ALL[:-1], "1 windows did not come (stream-31/2000000)"),
        ([*ALL, ALL[5]], "1 windows: each came twice (stream-5/0)"),
        ([*ALL, result(3 * STREAMS)], "1 windows: each is none of the job's (stream-0/3000000)"),
        ([result(0, present=[]), *ALL[1:]], "1 windows: each has inputs [] (stream-0/0)"),
        ([result(0, coverage={"mic": 0.5}), *ALL[1:]], "is covered by {'mic': 0.5}"),
        ([result(0, failed={"sound": "timeout"}), *ALL[1:]], "has failed stages {'sound': 'time"),
        ([result(0, output={"vector": None}), *ALL[1:]], "has no vector"),
        ([*ALL[:64], result(64, output={"vector": [0.1, 1.0]}), *ALL[65:]], "has another vector"),
    ],
)
def test_a_wrong_result_is_found(values, said):
    found = checked(*values)
    assert len(found) == 1
    assert said in found[0]


def test_a_figure_over_wrong_results_is_refused():
    check = ResultCheck(JOBS["audio"], 0, STREAMS)
    with pytest.raises(MotetError, match="audio, local: the results are wrong: 32 windows did not"):
        check.demand("audio, local")


# -- processes --------------------------------------------------------------------------------

SPENDS = """
import subprocess, sys, time
child = None
if len(sys.argv) > 1:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print("up", flush=True)
sys.stdin.readline()
until = time.process_time() + 0.3
while time.process_time() < until: pass
print("spent", flush=True)
sys.stdin.readline()
if child: child.wait()
"""
CHILD = "import time\nuntil = time.process_time() + 0.3\nwhile time.process_time() < until: pass"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_the_time_of_a_program_and_of_all_that_it_starts_is_counted_and_of_nobody_else():
    processes = Processes("this-run")
    try:
        with subprocess.Popen(
            [sys.executable, "-c", SPENDS, CHILD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, MARK: "this-run"},
        ) as ours, subprocess.Popen(
            [sys.executable, "-c", SPENDS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, MARK: "another"},
        ) as others:  # fmt: skip
            for process in (ours, others):
                assert process.stdout.readline() == "up\n"
            from_us = monotonic_us()
            for process in (ours, others):
                print("go", file=process.stdin, flush=True)
            for process in (ours, others):
                assert process.stdout.readline() == "spent\n"
            assert cpu_of(others.pid) >= 0.25
            assert ours.pid in processes.pids("python3") + processes.pids("python")
            await_that("its memory was looked at", lambda: processes.peak_bytes > 1 << 20)
            for process in (ours, others):
                print("end", file=process.stdin, flush=True)
        to_us = monotonic_us()
    finally:
        processes.close()
    whole = processes.cpu_s(0, monotonic_us())
    assert 0.45 <= whole < 1.5  # twice 0.3 and two interpreters; the other one is not in it
    assert processes.cpu_s(from_us, to_us) <= whole
    assert sum(processes.cpu_by_name(0, monotonic_us()).values()) == pytest.approx(whole, abs=0.1)
    assert cpu_of(ours.pid) == 0.0


# -- the encoders alone -----------------------------------------------------------------------


def test_the_encoders_alone_do_every_window_of_every_stage_in_full_batches():
    order = Order("bare", "fused", "bench", 4 * STREAMS, 1_790_000_000_000_000)
    bare = BareEncoders(order)
    by_stage: dict[str, int] = {}
    for batch in bare._batches:
        by_stage[batch.stage] = by_stage.get(batch.stage, 0) + len(batch.jobs)
    assert by_stage == {"sound": 128, "colour": 128, "words": 128}
    assert max(len(batch.jobs) for batch in bare._batches) == 64
    done = bare.run(0.0)
    assert done.windows == 128
    assert done.cpu_s > 0


def test_topics_are_filled_with_all_records_of_a_job():
    connector = MemoryConnector(MemoryBroker())
    job = JOBS["fused"]
    make_topics(connector, input_topics(job, "in"))
    size = fill(connector, job, "in", 0, STREAMS, make_payloads())
    ends = connector.control().stable_ends(
        [TopicPartition(topic, 0) for topic in input_topics(job, "in")]
    )
    assert set(ends.values()) == {STREAMS // 4}
    assert size > STREAMS * 32_000
