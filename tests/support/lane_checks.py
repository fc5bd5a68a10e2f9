"""The properties of a lane (design section 4), as plain functions that raise AssertionError.

Each takes the class under test and a source of integers. The property tests let hypothesis
draw for them; the mutant tests run them on spoilt lanes and expect them to fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

from lane_histories import (
    Crash,
    Cut,
    Draw,
    Event,
    History,
    Logs,
    Silence,
    Skip,
    draw_history,
    draw_logs,
    draw_timely_logs,
    interleaved,
    one_in,
    seeded,
)
from lane_oracle import NEVER, Oracle, Rec, Step, Window, seen, seen_window, windows_over

from pipeline.lane import ClosedWindow, Lane, LaneCut, LaneSpec, Merge, Waiting
from pipeline.lane.merge import FRESH_US

LaneClass = Callable[[LaneSpec, LaneCut], Lane]
MergeClass = Callable[..., Merge]


class Subject(NamedTuple):
    """What is checked: the real classes, or spoilt ones."""

    lane: LaneClass = Lane
    merge: MergeClass = Merge


Check = Callable[[Subject, Draw], None]
Story = TypeVar("Story", History, Logs)


def about(
    story: Callable[..., Story], **options: bool
) -> Callable[[Callable[[Subject, Story, Draw], None]], Check]:
    """Draws the story that a property is checked on, and tells it where the property fails."""

    def checked(check: Callable[[Subject, Story, Draw], None]) -> Check:
        @wraps(check)
        def run(subject: Subject, draw: Draw) -> None:
            drawn = story(draw, **options)
            try:
                check(subject, drawn, draw)
            except Exception as error:
                error.add_note(str(drawn))
                raise

        return run

    return checked


def new_lane(lane_class: LaneClass, spec: LaneSpec, starts: Mapping[str, int]) -> Lane:
    return lane_class(spec, LaneCut(0, dict(starts), dict(starts)))


def quiet(closed: Sequence[ClosedWindow]) -> Step:
    return Step(tuple(seen_window(window) for window in closed))


def state(lane: Lane) -> dict[str, Any]:
    """All that can be seen of a lane; the cut's own number apart."""
    cut = lane.cut()
    return {
        "floor": lane.floor_us,
        "top": lane.top_us,
        "positions": dict(lane.positions),
        "kept bytes": lane.kept_bytes,
        "open windows": lane.open_windows,
        "cut": (cut.positions, cut.froms, cut.floor_us, cut.top_us),
    }


def true_state(oracle: Oracle) -> dict[str, Any]:
    floor = None if oracle.floor_us == NEVER else oracle.floor_us
    top = None if oracle.top_us == NEVER else oracle.top_us
    return {
        "floor": floor,
        "top": top,
        "positions": oracle.positions,
        "kept bytes": oracle.kept_bytes,
        "open windows": len(oracle.open_windows()),
        "cut": (oracle.positions, oracle.froms(), floor, top),
    }


# -- doing to a lane what happened


def do(lane: Lane, event: Event) -> Step:
    if isinstance(event, Rec):
        return seen(lane.apply(event.fresh()))
    if isinstance(event, Skip):
        lane.skip_to(event.input, event.position)
        return Step(())
    if isinstance(event, Silence):
        return quiet(lane.silence(event.elapsed_us))
    return Step(())


def do_truly(oracle: Oracle, event: Event) -> Step:
    if isinstance(event, Rec):
        return oracle.apply(event)
    if isinstance(event, Skip):
        oracle.positions[event.input] = event.position
    if isinstance(event, Silence):
        return oracle.silence(event.elapsed_us)
    return Step(())


def recovered(
    lane_class: LaneClass, spec: LaneSpec, cut: LaneCut, logs: Iterable[Rec], draw: Draw
) -> Lane:
    """A lane that came back from a cut, its inputs replayed in any interleaving."""
    lane = lane_class(spec, cut)
    left = {
        name: [r for r in logs if r.input == name and cut.froms[name] <= r.offset < position]
        for name, position in cut.positions.items()
    }
    while pending := sorted(n for n in left if lane.positions[n] < cut.positions[n]):
        assert lane.replaying
        name = pending[draw(0, len(pending) - 1)]
        if left[name]:
            applied = lane.apply(left[name].pop(0).fresh())
            assert (applied.closed, applied.late, applied.fused, applied.forced) == ([], (), 0, 0)
        else:
            lane.skip_to(name, cut.positions[name])
    assert not lane.replaying
    assert lane.cut().number == cut.number + 1
    return lane


# -- the properties


