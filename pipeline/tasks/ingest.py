"""The ingest half of slots: fetched records in, windows to encode and messages to fuse out.

It is told fetches, stable ends, encoded batches, commits and the time, and asked what to do:
a host (``pipeline.local``, ``actors.ingest``, tests/sim) does it. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from pipeline.batching.batch import BatchRun, JobResult
from pipeline.batching.dispatch import Assignment
from pipeline.lane import Applied, LaneCut, LaneRecord, Waiting
from pipeline.record import UnsoundRecord
from pipeline.slot.budget import WINDOW_BYTES
from pipeline.slot.dead_letter_rate import DeadLetterRate
from pipeline.slot.ports import Fetch, OutRecord, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.continuity import Continuity
from pipeline.tasks.fetch_reader import FetchReader
from pipeline.tasks.ingest_slots import IngestSlots, LaneState
from pipeline.tasks.ingest_view import IngestFigures, IngestView
from pipeline.tasks.lane_feed import LaneFeed
from pipeline.tasks.late_watch import LateWatch
from pipeline.tasks.letters import LetterBox
from pipeline.tasks.messages import Deliveries, Produced
from pipeline.tasks.span import SpanFilter, Wanted
from pipeline.tasks.stream_watch import StreamWatch
from pipeline.tasks.window_flow import WindowFlow
from pipeline.tracing import Tracer

STEPS_MAX = 512  # records that a lane applies before the others have their turn


class IngestTask:
    """All slots of one ingest owner.

    Invariants: what a lane closes, finds late or finds unsound goes into its messages in lane
    order, and a cut only behind all of it; no record is applied while its slot's budget is
    over its limit, or a stage has as many windows as it does in time.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        cuts: Mapping[int, Mapping[int, LaneCut]],
        ends: Mapping[TopicPartition, int] | None = None,
        message_bytes: Mapping[str, int] = MappingProxyType({}),
        call_batches: int = 1,
        tracer: Tracer | None = None,
        wanted: Wanted | None = None,
        paced: bool = True,
    ) -> None:
        """``cuts``: slot -> lane -> the recovered cut. ``ends``: stop there (``--until-end``).

        ``message_bytes``: by output topic the largest record that it takes (``Layout``).
        ``call_batches``: of a backlog so many batches are handed out as one (``StageRule``).
        ``tracer``: takes the spans of sampled windows. ``wanted``: asked of each window that
        closes, in lane order; those that it does not want are passed by (None: it wants all).
        ``paced``: nothing is applied while a stage has as much as it does in time; without it
        stages get all that is there, where nothing can time out.
        """
        self._spec = spec
        self._inputs = {entry.topic: name for name, entry in spec.inputs.items()}
        self._topics = {name: entry.topic for name, entry in spec.inputs.items()}
        self._span = SpanFilter(spec, wanted)
        self._letters = LetterBox(
            spec.outputs.late, spec.outputs.dead_letter, spec.limits.record_bytes, message_bytes
        )
        self._rates = {
            name: DeadLetterRate(name, spec.limits.dead_letter_rate) for name in spec.inputs
        }
        lane_spec = spec.lane_spec()
        self._shown = IngestFigures(self._topics, spec.stages, lane_spec)
        self._ends = ends
        self._slots = IngestSlots(
            spec.limits.in_flight_bytes,
            lambda lane, cut: LaneFeed(lane_spec, cut, self._lane_ends(lane)),
        )
        self._lanes, self._budgets = self._slots.lanes, self._slots.budgets
        self._deliveries = self._slots.deliveries
        self._flow = WindowFlow(
            spec, self._slots, self._span, self._letters, self._rates, self._shown,
            call_batches, tracer, paced,
        )  # fmt: skip
        self.dispatcher = self._flow.dispatcher
        self._paused: set[TopicPartition] = set()
        self.watch = StreamWatch()
        self._reader = FetchReader(spec, self.watch, self._shown)
        self._continuity = Continuity(self.watch.warn)
        self._late = LateWatch(
            self.watch.warn, self._topics, spec.outputs.late, spec.limits.open_bytes
        )
        for slot, lanes in cuts.items():
            self.take_slot(slot, lanes)

    # -- asked ----------------------------------------------------------------------------

    def assignment(self) -> dict[TopicPartition, int]:
        """Where each partition is read from at the start."""
        return {
            TopicPartition(self._topics[name], lane): state.feed.lane.positions[name]
            for lane, state in self._lanes.items()
            if not state.leaving
            for name in state.feed.names
        }

    def ends_wanted(self, now_us: int) -> list[TopicPartition]:
        """Partitions whose stable ends a lane needs to go on; told back by ``on_ends``."""
        return [
            TopicPartition(self._topics[name], lane)
            for lane, state in self._lanes.items()
            if not state.leaving
            for name in state.feed.asks(now_us)
        ]

    def take_pauses(self) -> tuple[set[TopicPartition], set[TopicPartition]]:
        """What to pause and what to resume since the last call."""
        wanted = {
            TopicPartition(self._topics[name], lane)
            for lane, state in self._lanes.items()
            if not state.leaving
            for name in state.feed.ahead()
        }
        pause, resume = wanted - self._paused, self._paused - wanted
        self._paused = wanted
        return pause, resume

    def take_assignments(self, now_us: int) -> list[Assignment]:
        return self.dispatcher.assign(now_us)

    def take_deliveries(self) -> Deliveries:
        """By slot, the messages for its fusion half, in order."""
        taken = {slot: messages for slot, messages in self._deliveries.items() if messages}
        for slot in taken:
            self._deliveries[slot] = []
        return taken

    @property
    def commit_interval_us(self) -> int:
        return self._spec.commit_interval_us

    @property
    def finished(self) -> bool:
        """With ``ends``: whether everything up to them was closed, encoded and handed over."""
        return (
            self._ends is not None
            and all(s.feed.finished and not s.feed.changed for s in self._lanes.values())
            and not self._flow.unsettled
            and not any(self._deliveries.values())
        )

    @property
    def held_by(self) -> str | None:
        """A stage that has as many windows as it does in time; the lanes wait for it."""
        return self._flow.admission.held_by

    @property
    def replaying(self) -> bool:
        return any(state.feed.lane.replaying for state in self._lanes.values())

    @property
    def in_flight_bytes(self) -> dict[int, int]:
        return {slot: budget.in_flight_bytes for slot, budget in self._budgets.items()}

    @property
    def lanes(self) -> dict[int, LaneFeed]:
        return {lane: state.feed for lane, state in self._lanes.items()}

    def ends_shown(self) -> list[TopicPartition]:
        """Partitions whose stable ends must be asked for to show how far behind the lanes are."""
        if self._ends is not None:
            return []
        return [
            TopicPartition(topic, lane)
            for lane, state in self._lanes.items()
            if not state.leaving
            for topic in self._inputs
        ]

    def view(self, now_us: int, wall_us: int) -> IngestView:
        """How it stands now, in values of its own."""
        return self._shown.view(
            self.lanes,
            self.in_flight_bytes,
            len(self._paused),
            self.watch.copartition_violations,
            self._continuity,
            self.dispatcher.busy(now_us),
            self.dispatcher.queued(),
            {slot for slot, budget in self._budgets.items() if not budget.admits},
            self.held_by,
            now_us,
            wall_us,
        )

    # -- told -----------------------------------------------------------------------------

    def set_replicas(self, stage: str, replicas: Collection[str]) -> None:
        self._flow.set_replicas(stage, replicas)

    def set_limits(self, stage: str, batch_max: int, timeout_us: int, now_us: int) -> None:
        self._flow.set_limits(stage, batch_max, timeout_us, now_us)

    def on_fetches(self, fetches: Iterable[Fetch], now_us: int) -> None:
        """Reads what was fetched; lanes apply it in ``pump``."""
        for fetch in fetches:
            name = self._inputs[fetch.topic]
            records = self._reader.read(name, fetch.partition, fetch.records)
            replayed = self._lanes[fetch.partition].feed.add(name, records, fetch.position)
            if replayed:  # a stage may still find that it cannot decode them
                self._rates[name].count(now_us, replayed)

    def on_ends(
        self, ends: Mapping[TopicPartition, int], now_us: int, asked_us: int | None = None
    ) -> None:
        """``asked_us``: when they were asked for (None: now)."""
        for partition, end in ends.items():
            state = self._lanes[partition.partition]
            state.feed.merge.ends(self._inputs[partition.topic], end, now_us, asked_us)

    def on_batch(
        self, number: int, results: Sequence[JobResult], now_us: int, run: BatchRun | None = None
    ) -> None:
        self.dispatcher.done(number, results, now_us, run)
        self._flow.take_done(now_us)

    def on_batch_lost(self, number: int, cause: str, now_us: int) -> None:
        self.dispatcher.lost(number, cause, now_us)
        self._flow.take_done(now_us)

    def on_committed(self, slot: int, numbers: Mapping[int, int]) -> None:
        """By lane, the number of the newest cut of the slot that is committed."""
        budget = self._budgets.get(slot)
        if budget is None:  # it has left: its budget with it
            return
        for lane, number in numbers.items():
            budget.committed(lane, number)

    def pump(self, now_us: int) -> bool:
        """Applies what can be applied; whether there is more to do at once."""
        more = False
        for lane, state in self._lanes.items():
            more |= self._pump_lane(lane, state, now_us)
        self.dispatcher.expire(now_us)
        self._flow.take_done(now_us)
        for lane, state in self._lanes.items():
            if state.has_cut(now_us):
                self._cut(lane, state, now_us)
        return more

    # -- slots that come and go -----------------------------------------------------------

    def take_slot(self, slot: int, cuts: Mapping[int, LaneCut]) -> dict[TopicPartition, int]:
        """Goes on with a slot from the claimed cuts of its lanes; where each partition is read."""
        self._slots.take(slot, cuts)
        self._shown.take(slot, cuts)
        return {p: at for p, at in self.assignment().items() if p.partition in cuts}

    def leave_slot(self, slot: int) -> list[TopicPartition]:
        """Applies nothing more of a slot; what it has closed is finished. What to read no more."""
        lanes = self._slots.leave(slot)
        gone = [TopicPartition(topic, lane) for lane in lanes for topic in self._inputs]
        self._paused -= set(gone)
        return gone

    def take_left(self) -> dict[int, dict[int, int]]:
        """Slots that have left: all that they closed is settled, and was taken with its last cut.

        By slot and lane the number of that; a lane that made none has none. They are here no more.
        """
        left = {}
        for slot in self._slots.leaving:
            if self._deliveries[slot] or any(s.feed.changed for s in self._slots.of(slot).values()):
                continue
            lanes = self._slots.of(slot)
            if any(lane in lanes for lane, _ in self._flow.unsettled):
                continue
            left[slot] = self._slots.let_go(slot)
            self._shown.let_go(lanes)
        return left

    # -- how ------------------------------------------------------------------------------

    def _lane_ends(self, lane: int) -> dict[str, int] | None:
        if self._ends is None:
            return None
        return {
            name: self._ends[TopicPartition(topic, lane)] for name, topic in self._topics.items()
        }

    def _pump_lane(self, lane: int, state: LaneState, now_us: int) -> bool:
        feed, budget = state.feed, self._budgets[state.slot]
        if self._ends is not None and self._span.passed(feed.lane.floor_us):
            # No window that is asked for can come any more, wherever the logs end.
            self._flow.close(lane, state, feed.finish(feed.lane.positions) or [], now_us)
        if feed.finished or state.leaving:
            return False
        admission = self._flow.admission
        for _ in range(STEPS_MAX):
            if admission.held_by is not None or not budget.admits:
                return False
            step = feed.step(now_us)
            if step is None or isinstance(step, Waiting):
                break
            self._applied(lane, state, *step, now_us)
        else:
            return True
        feed.pass_gaps()
        ends = self._lane_ends(lane)
        if ends is not None:
            self._flow.close(lane, state, feed.finish(ends) or [], now_us)
        else:
            self._flow.close(lane, state, feed.silence(now_us), now_us)
        return False

    def _applied(
        self, lane: int, state: LaneState, record: LaneRecord, applied: Applied, now_us: int
    ) -> None:
        tally, name, body = state.tally, record.input, record.body
        if isinstance(body, UnsoundRecord):
            tally.record(record, 0)
            self._rates[name].count(now_us, 1, 1, body.error)
            tally.fate(name, "dead_letter", 1)
            self._produce(lane, state, self._letters.unsound(body))
            return
        self._rates[name].count(now_us, 1)
        self._shown.applied(lane, name, record.end_us)
        if body.facts.kind == "audio":
            self._continuity.applied(body)
        if self._span.limited:
            applied = self._span.applied(record, applied)
        self._late.applied(record, applied, now_us)
        tally.forced += applied.forced
        tally.record(record, applied.fused)
        if applied.late:
            tally.late += 1
            tally.fate(name, "late", len(applied.late))
            letter = self._letters.late(body.log, applied.late, applied.clock_us)
            self._produce(lane, state, letter)
        if applied.closed:
            self._flow.close(lane, state, applied.closed, now_us, record.append_us)

    def _produce(self, lane: int, state: LaneState, record: OutRecord) -> None:
        self._budgets[state.slot].take(lane, len(record.value or b"") + WINDOW_BYTES)
        self._deliveries[state.slot].append(Produced(lane, record))

    def _cut(self, lane: int, state: LaneState, now_us: int) -> None:
        message = state.make_cut(lane, now_us)
        self._budgets[state.slot].cut(lane, message.cut.number)
        self._deliveries[state.slot].append(message)
