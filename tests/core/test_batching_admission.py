"""How much a stage gets at once: with a dispatcher and replicas whose times are known."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batching.admission import Admission
from pipeline.batching.batch import TIMEOUT, JobResult, StageJob
from pipeline.batching.dispatch import Assignment, Dispatcher, StageDone
from pipeline.batching.stage_queue import StageRule

MS = 1_000
S = 1_000_000
TakesUs = Callable[[int, int], int | None]  # a batch's windows and the time -> us; None: it hangs


def rule(timeout_us: int) -> StageRule:
    return StageRule("a", (), 64, timeout_us)


class Stages:
    """A backlog before stages of one replica each or more, by the times that batches take."""

    def __init__(
        self,
        takes: dict[str, TakesUs],
        timeout_us: int | dict[str, int] = 2 * S,
        replicas: int = 1,
        reads: dict[str, str] | None = None,
    ) -> None:
        reads = reads or {}
        timeouts = timeout_us if isinstance(timeout_us, dict) else dict.fromkeys(takes, timeout_us)
        self.takes = takes
        self.now_us = 0
        rules = [StageRule(s, (reads[s],) if s in reads else (), 64, timeouts[s]) for s in takes]
        self.admission: Admission[int] = Admission(rules)
        self.dispatcher = Dispatcher(rules)
        for stage in takes:
            self.dispatcher.set_replicas(stage, [f"{stage}-{n}" for n in range(replicas)])
            self.admission.set_replicas(stage, replicas)
        self.closed = 0
        self.most = 0  # of windows that were out at once
        self.doors: dict[str, list[Assignment]] = {}
        self.running: list[tuple[int, str, list[Assignment]]] = []  # until when
        self.left: dict[int, int] = {}
        self.failed: dict[str, list[int]] = {stage: [] for stage in takes}
        self.done_us: dict[int, int] = {}

    def run(self, windows: int, until_us: int = 10**12, together: int = 1) -> Stages:
        """A backlog of so many more; ``together`` close at once, as those of so many streams do."""
        until = self.closed + windows
        while len(self.done_us) < until and self.now_us < until_us:
            while self.closed < until and self.admission.held_by is None:
                for _ in range(together):
                    self.admission.put(self.closed, {s: StageJob("s", 0, 1) for s in self.takes})
                    self.left[self.closed] = len(self.takes)
                    self.closed += 1
                self.submit()
            self.assign()
            self.step()
        return self

    def submit(self) -> None:
        for window, jobs in self.admission.take(self.now_us):
            self.dispatcher.submit(window, jobs, self.now_us)
        self.most = max(self.most, self.dispatcher.windows)

    def assign(self) -> None:
        for batch in self.dispatcher.assign(self.now_us):
            self.doors.setdefault(batch.replica, []).append(batch)
        for replica in self.doors:
            if self.doors[replica] and replica not in (name for _, name, _ in self.running):
                self.run_all(replica)

    def run_all(self, replica: str) -> None:
        """What is at its door, in one call; a replica runs nothing that is late by then."""
        batches, self.doors[replica] = self.doors[replica], []
        timely = sum(job.deadline_us > self.now_us for each in batches for job in each.jobs)
        took_us = self.takes[batches[0].stage](timely, self.now_us) if timely else 0
        until_us = 10**15 if took_us is None else self.now_us + took_us
        heapq.heappush(self.running, (until_us, replica, batches))

    def step(self) -> None:
        """To the next call that comes back, by steps in which something may expire."""
        self.now_us += 50 * MS
        if self.running and self.running[0][0] <= self.now_us:
            self.now_us, _, batches = heapq.heappop(self.running)
            for each in batches:
                self.dispatcher.done(each.number, [JobResult("x")] * len(each.jobs), self.now_us)
        self.dispatcher.expire(self.now_us)
        for done in self.dispatcher.take_done():
            self.take(done)
        self.submit()

    def take(self, done: StageDone) -> None:
        window: int = done.window  # type: ignore[assignment]
        self.left[window] -= 1
        self.admission.settled(window, done, self.now_us, not self.left[window])
        if done.result.failure is not None:
            self.failed[done.stage].append(window)
        if not self.left[window]:
            self.done_us[window] = self.now_us


@settings(max_examples=50)
@given(
    each_us=st.integers(1 * MS, 900 * MS),
    a_call_us=st.integers(0, 500 * MS),
    timeout_us=st.integers(3 * S, 30 * S),
    replicas=st.integers(1, 4),
    together=st.integers(1, 40),
)
def test_of_a_backlog_nothing_expires_and_the_replicas_are_never_idle(
    each_us, a_call_us, timeout_us, replicas, together
):
    """However long a window takes, as long as one alone is done in half of the timeout."""
    stages = Stages({"a": lambda n, _: a_call_us + n * each_us}, timeout_us, replicas)
    stages.run(200, together=together)
    assert stages.failed == {"a": []}
    wanted_us = stages.closed * (each_us + a_call_us) / replicas  # one by one
    at_the_end_us = min(2 * 64 * each_us, timeout_us)  # of which one replica may have more
    assert stages.now_us <= 1.1 * wanted_us + at_the_end_us + 30 * 50 * MS


def test_a_stage_that_is_as_fast_for_many_as_for_one_gets_full_batches():
    stages = Stages({"a": lambda n, _: 100 * MS}).run(2_000)
    assert stages.failed == {"a": []}
    assert stages.now_us < 2_000 / 64 * 100 * MS + 2.5 * S  # a dozen calls are not full at first


@pytest.mark.parametrize("timeouts", [{"a": 20 * S, "b": 2 * S}, {"a": 2 * S, "b": 20 * S}])
@pytest.mark.parametrize("slow", ["a", "b"])
def test_the_slowest_of_a_chain_holds_its_others_up_and_not_to_their_timeouts(timeouts, slow):
    takes = {name: lambda n, _, name=name: n * (200 if name == slow else 2) * MS for name in "ab"}
    stages = Stages(takes, timeouts, reads={"b": "a"}).run(100)
    assert stages.failed == {"a": [], "b": []}
    assert stages.now_us < 1.1 * 100 * 200 * MS


def test_a_window_that_takes_nearly_all_of_its_timeout_comes_alone():
    stages = Stages({"a": lambda n, _: n * 1_900 * MS}).run(20)
    assert stages.failed == {"a": []}
    assert stages.most == 1


@pytest.mark.parametrize("takes_us", [lambda n, _: None, lambda n, _: n * 3 * S])
def test_a_stage_that_never_answers_in_time_holds_nothing_up(takes_us):
    """Three windows alone show it; the others then all expire at once, and not one by one."""
    stages = Stages({"a": takes_us, "b": lambda n, _: n * MS}).run(500)
    assert stages.failed == {"a": list(range(500)), "b": []}
    assert stages.now_us < 4.5 * 2 * S


def test_a_stage_that_answers_again_is_held_again():
    stages = Stages({"a": lambda n, now_us: n * 100 * MS if now_us >= 7 * S else 3 * S})
    stages.run(50)
    assert 7 * S < stages.now_us < 9 * S
    stages.run(5)
    stages.run(500)
    assert stages.failed["a"] == list(range(50))


def test_a_stage_that_grows_slow_gets_less():
    stages = Stages({"a": lambda n, now_us: n * (5 if now_us < 5 * S else 50) * MS})
    stages.run(3_000)
    before = stages.most
    assert before > 64
    assert len(stages.failed["a"]) < 2 * before
    stages.most = 0
    stages.run(200)
    assert stages.most < 45  # 2 s of it are 40


def test_a_stage_that_is_fast_for_its_timeout_is_busy_after_a_few_rounds():
    """A wait between two batches of a backlog is felt: from 3 windows on to 5 batches of 64."""
    admission: Admission[int] = Admission([rule(30 * S)])
    for window in range(2_000):
        admission.put(window, {"a": StageJob("s", 0, 1)})
    now_us, rounds = 0, []
    while not rounds or rounds[-1] < 5 * 64:
        rounds.append(len(taken := admission.take(now_us)))
        now_us += 20 * MS
        for window, _ in taken:
            admission.settled(window, StageDone(window, "a", JobResult("x"), 0, 0), now_us, True)
    assert rounds == [3, 11, 47, 199, 5 * 64]


def test_what_fails_of_another_stage_or_of_dead_replicas_says_nothing():
    admission: Admission[int] = Admission([rule(S)])
    for _ in range(10):
        admission.put(1, {"a": StageJob("s", 0, 1)})
        assert [window for window, _ in admission.take(0)] == [1]
        assert admission.held_by == "a"
        done = StageDone(1, "a", JobResult(failure="nothing to read: b failed"))
        admission.settled(1, done, 0, True)
        assert admission.take(0) == []
        assert admission.held_by is None
    admission.put(1, {"a": StageJob("s", 0, 1)})
    admission.put(2, {"a": StageJob("s", 0, 1)})
    assert len(admission.take(0)) == 1
    admission.settled(1, StageDone(1, "a", JobResult("x"), 0, 0), 0, True)
    assert len(admission.take(0)) == 1, "one more came, and the limit is two now"
    assert admission.held_by is None


def test_where_nothing_can_expire_there_is_always_room():
    admission: Admission[int] = Admission([rule(S)], paced=False)
    for window in range(1_000):
        admission.put(window, {"a": StageJob("s", 0, 1)})
    assert len(admission.take(0)) == 1_000
    done = StageDone(0, "a", JobResult(failure=TIMEOUT))
    admission.settled(0, done, 10 * S, True)
    assert admission.held_by is None


def test_a_timeout_that_is_changed_holds_for_what_comes():
    admission: Admission[int] = Admission([rule(S)])
    admission.set_rule(rule(100 * S))
    admission.put(0, {"a": StageJob("s", 0, 1)})
    admission.take(0)
    admission.settled(0, StageDone(0, "a", JobResult("x"), 0, 0), 20 * S, True)
    for window in (1, 2):
        admission.put(window, {"a": StageJob("s", 0, 1)})
    assert len(admission.take(20 * S)) == 2, "20 s are less than a quarter of 100 s"


@pytest.mark.parametrize("each_ms", [0, 200])
def test_long_calls_that_take_many_windows_get_them(each_ms):
    """As of a network that writes its answers word by word, or of one across a network."""
    stages = Stages({"a": lambda n, _: 12 * S + n * each_ms * MS}, 30 * S).run(600)
    assert stages.failed == {"a": []}
    one_by_one_us = 600 * 12 * S
    assert stages.now_us < one_by_one_us / 8


def test_a_stage_that_is_fast_gets_what_keeps_it_busy_and_no_more():
    """Silence costs a hundredth of speech: when it ends, few wait for longer than they may."""
    stages = Stages({"a": lambda n, now_us: n * (1 if now_us < 10 * S else 100) * MS}, 30 * S)
    stages.run(12_000)
    assert stages.most == 5 * 64
    assert len(stages.failed["a"]) < 2 * 64  # those of one call


@pytest.mark.parametrize(("call_s", "timeout_s", "windows"), [(25, 30, 8), (4, 10, 8), (8, 15, 1)])
def test_long_calls_get_two_where_that_is_safe_to_try(call_s, timeout_s, windows):
    """A call of more than 45 % of a short timeout is never tried with two (docs/LIMITS.md)."""
    stages = Stages({"a": lambda _n, _now_us: call_s * S}, timeout_s * S).run(100)
    assert stages.failed == {"a": []}
    a_call = 100 * call_s * S / stages.now_us
    assert a_call == 1 if windows == 1 else a_call > windows