@about(draw_history)
def equals_the_oracle_through_crashes(subject: Subject, history: History, draw: Draw) -> None:
    """(a) Whatever happens, and however often it crashes, a lane says what the rules say.

    All that can be seen of the lane is compared after every event. A crash goes back to a
    cut, replays, and does again what had been done since, which must give the same again.
    """
    lane = new_lane(subject.lane, history.spec, history.starts)
    oracle = Oracle(history.spec, dict(history.starts))
    done: list[tuple[Event, Step]] = []
    cuts = [(lane.cut(), 0)]
    for event in history.events:
        if isinstance(event, Cut):
            cuts.append((lane.cut(), len(done)))
        elif isinstance(event, Crash):
            cut, at = cuts[max(0, len(cuts) - 1 - event.back)]
            logs = [e for e, _ in done[:at] if isinstance(e, Rec)]
            lane = recovered(subject.lane, history.spec, cut, logs, seeded(event.seed))
            for again, before in done[at:]:
                assert do(lane, again) == before, again
        else:
            floor_us = oracle.floor_us
            step = do_truly(oracle, event)
            assert do(lane, event) == step, event
            done.append((event, step))
            if oracle.floor_us > floor_us:  # then what it has passed is forgotten at once
                assert lane.stream_count <= len(oracle.live_streams())
        assert state(lane) == true_state(oracle), event
        assert lane.stream_count >= len(oracle.kept_streams())
    assert quiet(lane.finish()) == oracle.finish()
    assert lane.open_windows == 0
    assert state(lane) == true_state(oracle)


class Life:
    """A lane whose host commits and crashes at any time; what it committed is in ``out``.

    After a crash the inputs come in another interleaving than before, and silences differ.
    """

    def __init__(self, lane_class: LaneClass, logs: Logs, draw: Draw) -> None:
        self.lane_class, self.logs, self.draw = lane_class, logs, draw
        self.records = {rule.name: logs.of(rule.name) for rule in logs.spec.inputs}
        self.lane = new_lane(lane_class, logs.spec, logs.starts)
        self.out: list[Window] = []
        self.fates: list[tuple[Rec, Step]] = []
        self.floors: list[int] = []
        self._committed = self.lane.cut()
        self._steps: list[tuple[Rec | None, Step]] = []

    def run(self) -> None:
        crashes = 0
        while pending := [n for n in sorted(self.records) if self._rest(n)]:
            choice = self.draw(0, 11)
            if choice == 11 and crashes < 3:
                crashes += 1
                self._crash()
            elif choice == 10:
                self.commit()
            elif choice == 9:
                self._told(None, quiet(self.lane.silence(self.draw(0, 20))))
            else:
                record = self._rest(pending[self.draw(0, len(pending) - 1)])[0]
                self._told(record, seen(self.lane.apply(record.fresh())))
        self._told(None, quiet(self.lane.finish()))
        self.commit()

    def commit(self) -> None:
        self._committed = self.lane.cut()
        for record, step in self._steps:
            self.out += step.closed
            if record is not None:
                self.fates.append((record, step))
        self._steps = []

    def _rest(self, name: str) -> list[Rec]:
        return [r for r in self.records[name] if r.offset >= self.lane.positions[name]]

    def _told(self, record: Rec | None, step: Step) -> None:
        self._steps.append((record, step))
        if self.lane.floor_us is not None:
            self.floors.append(self.lane.floor_us)

    def _crash(self) -> None:
        self._steps = []
        self.floors = self.floors[:0]
        self.lane = recovered(
            self.lane_class, self.logs.spec, self._committed, self.logs.arrival, self.draw
        )


@about(draw_logs, forced=True)
def emits_no_window_twice(subject: Subject, logs: Logs, draw: Draw) -> None:
    """(b) Over any number of crashes each window is committed once, and none is forgotten."""
    life = Life(subject.lane, logs, draw)
    life.run()
    times = Counter((window.stream, window.start_us) for window in life.out)
    assert all(count == 1 for count in times.values()), times
    if life.out:
        assert life.lane.top_us == max(window.end_us for window in life.out)


@about(draw_logs, forced=True)
def gives_one_fate_to_each_record_and_window(subject: Subject, logs: Logs, draw: Draw) -> None:
    """(e) Each record is, for each window that it overlaps, fused, late or still open: just one."""
    life = Life(subject.lane, logs, draw)
    life.run()
    spec = life.logs.spec
    assert [r for r, _ in sorted(life.fates)] == sorted(life.logs.arrival)  # each applied once
    content: Counter[tuple[str, int, str, int]] = Counter(
        (window.stream, window.start_us, name, offset)
        for window in life.out
        for name, offsets in window.content
        for offset in offsets
    )
    assert all(count == 1 for count in content.values())
    for record, step in life.fates:
        if record.stream is None:
            assert step == Step(())
            continue
        starts = windows_over(spec, record.ts_us, record.end_us)
        fused = [
            start for start in starts if content[record.stream, start, record.input, record.offset]
        ]
        assert sorted((*fused, *step.late)) == starts
        assert len(fused) == step.fused


