"""Closed windows on their way through the stages: opened, encoded, settled."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pipeline.batching.admission import Admission
from pipeline.batching.dispatch import Dispatcher, StageDone
from pipeline.batching.stage_queue import StageRule
from pipeline.lane import ClosedWindow
from pipeline.slot.budget import WINDOW_BYTES
from pipeline.slot.dead_letter_rate import DeadLetterRate
from pipeline.slot.ports import OutRecord
from pipeline.spec import PipelineSpec
from pipeline.tasks.ingest_slots import IngestSlots, LaneState
from pipeline.tasks.ingest_view import IngestFigures
from pipeline.tasks.jobs import JobMaker
from pipeline.tasks.letters import LetterBox
from pipeline.tasks.messages import Opened, Settled
from pipeline.tasks.span import SpanFilter
from pipeline.tasks.trace_context import trace_of
from pipeline.tasks.window_spans import IngestSpans
from pipeline.tracing import Tracer

Window = tuple[int, int]  # lane, number of the window in its lane


class WindowFlow:
    """What an ingest owner has closed and its fusion half does not have whole yet.

    Invariants: a window's ``Opened`` goes into its slot's messages in the order in which its lane
    closed it, before whatever its stages give; each of its stages is settled exactly once. What
    is closed while a stage has as much as it may have waits here, and its time begins later.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        slots: IngestSlots,
        wanted: SpanFilter,
        letters: LetterBox,
        rates: Mapping[str, DeadLetterRate],
        shown: IngestFigures,
        call_batches: int,
        tracer: Tracer | None,
        paced: bool,
    ) -> None:
        """``wanted``: asked of each window that closes. The others as ``IngestTask`` has them."""
        self._slots = slots
        self._wanted = wanted
        self._letters = letters
        self._rates = rates
        self._shown = shown
        self._spans = None if tracer is None else IngestSpans(tracer)
        self._jobs = JobMaker(spec)
        rules = _stage_rules(spec, call_batches)
        self.dispatcher = Dispatcher(rules, shown)
        self.admission: Admission[Window] = Admission(rules, paced)
        self._open: dict[Window, ClosedWindow] = {}
        self.unsettled: dict[Window, int] = {}

    def close(
        self,
        lane: int,
        state: LaneState,
        closed: Sequence[ClosedWindow],
        now_us: int,
        append_us: int | None = None,
    ) -> None:
        """Windows that a lane has closed; ``append_us``: when what closed them was appended."""
        for window in self._wanted.closed(closed):
            state.windows += 1
            key = (lane, state.windows)
            made = self._jobs.make(window)
            self._slots.budgets[state.slot].take(lane, made.size_bytes + WINDOW_BYTES)
            for name in made.missing:
                state.tally.missing(name)
            trace, closed_us = trace_of(window), None
            if self._spans is not None:
                closed_us = self._spans.closed(
                    key, window.stream, window.start_us, trace, append_us, now_us
                )
            self._open[key] = window
            self.unsettled[key] = len(made.jobs)
            self._slots.deliveries[state.slot].append(
                Opened(
                    lane,
                    state.windows,
                    window.stream,
                    window.start_us,
                    window.end_us,
                    window.present,
                    made.missing,
                    made.coverage,
                    tuple(made.jobs),
                    append_us,
                    trace,
                    closed_us,
                )
            )
            self.admission.put(key, made.jobs)
        self._submit(now_us)

    def set_replicas(self, stage: str, replicas: Collection[str]) -> None:
        self.dispatcher.set_replicas(stage, replicas)
        self.admission.set_replicas(stage, len(replicas))

    def set_limits(self, stage: str, batch_max: int, timeout_us: int, now_us: int) -> None:
        rule = self.dispatcher.set_limits(stage, batch_max, timeout_us, now_us)
        self.admission.set_rule(rule)

    def take_done(self, now_us: int) -> None:
        """Tells the fusion halves what the dispatcher has settled since the last call."""
        for done in self.dispatcher.take_done():
            key: Window = done.window  # type: ignore[assignment]
            lane, number = key
            window = self._open[key]
            state = self._slots.lanes[lane]
            self._shown.settled(done.stage, done.result.failure, now_us)
            message = Settled(
                lane,
                number,
                done.stage,
                done.result.output,
                done.result.failure,
                self._jobs.read_by(done.stage, window) if done.result.failure else (),
                self._undecodable(state, window, done, now_us) if done.result.undecodable else (),
            )
            self._slots.deliveries[state.slot].append(message)
            self.unsettled[key] -= 1
            last = not self.unsettled[key]
            self.admission.settled(key, done, now_us, last)
            if self._spans is not None:
                self._spans.settled(key, done, now_us, last)
            if last:
                del self.unsettled[key], self._open[key]
        self._submit(now_us)

    def _submit(self, now_us: int) -> None:
        for key, jobs in self.admission.take(now_us):
            self.dispatcher.submit(key, jobs, now_us)

    def _undecodable(
        self, state: LaneState, window: ClosedWindow, done: StageDone, now_us: int
    ) -> tuple[OutRecord, ...]:
        letters = []
        for record, error in self._jobs.to_letter(done.stage, window, done.result.undecodable):
            self._rates[record.input].count(now_us, 0, 1, error)
            state.tally.fate(record.input, "dead_letter", 1)
            state.feed.changed = True  # counts are committed with a cut
            letters.append(self._letters.undecodable(record.log, done.stage, error))
        return tuple(letters)


def _stage_rules(spec: PipelineSpec, call_batches: int) -> list[StageRule]:
    return [
        StageRule(
            stage.name,
            tuple(name for name in stage.of if name in spec.stages),
            stage.batch_max,
            stage.timeout_us,
            call_batches,
            any(s in spec.inputs and spec.inputs[s].media.kind == "video" for s in stage.of),
        )
        for stage in (spec.stages[name] for name in spec.stage_order())
    ]
