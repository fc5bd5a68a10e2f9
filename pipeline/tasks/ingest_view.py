"""What an ingest half shows of itself: its figures, and each lane."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.lane import Holding, LaneSpec
from pipeline.tasks.continuity import Continuity
from pipeline.tasks.figures import Figures
from pipeline.tasks.lane_feed import LaneFeed
from pipeline.tasks.stage_health import StageHealth, StageTrouble
from pipeline.tasks.view import BehindView, HoldView, LaneView

BUSY_US = 2_000_000  # the time that a busy ratio is about, at least
BEHIND_US = 2_000_000  # a lane that waits so long for an input's log is overdue
_Clock = tuple[str, str, int | None]
_NEVER_US = -(1 << 62)  # before all event time


class IngestView(NamedTuple):
    """At one moment; replaced as a whole, and never changed: safe to read from any thread."""

    figures: Figures
    lanes: tuple[LaneView, ...]
    replay_records: int
    troubles: tuple[StageTrouble, ...] = ()


class IngestFigures:
    """What one ingest owner has seen and taken.

    It is told every record and, by the dispatcher, every batch; gauges are made when it is asked.
    What is committed is not counted here but in ``Totals``: it must be counted once.
    """

    def __init__(self, topics: Mapping[str, str], stages: Iterable[str], spec: LaneSpec) -> None:
        """``topics`` by input."""
        self._topics = topics
        self._bounds = {rule.name: rule.bound_us for rule in spec.inputs if rule.gating}
        self._slots: dict[int, int] = {}  # by lane
        # A window that is held for half of `windows.idle` after its end (and B) is overdue. The
        # floor is A below the newest record: so it is this far below the window's end, or less.
        self._overdue_us = {
            rule.name: spec.hold_us - rule.bound_us - spec.idle_us // 2 for rule in spec.inputs
        }
        self._figures = Figures()
        for stage in stages:
            for name in ("batch_size", "queue_seconds", "compute_seconds"):
                self._figures.begin(f"motet_stage_{name}", stage)
        self._newest: dict[str, int] = {}
        self._reached: dict[int, dict[str, int]] = {}
        self._since: dict[str, tuple[int, int]] = {}  # stage: when it was looked at, busy by then
        self._ratios: dict[str, float] = {}
        self._health: dict[str, StageHealth] = {}
        self._timed_out: dict[str, int] = {}  # by stage, records
        # By lane: the clock that holds it (stream, input, newest end), and since when it stands so.
        self._held: dict[int, tuple[_Clock, int]] = {}

    # -- told -----------------------------------------------------------------------------

    def take(self, slot: int, lanes: Iterable[int]) -> None:
        for lane in lanes:
            self._slots[lane] = slot
            self._reached[lane] = {}

    def let_go(self, lanes: Iterable[int]) -> None:
        for lane in lanes:
            del self._slots[lane], self._reached[lane]
            self._held.pop(lane, None)

    def read(self, input: str, end_us: int) -> None:
        if end_us > self._newest.get(input, _NEVER_US):
            self._newest[input] = end_us

    def applied(self, lane: int, input: str, end_us: int) -> None:
        reached = self._reached[lane]
        if end_us > reached.get(input, _NEVER_US):
            reached[input] = end_us

    def queued(self, stage: str, waited_us: Sequence[int]) -> None:
        waited_s = [waited / 1e6 for waited in waited_us]
        self._figures.observe_all("motet_stage_queue_seconds", waited_s, stage)

    def ran(self, stage: str, windows: int, took_us: int) -> None:
        self._figures.observe("motet_stage_batch_size", windows, stage)
        self._figures.observe("motet_stage_compute_seconds", took_us / 1e6, stage)

    def timed_out(self, stage: str, records: int) -> None:
        self._timed_out[stage] = self._timed_out.get(stage, 0) + records

    def moved(self, stage: str, prepare_us: int, transfer_us: int) -> None:
        self._figures.count("motet_stage_prepare_seconds_total", prepare_us / 1e6, stage)
        self._figures.count("motet_stage_transfer_seconds_total", transfer_us / 1e6, stage)

    def settled(self, stage: str, failure: str | None, now_us: int) -> None:
        health = self._health.get(stage)
        if health is None:
            health = self._health[stage] = StageHealth()
        health.settled(failure, now_us)

    # -- asked ----------------------------------------------------------------------------

    def view(
        self,
        feeds: Mapping[int, LaneFeed],
        in_flight_bytes: Mapping[int, int],
        paused: int,
        violations: int,
        continuity: Continuity,
        busy: Mapping[str, tuple[int, int]],
        queued: Mapping[str, int],
        full: Collection[int],
        held_by: str | None,
        now_us: int,
        wall_us: int,
    ) -> IngestView:
        """``busy``: by stage, the time that its replicas had work so far, and their number.

        ``queued``: by stage, its windows; ``full``: slots whose budget admits nothing.
        ``held_by``: a stage that the lanes wait for.
        """
        figures = self._figures.copy()
        figures.count("motet_copartition_violations_total", violations)
        waits = sum(feed.merge.align_waits_total for feed in feeds.values())
        figures.count("motet_align_waits_total", waits)
        continuity.figures(figures, now_us)
        for name, newest_us in self._newest.items():
            figures.gauge("motet_event_time_lag_seconds", (wall_us - newest_us) / 1e6, name)
        lanes_of: dict[int, list[int]] = {slot: [] for slot in in_flight_bytes}
        for lane in feeds:
            lanes_of[self._slots[lane]].append(lane)
        for slot, size_bytes in in_flight_bytes.items():
            figures.gauge("motet_in_flight_bytes", size_bytes, str(slot))
            self._slot(figures, slot, lanes_of[slot], feeds)
        figures.gauge("motet_paused_partitions", paused)
        replay = sum(feed.replay_left for feed in feeds.values())
        figures.gauge("motet_replay_records", replay)
        self._busy(figures, busy, now_us)
        for stage, windows in queued.items():
            figures.gauge("motet_stage_queue_windows", windows, stage)
        for stage in busy:
            failed = self._health[stage].failed_total if stage in self._health else 0
            figures.count("motet_stage_failures_total", failed, stage)
            timed_out = self._timed_out.get(stage, 0)
            figures.count("motet_decode_timeouts_total", timed_out, stage)
        lanes = tuple(
            self._lane(lane, feed, self._slots[lane] in full, held_by, now_us)
            for lane, feed in feeds.items()
        )
        self._lag(figures, lanes)
        troubles = (each.trouble(name, now_us, wall_us) for name, each in self._health.items())
        return IngestView(figures, lanes, replay, tuple(one for one in troubles if one))

    def _slot(
        self, into: Figures, slot: int, lanes: Sequence[int], feeds: Mapping[int, LaneFeed]
    ) -> None:
        kept_bytes = sum(feeds[lane].lane.kept_bytes for lane in lanes)
        into.gauge("motet_open_bytes", kept_bytes, str(slot))
        for name, clock_us in self._clocks(lanes, feeds).items():
            into.gauge("motet_clock_seconds", clock_us / 1e6, name, str(slot))

    def _clocks(self, lanes: Sequence[int], feeds: Mapping[int, LaneFeed]) -> dict[str, int]:
        """By input, how far the lanes have come.

        An input that does not gate has no clock of its own: the least of the others stands for it.
        """
        floors = [feeds[lane].lane.floor_us for lane in lanes]
        clocks: dict[str, int] = {}
        for name, bound_us in self._bounds.items():
            found = [floor_us for floor_us in floors if floor_us is not None]
            reached = (self._reached[lane].get(name) for lane in lanes)
            found += [end_us - bound_us for end_us in reached if end_us is not None]
            if found:
                clocks[name] = max(found)
        if clocks:
            least_us = min(clocks.values())
            clocks |= {name: least_us for name in self._topics if name not in self._bounds}
        return clocks

    def _busy(self, into: Figures, busy: Mapping[str, tuple[int, int]], now_us: int) -> None:
        for stage, (busy_us, replicas) in busy.items():
            at_us, before_us = self._since.setdefault(stage, (now_us, busy_us))
            if now_us - at_us >= BUSY_US:
                share = (busy_us - before_us) / ((now_us - at_us) * max(1, replicas))
                self._ratios[stage] = min(1.0, share)
                self._since[stage] = (now_us, busy_us)
            into.gauge("motet_stage_busy_ratio", self._ratios.get(stage, 0.0), stage)

    def _lag(self, into: Figures, lanes: Iterable[LaneView]) -> None:
        for lane in lanes:
            for name, end in lane.ends.items():
                if end is not None:
                    lag = max(0, end - lane.positions[name])
                    topic, partition = self._topics[name], str(lane.lane)
                    into.gauge("motet_consumer_lag_records", lag, topic, partition)

    def _lane(
        self, lane: int, feed: LaneFeed, full: bool, held_by: str | None, now_us: int
    ) -> LaneView:
        held = feed.lane.holding()
        waiting, overdue = self._waiting(lane, feed, held, held_by, now_us)
        waits = feed.waits
        return LaneView(
            lane=lane,
            slot=self._slots[lane],
            open_windows=feed.lane.open_windows,
            positions=dict(feed.lane.positions),
            ends={name: feed.merge.end(name) for name in feed.names},
            waiting=waiting,
            overdue=overdue,
            hold=self._hold(lane, held, now_us),
            behind=waits and BehindView(waits.input, waits.ask, now_us - waits.since_us),
            floor_us=feed.lane.floor_us,
            reached=dict(self._reached[lane]),
            full=full,
            held_by=held_by,
        )

    def _hold(self, lane: int, held: Holding | None, now_us: int) -> HoldView | None:
        """A clock that stands still is told apart from one that moves, slowly as it may be."""
        if held is None:
            self._held.pop(lane, None)
            return None
        clock = (held.stream, *next(iter(held.newest.items())))
        before, since_us = self._held.get(lane, (clock, now_us))
        since_us = since_us if clock == before else now_us
        self._held[lane] = clock, since_us
        return HoldView(
            held.stream,
            held.start_us,
            held.end_us,
            held.newest,
            now_us - since_us,
            held.floor_us_left,
        )

    def _waiting(
        self, lane: int, feed: LaneFeed, held: Holding | None, held_by: str | None, now_us: int
    ) -> tuple[str | None, bool]:
        """What a lane waits for, and whether it does so for longer than a healthy one."""
        if held_by is not None and any(map(feed.merge.buffered, feed.names)):
            why = "it has as many windows as it does well within its timeout"
            return f"waiting for stage {held_by} in lane {lane}: {why}", False
        waits = feed.waits
        if waits is not None and now_us - waits.since_us >= BEHIND_US:
            why = "the broker does not say where it ends" if waits.ask else "it is not read yet"
            return f"waiting for the log of {waits.input} in lane {lane}: {why}", True
        if held is None:
            return None, False
        name, behind_us = next(iter(held.newest)), held.floor_us_left
        wait_s = max(0, behind_us) / 1e6
        words = f"waiting for {name} in lane {lane}: its windows close in {wait_s:.1f} s"
        return words, behind_us <= self._overdue_us[name]