@about(draw_logs, forced=True)
def floor_and_clocks_never_fall(subject: Subject, logs: Logs, draw: Draw) -> None:
    """(f) Neither the floor nor a stream's clock in any input ever goes back."""
    lane = new_lane(subject.lane, logs.spec, logs.starts)
    floors, tops = [NEVER], [NEVER]
    bars: dict[tuple[str, str], int] = {}
    for record in interleaved(draw, logs):
        applied = lane.apply(record.fresh())
        if record.stream is not None:
            last_us = bars.get((record.stream, record.input), NEVER)
            assert applied.clock_us >= last_us or last_us == NEVER
            bars[record.stream, record.input] = applied.clock_us
        if one_in(draw, 8):
            lane.silence(draw(0, 20))
        if one_in(draw, 8):
            lane = recovered(subject.lane, logs.spec, lane.cut(), logs.arrival, draw)
        floors.append(NEVER if lane.floor_us is None else lane.floor_us)
        tops.append(NEVER if lane.top_us is None else lane.top_us)
    assert floors == sorted(floors)
    assert tops == sorted(tops)


# -- what a whole read gives


def read(lane_class: LaneClass, logs: Logs, order: Iterable[Rec]) -> list[tuple[Rec, Step]]:
    """Applies the records in that order and finishes; the finish stands under the last record."""
    lane = new_lane(lane_class, logs.spec, logs.starts)
    steps = [(record, seen(lane.apply(record.fresh()))) for record in order]
    record, last = steps[-1]
    steps[-1] = record, last._replace(closed=last.closed + quiet(lane.finish()).closed)
    return steps


def results(steps: Iterable[tuple[Rec, Step]]) -> tuple[list[Window], list[tuple[Rec, Any]]]:
    """The windows and the fates, without the order in which the lane came to them."""
    steps = list(steps)
    windows = sorted(window for _, step in steps for window in step.closed)
    return windows, sorted((record, (step.late, step.fused)) for record, step in steps)


def comes_within_hold(logs: Logs, order: Sequence[Rec]) -> bool:
    """Whether no record in this order comes later than ``A`` behind the lane, context included."""
    newest_us = NEVER
    for record in order:
        if record.stream is None:
            continue
        if newest_us - logs.spec.hold_us > record.ts_us - logs.spec.after_us:
            return False
        newest_us = max(newest_us, min(record.end_us, record.append_us))
    return True


def held_together(draw: Draw, logs: Logs) -> list[Rec]:
    """An interleaving whose inputs run apart, but not so far that the next would be too late."""
    heads = {rule.name: logs.of(rule.name) for rule in logs.spec.inputs}
    order: list[Rec] = []
    while left := [records for _, records in sorted(heads.items()) if records]:
        pick = left[draw(0, len(left) - 1)]
        rest = [record for records in left for record in records if record.stream is not None]
        if not comes_within_hold(logs, [pick[0], *sorted(rest, key=lambda r: r.ts_us)[:2]]):
            pick = min(left, key=lambda records: min(records[0].end_us, records[0].append_us))
        order.append(pick.pop(0))
    return order


@about(draw_logs, tame=True)
def interleavings_agree_within_hold(subject: Subject, logs: Logs, draw: Draw) -> None:
    """(c) All inputs gate and nothing comes later than A: every interleaving gives the same."""
    orders = [held_together(draw, logs) for _ in range(3)]
    orders = [order for order in orders if comes_within_hold(logs, order)]
    if len(orders) > 1:
        first, *others = [results(read(subject.lane, logs, order)) for order in orders]
        assert all(other == first for other in others)


def merge_order(logs: Logs) -> list[Rec]:
    """The contract's Order where all is there: heads by least key, each partition in log order."""
    gating = {rule.name: rule.gating for rule in logs.spec.inputs}
    heads = {name: logs.of(name) for name in gating}

    def key(record: Rec) -> tuple[int, bool, str]:
        event_us = record.end_us if gating[record.input] else record.ts_us
        stamp_us = record.append_us
        # An unsound record has no time: it holds its input back by nothing.
        key_us = -(1 << 62) if record.stream is None else min(event_us, stamp_us)
        return key_us, gating[record.input], record.input

    order = []
    while left := [records for records in heads.values() if records]:
        order.append(min(left, key=lambda records: key(records[0])).pop(0))
    return order


