"""What the dispatcher promises, whatever replicas do: on a state machine, and rule by rule."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pipeline.batching import dispatch
from pipeline.batching.batch import BatchRun, JobResult, StageJob
from pipeline.batching.dispatch import DEATHS_MAX, Assignment, Dispatcher
from pipeline.batching.stage_queue import BATCH_BYTES_MAX, HELD_BATCHES, StageRule
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord

SECOND_US = 1_000_000


def record(payload: bytes | memoryview = b"x") -> MediaRecord:
    log = LogRecord("t", 0, 0, 0, b"s", None, [])
    return MediaRecord("in", "s", 0, 1, Facts("text", "text"), payload, log)


def job(*records: MediaRecord, stream: str = "s") -> StageJob:
    return StageJob(stream, 0, 1, list(records))


def made(*rules: StageRule, **replicas: list[str]) -> Dispatcher:
    dispatcher = Dispatcher(rules)
    for stage, names in replicas.items():
        dispatcher.set_replicas(stage, names)
    return dispatcher


def stage(
    name: str,
    *upstream: str,
    batch_max: int = 4,
    timeout_us: int = SECOND_US,
    call_batches: int = 1,
    films: bool = False,
) -> StageRule:
    return StageRule(name, upstream, batch_max, timeout_us, call_batches, films)


def settled(dispatcher: Dispatcher) -> dict[tuple, JobResult]:
    done = dispatcher.take_done()
    found = {(each.window, each.stage): each.result for each in done}
    assert len(found) == len(done)
    return found


# -- the state machine ----------------------------------------------------------------------


@dataclass
class Held:
    """What the model knows of a batch that is out."""

    assignment: Assignment
    windows: list[int]
    alone: bool


@dataclass
class Model:
    submitted: dict[int, dict[str, int]] = field(default_factory=dict)  # window: stage: deadline
    settled: dict[tuple[int, str], JobResult] = field(default_factory=dict)
    suspects: set[tuple[int, str]] = field(default_factory=set)
    lonely_deaths: dict[tuple[int, str], int] = field(default_factory=dict)


GRAPHS = (
    (stage("a"),),
    (stage("a", batch_max=1), stage("b", batch_max=3)),
    (
        stage("a", timeout_us=3 * SECOND_US),
        stage("b", "a", batch_max=2),  # may have failed before what it waits for is done
        stage("c", "b", timeout_us=3 * SECOND_US),
    ),
    (
        stage("a", batch_max=2),
        stage("b", timeout_us=SECOND_US // 2),
        stage("c", "a", "b"),
        stage("d", "c", "a", batch_max=1, call_batches=2),
    ),
)


class Machine(RuleBasedStateMachine):
    """Every submitted (window, stage) is settled exactly once, and what it was given is right."""

    @initialize(graph=st.sampled_from(GRAPHS))
    def start(self, graph):
        self.rules = {r.name: r for r in graph}
        self.dispatcher = Dispatcher(graph)
        self.model = Model()
        self.now_us = 0
        self.replicas: dict[str, list[str]] = {name: [] for name in self.rules}
        self.out: dict[int, Held] = {}
        self.windows = 0
        self.serial = 0

    # what happens

    @rule(data=st.data())
    def submit(self, data):
        self.windows += 1
        window = self.windows
        jobs, deadlines = {}, {}
        for name, found in self.rules.items():
            direct = data.draw(st.booleans(), label=f"{name} reads a record")
            if direct or any(each in jobs for each in found.upstream):
                own = [record()] if direct else []
                jobs[name] = StageJob(f"s{window}", window, window + 1, own)
                deadlines[name] = self.now_us + found.timeout_us
        if jobs:
            self.model.submitted[window] = deadlines
            self.dispatcher.submit(window, jobs, self.now_us)

    @rule(data=st.data())
    def join(self, data):
        """A new replica, or one of old that had been taken away with its batches out."""
        name = data.draw(st.sampled_from(sorted(self.rules)))
        old = {
            held.assignment.replica for held in self.out.values() if held.assignment.stage == name
        } - set(self.replicas[name])
        self.serial += 1
        self.replicas[name].append(data.draw(st.sampled_from([f"{name}-{self.serial}", *old])))
        self.dispatcher.set_replicas(name, self.replicas[name])

    @rule(data=st.data())
    def leave(self, data):
        name = data.draw(st.sampled_from(sorted(self.rules)))
        if self.replicas[name]:
            self.replicas[name].remove(data.draw(st.sampled_from(self.replicas[name])))
            self.dispatcher.set_replicas(name, self.replicas[name])

    @rule()
    def assign(self):
        for each in self.dispatcher.assign(self.now_us):
            self.check_assigned(each)
        busy = {held.assignment.replica for held in self.out.values()}
        for name, queue in self.dispatcher._queues.items():
            assert not queue.waiting() or set(self.replicas[name]) <= busy, "free for nothing"

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def done(self, data):
        held = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        results = [
            JobResult(failure="no") if data.draw(st.booleans()) else JobResult((window, "output"))
            for window in held.windows
        ]
        self.dispatcher.done(held.assignment.number, results, self.now_us)
        expected = {
            (window, held.assignment.stage): result
            for window, result in zip(held.windows, results, strict=True)
            if (window, held.assignment.stage) not in self.model.settled
        }
        self.take(expected)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def lost(self, data):
        held = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        name = held.assignment.stage
        expected = {}
        for window in held.windows:
            key = (window, name)
            if held.alone:
                self.model.lonely_deaths[key] = self.model.lonely_deaths.get(key, 0) + 1
            if self.model.lonely_deaths.get(key) == DEATHS_MAX:
                expected[key] = JobResult(failure="it died")
            self.model.suspects.add(key)
        self.dispatcher.lost(held.assignment.number, "it died", self.now_us)
        self.take({k: v for k, v in expected.items() if k not in self.model.settled})

    @rule(elapsed_us=st.sampled_from([0, SECOND_US // 4, SECOND_US, 4 * SECOND_US]))
    def expire(self, elapsed_us):
        self.now_us += elapsed_us
        expected = {
            (window, name): JobResult(failure="timeout")
            for window, deadlines in self.model.submitted.items()
            for name, deadline_us in deadlines.items()
            if deadline_us <= self.now_us and (window, name) not in self.model.settled
        }
        self.dispatcher.expire(self.now_us)
        self.take(expected)

    # what must hold

    def take(self, expected: dict[tuple[int, str], JobResult]) -> None:
        """What has settled is what was expected, and readers that have nothing left to read."""
        found = settled(self.dispatcher)
        assert not found.keys() & self.model.settled.keys(), "settled twice"
        for key, result in found.items():
            if key in expected:
                why = result.failure or ""
                # where both are due at once, its upstream may have failed it first
                assert result == expected[key] or why.startswith("nothing to read")
            else:
                self.check_nothing_to_read(key, result, found)
        assert expected.keys() <= found.keys()
        self.model.settled |= found

    def check_nothing_to_read(self, key, result, found) -> None:
        window, name = key
        assert result.failure is not None
        assert result.failure.startswith("nothing to read")
        upstream = [n for n in self.rules[name].upstream if n in self.model.submitted[window]]
        assert upstream
        both = self.model.settled | found
        assert all(both[window, n].failure is not None for n in upstream)

    def check_assigned(self, each: Assignment) -> None:
        name = each.stage
        windows = [j.start_us for j in each.jobs]
        assert each.replica in self.replicas[name]
        most = self.rules[name].batch_max * self.rules[name].call_batches
        assert 1 <= len(windows) <= most
        assert len(set(windows)) == len(windows)
        for window, found in zip(windows, each.jobs, strict=True):
            assert (window, name) not in self.model.settled
            assert found.stream == f"s{window}"
            running = [h for h in self.out.values() if h.assignment.stage == name]
            assert all(window not in held.windows for held in running), "runs twice at once"
            upstream = [n for n in self.rules[name].upstream if n in self.model.submitted[window]]
            assert found.upstream == {
                n: self.model.settled[window, n].output
                for n in upstream
                if self.model.settled[window, n].failure is None
            }
        alone = any((window, name) in self.model.suspects for window in windows)
        mates = [h for h in self.out.values() if h.assignment.replica == each.replica]
        assert not any(held.alone for held in mates), "beside a suspect"
        if alone:
            assert len(windows) == 1
            assert not mates, "a suspect beside others"
        on_it = sum(len(held.windows) for held in mates)
        assert on_it + len(windows) <= HELD_BATCHES * most
        self.out[each.number] = Held(each, windows, alone)

    @invariant()
    def windows_are_those_not_settled(self):
        if not hasattr(self, "dispatcher"):
            return
        model = self.model
        waiting = [
            window
            for window, deadlines in model.submitted.items()
            if any((window, name) not in model.settled for name in deadlines)
        ]
        assert self.dispatcher.windows == len(waiting)
        assert StageJob("", 0, 0) == dispatch._NO_JOB, "outputs pinned for ever"

    def teardown(self):
        """With replicas that work, everything is settled in the end, with nothing left over."""
        if not hasattr(self, "dispatcher"):
            return
        for name in self.rules:
            if not self.replicas[name]:
                self.replicas[name] = [f"{name}-last"]
                self.dispatcher.set_replicas(name, self.replicas[name])
        for _ in range(4 * len(self.rules) * (self.windows + 1)):
            for held in list(self.out.values()):
                del self.out[held.assignment.number]
                results = [JobResult((window, "output")) for window in held.windows]
                self.dispatcher.done(held.assignment.number, results, self.now_us)
            self.take_rest()
            self.assign()
            if not self.out:
                break
        wanted = {(w, n) for w, stages in self.model.submitted.items() for n in stages}
        assert set(self.model.settled) == wanted
        assert self.dispatcher.windows == 0
        assert not self.dispatcher.assign(self.now_us)

    def take_rest(self) -> None:
        found = settled(self.dispatcher)
        assert not found.keys() & self.model.settled.keys()
        self.model.settled |= found


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


# -- rule by rule ---------------------------------------------------------------------------


def test_a_replica_takes_all_that_is_queued_at_once_up_to_batch_max():
    dispatcher = made(stage("a", batch_max=3), a=["a-0"])
    for window in range(8):
        dispatcher.submit(window, {"a": job(record(), stream=f"s{window}")}, 0)
    sizes = [len(each.jobs) for each in dispatcher.assign(0)]
    assert sizes == [3, 3]  # one runs, one waits at the door
    dispatcher.done(1, [JobResult(1)] * 3, 0)
    assert [[j.stream for j in each.jobs] for each in dispatcher.assign(0)] == [["s6", "s7"]]


def test_of_a_backlog_several_batches_go_as_one_where_a_call_is_dear():
    dispatcher = made(stage("a", batch_max=3, call_batches=2), a=["a-0"])
    for window in range(18):
        dispatcher.submit(window, {"a": job(record(), stream=f"s{window}")}, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [6, 6]
    dispatcher.done(1, [JobResult(1)] * 6, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [6]
    dispatcher.submit(18, {"a": job(record())}, 0)
    dispatcher.done(2, [JobResult(1)] * 6, 0)
    assert dispatcher.assign(0) == []  # no backlog any more: it has two batches
    dispatcher.done(3, [JobResult(1)] * 6, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [1]


def test_a_busy_replica_gets_what_comes_once_it_is_an_eighth_of_what_it_has():
    dispatcher = made(stage("a", batch_max=64), a=["a-0"])
    for window in range(16):
        dispatcher.submit(window, {"a": job(record())}, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [16]
    dispatcher.submit(16, {"a": job(record())}, 0)
    assert dispatcher.assign(0) == []
    dispatcher.submit(17, {"a": job(record())}, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [2]
    dispatcher.submit(18, {"a": job(record())}, 0)
    dispatcher.done(1, [JobResult(1)] * 16, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [1]  # of the 2 that it has left


def test_a_stream_with_a_backlog_delays_the_others_by_a_window_each():
    dispatcher = made(stage("a", batch_max=4), a=["a-0"])
    for window in range(9):
        dispatcher.submit(window, {"a": job(record(), stream="long")}, 0)
    for stream in ("x", "y"):
        dispatcher.submit(stream, {"a": job(record(), stream=stream)}, 0)
    first, second = dispatcher.assign(0)
    assert [j.stream for j in first.jobs] == ["long", "x", "y", "long"]
    assert [j.stream for j in second.jobs] == ["long"] * 4


def test_batches_go_to_the_replica_with_the_least_to_do():
    dispatcher = made(stage("a", batch_max=1), a=["a-0", "a-1"])
    for window in range(5):
        dispatcher.submit(window, {"a": job(record())}, 0)
    assert [each.replica for each in dispatcher.assign(0)] == ["a-0", "a-1", "a-0", "a-1"]


def test_a_batch_ends_where_its_payloads_reach_the_byte_limit():
    half = memoryview(bytes(BATCH_BYTES_MAX // 2))
    dispatcher = made(stage("a", batch_max=10), a=["a-0"])
    for window in range(5):
        dispatcher.submit(window, {"a": job(record(half))}, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [2, 2]


def test_one_window_over_the_byte_limit_is_a_batch_of_its_own():
    large = memoryview(bytes(BATCH_BYTES_MAX + 1))
    dispatcher = made(stage("a", batch_max=10), a=["a-0"])
    for payload in (large, b"x", b"y"):
        dispatcher.submit(payload[:1], {"a": job(record(payload))}, 0)
    assert [len(each.jobs) for each in dispatcher.assign(0)] == [1, 2]


def test_without_replicas_nothing_is_assigned_and_timeouts_still_run():
    dispatcher = made(stage("a"))
    dispatcher.submit(1, {"a": job(record())}, 0)
    assert dispatcher.assign(0) == []
    dispatcher.expire(SECOND_US - 1)
    assert settled(dispatcher) == {}
    dispatcher.expire(SECOND_US)
    assert settled(dispatcher) == {(1, "a"): JobResult(failure="timeout")}
    assert dispatcher.windows == 0


def test_a_chain_gets_the_outputs_of_those_before_it():
    dispatcher = made(stage("a"), stage("b", "a"), stage("c", "a", "b"), a=["a"], b=["b"], c=["c"])
    dispatcher.submit(1, {name: job(*([record()] * (name == "a"))) for name in "abc"}, 0)
    for name, upstream in (("a", {}), ("b", {"a": "A"}), ("c", {"a": "A", "b": "B"})):
        [each] = dispatcher.assign(0)
        assert each.stage == name
        assert each.jobs[0].upstream == upstream
        dispatcher.done(each.number, [JobResult(name.upper())], 0)
    assert {key[1]: result.output for key, result in settled(dispatcher).items()} == {
        "a": "A",
        "b": "B",
        "c": "C",
    }


def test_a_stage_whose_upstream_does_not_run_in_the_window_does_not_wait_for_it():
    dispatcher = made(stage("a"), stage("b", "a"), a=["a"], b=["b"])
    dispatcher.submit(1, {"b": job(record())}, 0)
    [each] = dispatcher.assign(0)
    assert each.stage == "b"
    assert each.jobs[0].upstream == {}


@pytest.mark.parametrize("how", ["failed", "timed out", "took three replicas with it"])
def test_all_behind_a_stage_that_failed_have_failed_where_nothing_is_left_to_read(how):
    """The last ones of a window settle within each other; the window ends once."""
    dispatcher = made(stage("a"), stage("b", "a"), stage("c", "b"), a=["a-0"])
    dispatcher.submit(1, {"a": job(record()), "b": job(), "c": job()}, 0)
    if how == "timed out":
        dispatcher.expire(SECOND_US)
    else:
        for _ in range(1 if how == "failed" else DEATHS_MAX + 1):  # the first was no lonely one
            [each] = dispatcher.assign(0)
            if how == "failed":
                dispatcher.done(each.number, [JobResult(failure="no")], 0)
            else:
                dispatcher.lost(each.number, "it died", 0)
    assert {key[1]: result.failure for key, result in settled(dispatcher).items()} == {
        "a": {"failed": "no", "timed out": "timeout"}.get(how, "it died"),
        "b": "nothing to read: a failed",
        "c": "nothing to read: b failed",
    }
    assert dispatcher.windows == 0


def test_a_stage_goes_on_with_its_records_or_with_another_upstream():
    dispatcher = made(
        stage("a"), stage("b"), stage("own", "a"), stage("other", "a", "b"), a=["a"], b=["b"]
    )
    jobs = {"a": job(record()), "b": job(record()), "own": job(record()), "other": job()}
    dispatcher.submit(1, jobs, 0)
    first, second = dispatcher.assign(0)
    dispatcher.done(first.number, [JobResult(failure="no")], 0)
    dispatcher.done(second.number, [JobResult("B")], 0)
    dispatcher.set_replicas("own", ["own"])
    dispatcher.set_replicas("other", ["other"])
    assert [(each.stage, each.jobs[0].upstream) for each in dispatcher.assign(0)] == [
        ("own", {}),
        ("other", {"b": "B"}),
    ]


def test_what_comes_after_the_timeout_is_dropped_and_its_payload_is_free_at_once():
    dispatcher = made(stage("a"), stage("b", timeout_us=9 * SECOND_US), a=["a"], b=["b"])
    submitted = {"a": job(record()), "b": job(record())}
    dispatcher.submit(1, submitted, 0)
    first, second = dispatcher.assign(0)
    dispatcher.expire(SECOND_US)
    assert settled(dispatcher) == {(1, "a"): JobResult(failure="timeout")}
    assert dispatcher._windows[1]["a"].job is dispatch._NO_JOB
    dispatcher.done(first.number, [JobResult("too late")], 0)
    assert settled(dispatcher) == {}
    dispatcher.done(second.number, [JobResult("B")], 0)
    assert settled(dispatcher) == {(1, "b"): JobResult("B")}


def test_windows_of_a_lost_batch_run_one_by_one_ahead_of_all_others():
    dispatcher = made(stage("a", batch_max=3), a=["a-0"])
    for window in range(6):
        dispatcher.submit(window, {"a": job(record(), stream=f"s{window}")}, 0)
    first, second = dispatcher.assign(0)
    dispatcher.done(second.number, [JobResult(0)] * 3, 0)
    dispatcher.lost(first.number, "it died", 0)
    dispatcher.submit(9, {"a": job(record(), stream="s9")}, 0)
    order = []
    while assignments := dispatcher.assign(0):
        [each] = assignments
        order.append([j.stream for j in each.jobs])
        dispatcher.done(each.number, [JobResult(0)] * len(each.jobs), 0)
    assert order == [["s0"], ["s1"], ["s2"], ["s9"]]


def test_only_the_window_that_kills_alone_has_failed():
    dispatcher = made(stage("a", batch_max=3), a=["a-0"])
    for window in range(3):
        dispatcher.submit(window, {"a": job(record(), stream=f"s{window}")}, 0)
    deaths = 0
    while assignments := dispatcher.assign(0):
        [each] = assignments
        if "s1" in [j.stream for j in each.jobs]:
            deaths += 1
            dispatcher.lost(each.number, f"death {deaths}", 0)
        else:
            dispatcher.done(each.number, [JobResult("fine")] * len(each.jobs), 0)
    assert settled(dispatcher) == {
        (0, "a"): JobResult("fine"),
        (1, "a"): JobResult(failure="death 4"),
        (2, "a"): JobResult("fine"),
    }
    assert deaths == 1 + DEATHS_MAX


def test_a_batch_of_one_beside_another_is_not_blamed_for_the_death():
    """With batch_max 1 two windows are on a replica: either may have taken it with it."""
    dispatcher = made(stage("a", batch_max=1), a=["a-0"])
    dispatcher.submit("kills", {"a": job(record(), stream="kills")}, 0)
    dispatcher.submit("good", {"a": job(record(), stream="good")}, 0)
    for each in dispatcher.assign(0):
        dispatcher.lost(each.number, "both were on it", 0)
    for _ in range(DEATHS_MAX - 1):
        [each] = dispatcher.assign(0)
        dispatcher.lost(each.number, "alone", 0)
    assert settled(dispatcher) == {}
    [each] = dispatcher.assign(0)
    assert each.jobs[0].stream == dispatcher._out[each.number].batch.tasks[0].window
    dispatcher.lost(each.number, "alone", 0)
    assert settled(dispatcher) != {}


def test_a_replica_that_comes_back_by_name_still_has_its_batches():
    dispatcher = made(stage("a", batch_max=1), a=["a-0"])
    for window in range(5):
        dispatcher.submit(window, {"a": job(record())}, 0)
    first, second = dispatcher.assign(0)
    dispatcher.set_replicas("a", [])
    dispatcher.set_replicas("a", ["a-0"])
    assert dispatcher.assign(0) == []
    dispatcher.done(first.number, [JobResult(0)], 0)
    assert len(dispatcher.assign(0)) == 1
    dispatcher.done(second.number, [JobResult(0)], 0)
    assert len(dispatcher.assign(0)) == 1


def test_replicas_that_hold_a_batch_for_twice_the_timeout_are_overdue():
    dispatcher = made(stage("a", batch_max=1), a=["a-0", "a-1"])
    dispatcher.submit(1, {"a": job(record())}, 0)
    dispatcher.submit(2, {"a": job(record())}, 0)
    first, second = dispatcher.assign(5)
    dispatcher.expire(2 * SECOND_US)
    dispatcher.done(second.number, [JobResult(0)], 0)
    assert dispatcher.overdue(2 * SECOND_US + 5) == []
    assert dispatcher.overdue(2 * SECOND_US + 6) == [first.replica]


def test_backlogged_is_where_some_stage_has_two_batches_a_replica_queued():
    dispatcher = made(stage("a", batch_max=2), stage("b", batch_max=3), a=["a-0", "a-1"], b=["b"])
    for window in range(5):
        dispatcher.submit(window, {"a": job(record()), "b": job(record())}, 0)
    assert not dispatcher.backlogged
    dispatcher.submit(5, {"a": job(record()), "b": job(record())}, 0)
    assert dispatcher.backlogged  # six for the one replica of b
    dispatcher.assign(0)
    assert not dispatcher.backlogged
    dispatcher.set_replicas("b", [])
    assert not dispatcher.backlogged


@pytest.mark.parametrize("replicas", [[], ["a-0"]])
def test_windows_that_timed_out_behind_replicas_that_hang_are_no_backlog(replicas):
    """Else nothing would be fetched ever again, though windows may go on without the stage."""
    dispatcher = made(stage("a", batch_max=1), stage("b", batch_max=99), a=replicas, b=["b"])
    for window in range(6):
        dispatcher.submit(window, {"a": job(record()), "b": job(record())}, 0)
    dispatcher.assign(0)  # and nothing ever comes back
    assert dispatcher.backlogged
    dispatcher.expire(SECOND_US)
    assert not dispatcher.backlogged


def test_results_of_another_number_than_its_jobs_are_an_error():
    dispatcher = made(stage("a"), a=["a-0"])
    dispatcher.submit(1, {"a": job(record())}, 0)
    [each] = dispatcher.assign(0)
    with pytest.raises(ValueError, match="zip"):
        dispatcher.done(each.number, [], 0)


@pytest.mark.parametrize("run", [None, BatchRun(0, ((2, 5),), 3)])
def test_the_meter_is_told_of_records_whose_decoding_timed_out(run):
    class Heard:
        def __init__(self) -> None:
            self.timed: list[tuple[str, int]] = []

        def queued(self, stage, waited_us) -> None:
            pass

        def ran(self, stage, windows, took_us) -> None:
            pass

        def timed_out(self, stage, records) -> None:
            self.timed.append((stage, records))

    heard = Heard()
    dispatcher = Dispatcher([stage("a")], heard)
    dispatcher.set_replicas("a", ["a-0"])
    for window in range(3):
        dispatcher.submit(window, {"a": job(record())}, 0)
    [batch] = dispatcher.assign(0)
    results = [JobResult(1, timed_out=2), JobResult(failure="undecodable", timed_out=1)]
    dispatcher.done(batch.number, [*results, JobResult(1)], 9, run)
    assert heard.timed == [("a", 3)]


def film(payload: bytes | memoryview = b"x") -> MediaRecord:
    log = LogRecord("t", 0, 0, 0, b"s", None, [])
    return MediaRecord("in", "s", 0, 1, Facts("video", "h264"), payload, log)


def test_windows_of_one_film_go_together_and_others_take_turns():
    dispatcher = made(stage("a", batch_max=5, films=True), a=["a-0"])
    films = {stream: film() for stream in "xy"}
    for stream, each in films.items():
        for window in range(3):
            dispatcher.submit((stream, window), {"a": job(each, stream=stream)}, 0)
    dispatcher.submit("next", {"a": job(film(), stream="x")}, 0)
    first, second = dispatcher.assign(0)
    assert [(j.stream, j.records[0] is films[j.stream]) for j in first.jobs] == [
        *[("x", True)] * 3,
        *[("y", True)] * 2,
    ]
    assert [(j.stream, j.records[0] is films[j.stream]) for j in second.jobs] == [
        ("x", False),
        ("y", True),
    ]


def test_a_payload_that_several_windows_of_a_batch_hold_counts_once():
    dispatcher = made(stage("a", batch_max=10, films=True), a=["a-0"])
    shared, other = (film(memoryview(bytes(BATCH_BYTES_MAX * 2 // 3))) for _ in range(2))
    for window in range(5):
        dispatcher.submit(window, {"a": job(shared)}, 0)
    for window in range(5, 8):
        dispatcher.submit(window, {"a": job(other)}, 0)
    [batch] = dispatcher.assign(0)
    assert len(batch.jobs) == 8


def test_limits_that_are_changed_count_for_what_comes_and_shorten_what_is_under_way():
    dispatcher = Dispatcher([StageRule("a", (), 8, 50 * SECOND_US)])
    dispatcher.set_replicas("a", ["a-1"])
    for window in range(4):
        dispatcher.submit(window, {"a": StageJob("s", window, window + 1)}, 0)
    dispatcher.set_limits("a", 2, 9 * SECOND_US, SECOND_US)
    assert [len(one.jobs) for one in dispatcher.assign(SECOND_US)] == [2, 2]
    assert dispatcher.overdue(19 * SECOND_US) == []
    assert dispatcher.overdue(19 * SECOND_US + 1) == ["a-1", "a-1"]
    dispatcher.expire(10 * SECOND_US - 1)
    assert dispatcher.take_done() == []
    dispatcher.expire(10 * SECOND_US)
    assert [done.result.failure for done in dispatcher.take_done()] == ["timeout"] * 4
    dispatcher.set_limits("a", 2, 90 * SECOND_US, 10 * SECOND_US)
    dispatcher.submit(9, {"a": StageJob("s", 9, 10)}, 10 * SECOND_US)
    dispatcher.expire(99 * SECOND_US)
    assert dispatcher.take_done() == []


def test_a_replica_that_gets_no_more_is_told_of_until_its_batches_are_back():
    dispatcher = Dispatcher([StageRule("a", (), 1, 50 * SECOND_US)])
    dispatcher.set_replicas("a", ["a-1", "a-2"])
    dispatcher.submit(0, {"a": StageJob("s", 0, 1)}, 0)
    [out] = dispatcher.assign(0)
    dispatcher.set_replicas("a", [name for name in ("a-1", "a-2") if name != out.replica])
    assert dispatcher.holding() == {"a-1", "a-2"}
    dispatcher.done(out.number, [JobResult(1)], 1)
    assert dispatcher.holding() == {"a-1", "a-2"} - {out.replica}
