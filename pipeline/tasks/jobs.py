"""From a closed window to the jobs of its stages (contract section 2: when a stage runs)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.batching.batch import RecordId, StageJob
from pipeline.lane import ClosedWindow
from pipeline.media.coverage import coverage
from pipeline.record import MediaRecord
from pipeline.spec import PipelineSpec
from pipeline.tasks.span import SpanFilter

_PLANS_MAX = 1024  # remembered; beyond it all are made anew


class Made(NamedTuple):
    """The jobs of one window by stage, in topological order, and what its result says of it."""

    jobs: dict[str, StageJob]
    missing: tuple[str, ...]
    coverage: dict[str, float]
    size_bytes: int


class _Plan(NamedTuple):
    """What follows from the inputs that are present in a window, whatever else it holds."""

    stages: tuple[_Stage, ...]
    missing: tuple[str, ...]
    audio: tuple[str, ...]  # inputs that are present


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    direct: tuple[str, ...]  # inputs that it reads itself
    reach: frozenset[str]  # inputs that it reads, directly or through stages
    before_us: int
    after_us: int


class JobMaker:
    """Makes jobs for one pipeline.

    Invariant: a stage runs for a window exactly where an input that it reads, directly or
    through stages, is present in it; it gets the records that overlap the window and its own
    context, and no others.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        self._stages: dict[str, _Stage] = {}
        self._plans: dict[tuple[str, ...], _Plan] = {}  # by the inputs that are present
        for name in spec.stage_order():
            stage = spec.stages[name]
            direct = tuple(source for source in stage.of if source in spec.inputs)
            before, after = spec.stage_context(name)
            reach = frozenset(spec.inputs_of(name))
            self._stages[name] = _Stage(name, direct, reach, before, after)
        readers = {name: spec.readers_of(name) for name in spec.inputs}
        # A part of a pipeline, as fine-tuning replays it, may leave an input unread.
        self._first_reader = {name: each[0] for name, each in readers.items() if each}
        self._inputs = sorted(spec.inputs)
        self._audio = [n for n in self._inputs if spec.inputs[n].media.kind == "audio"]
        self._span = SpanFilter(spec)

    def make(self, window: ClosedWindow) -> Made:
        plan = self._plans.get(window.present) or self._plan(window.present)
        low, high = window.start_us, window.end_us
        jobs = {}
        for stage in plan.stages:
            records = self._records(stage, window)
            jobs[stage.name] = StageJob(window.stream, low, high, records)
        covered = {name: coverage(window.content[name], low, high) for name in plan.audio}
        size = 0
        for kept in window.content.values():
            for record in kept:
                size += record.size_bytes
        return Made(jobs, plan.missing, covered, size)

    def read_by(self, stage: str, window: ClosedWindow) -> tuple[RecordId, ...]:
        """What a stage that failed had read in the window, directly or through stages."""
        low, high = window.start_us, window.end_us
        return tuple(
            _record_id(record.body)
            for name in sorted(self._stages[stage].reach)
            for record in window.content.get(name, ())
            if record.end_us > low and record.ts_us < high
        )

    def to_letter(
        self, stage: str, window: ClosedWindow, undecodable: Iterable[tuple[RecordId, str]]
    ) -> list[tuple[MediaRecord, str]]:
        """Which of the records that a stage could not decode are dead-lettered here.

        Each once over all windows and stages: with the last window that it overlaps, by the
        first stage in the file's order that reads it.
        """
        bodies = {
            _record_id(record.body): record.body
            for records in window.content.values()
            for record in records
        }
        letters = []
        for record_id, error in undecodable:
            body: MediaRecord = bodies[record_id]
            last_start_us = self._span.last_start_us(body.end_us)
            if window.start_us == last_start_us and self._first_reader[body.input] == stage:
                letters.append((body, error))
        return letters

    def _records(self, stage: _Stage, window: ClosedWindow) -> list[MediaRecord]:
        low = window.start_us - stage.before_us
        high = window.end_us + stage.after_us
        return [
            record.body
            for name in stage.direct
            for record in window.content.get(name, ())
            if record.end_us > low and record.ts_us < high
        ]

    def _plan(self, present: tuple[str, ...]) -> _Plan:
        if len(self._plans) >= _PLANS_MAX:
            self._plans.clear()
        stages = (s for s in self._stages.values() if not s.reach.isdisjoint(present))
        missing = (name for name in self._inputs if name not in present)
        audio = (name for name in self._audio if name in present)
        plan = self._plans[present] = _Plan(tuple(stages), tuple(missing), tuple(audio))
        return plan


def _record_id(record: MediaRecord) -> RecordId:
    return record.log.topic, record.log.partition, record.log.offset