def fetched(subject: Subject, logs: Logs, draw: Draw) -> list[tuple[Rec, Step]]:
    """A whole read through Merge: any fetch sizes, ends that come when they come, any delays."""
    merge = subject.merge(logs.spec, logs.starts)
    lane = new_lane(subject.lane, logs.spec, logs.starts)
    rest = {rule.name: logs.of(rule.name) for rule in logs.spec.inputs}
    steps: list[tuple[Rec, Step]] = []
    now_us = 0
    while len(steps) < len(logs.arrival):
        now_us += draw(0, 2 * FRESH_US) if one_in(draw, 8) else 1
        answer = merge.next(now_us)
        if isinstance(answer, Waiting) or answer is None:
            fetch(merge, logs, rest, draw, answer, now_us)
            continue
        record = rest_of(logs, answer.input, answer.offset)
        steps.append((record, seen(lane.apply(answer))))
    assert merge.align_waits_total == 0
    record, last = steps[-1]
    steps[-1] = record, last._replace(closed=last.closed + quiet(lane.finish()).closed)
    return steps


def rest_of(logs: Logs, name: str, offset: int) -> Rec:
    return next(record for record in logs.of(name) if record.offset == offset)


def fetch(
    merge: Merge,
    logs: Logs,
    rest: dict[str, list[Rec]],
    draw: Draw,
    waiting: Waiting | None,
    now_us: int,
) -> None:
    """One poll: some records of one input, the one that is waited for more often than not."""
    names = sorted(name for name in rest if rest[name]) or sorted(rest)
    if waiting is not None and (waiting.ask or not one_in(draw, 3)):
        names = [waiting.input]
    name = names[draw(0, len(names) - 1)]
    if waiting is None or waiting.ask or one_in(draw, 4):
        merge.ends(name, logs.ends[name], now_us)
    many = 4 - draw(0, 4)
    records, rest[name] = rest[name][:many], rest[name][many:]
    if rest[name]:
        position = records[-1].offset + 1 if records else merge.position(name)
    else:
        position = logs.ends[name]
    merge.add(name, [record.fresh() for record in records], position)


@about(draw_logs, forced=True)
def fetches_do_not_show(subject: Subject, logs: Logs, draw: Draw) -> None:
    """(d) However the logs are fetched, the lane applies them in the contract's order."""
    steps = fetched(subject, logs, draw)
    order = merge_order(logs)
    assert [record for record, _ in steps] == order
    assert steps == read(subject.lane, logs, order)


@about(draw_logs, forced=True)
def two_full_reads_agree(subject: Subject, logs: Logs, draw: Draw) -> None:
    """(g) Two full reads of the same logs give the same, in the same order."""
    first = fetched(subject, logs, draw)
    assert fetched(subject, logs, draw) == first


@about(draw_timely_logs, ahead=False)
def catch_up_gives_what_live_gave(subject: Subject, logs: Logs, draw: Draw) -> None:
    """A catch-up gives what the live run gave to records that came in time (contract, Order)."""
    assert results(read(subject.lane, logs, merge_order(logs))) == results(
        read(subject.lane, logs, logs.arrival)
    )


@about(draw_timely_logs, ahead=True)
def clock_ahead_moves_only_itself(subject: Subject, logs: Logs, draw: Draw) -> None:
    """(h) Where Kafka stamps the truth, a stream whose clock runs ahead changes no other's.

    The same lane is read live with and without the records of that stream, silences included.
    """

    def others(with_x: bool) -> tuple[list[Window], list[tuple[Rec, Any]]]:
        lane = new_lane(subject.lane, logs.spec, logs.starts)
        steps: list[tuple[Rec, Step]] = []
        last_us = logs.arrival[0].append_us
        for record in logs.arrival:
            if record.append_us > last_us:
                steps.append((record, quiet(lane.silence(record.append_us - last_us))))
            last_us = record.append_us
            if with_x or record.stream != "x":
                steps.append((record, seen(lane.apply(record.fresh()))))
        steps.append((logs.arrival[-1], quiet(lane.finish())))
        windows, fates = results(steps)
        fates = [(record, fate) for record, fate in fates if fate != ((), 0)]
        return [w for w in windows if w.stream != "x"], [f for f in fates if f[0].stream != "x"]

    assert others(with_x=True) == others(with_x=False)


CHECKS: tuple[Check, ...] = (
    equals_the_oracle_through_crashes,
    emits_no_window_twice,
    interleavings_agree_within_hold,
    fetches_do_not_show,
    gives_one_fate_to_each_record_and_window,
    floor_and_clocks_never_fall,
    two_full_reads_agree,
    clock_ahead_moves_only_itself,
    catch_up_gives_what_live_gave,
)
