"""The fusion half of slots: outputs joined to windows, fused, and committed at cuts.

It is told messages and commits, and asked which transactions are due; the host runs them
(``pipeline.slot.committer``), slots of one owner side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType

from pipeline.batching.batch import RecordId
from pipeline.connectors.limits import batch_bytes
from pipeline.fusion.linear import Fused
from pipeline.fusion.rules import Fuser, Vectors
from pipeline.lane import LaneCut
from pipeline.slot.ledger import Batch
from pipeline.slot.ports import OutRecord
from pipeline.spec import PipelineSpec
from pipeline.tasks.drift_watch import DriftWatch
from pipeline.tasks.figures import Figures
from pipeline.tasks.fusion_slot import Model, Pending, Slot
from pipeline.tasks.letters import LetterBox, reason_of
from pipeline.tasks.messages import Message, Opened, Produced, Settled
from pipeline.tasks.results import ResultWriter
from pipeline.tasks.stage_output import StageOutputs, VectorRow
from pipeline.tasks.totals import Totals
from pipeline.tasks.window_spans import FusionSpans
from pipeline.tracing import Tracer

AROUND_BYTES = 4096  # key, headers and frame of a result or a stage's output: always less


class FusionTask:
    """All slots of one fusion owner.

    Invariants: a window is fused when each of its stages is settled, once; what a transaction
    holds is a contiguous prefix of each lane up to a complete cut (``Ledger``); counts are
    added where their cut is committed, so that a recovery counts nothing twice. A window is
    fused by the head that was in force when it was opened, so in each lane's results, whose
    order is that of opening, a swap shows at one window's boundary.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        lengths: Mapping[str, int],
        slots: Iterable[int],
        message_bytes: Mapping[str, int] = MappingProxyType({}),
        fuser: Fuser | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """``lengths``: of the vectors of the stages that give one.

        ``message_bytes``: by output topic the largest record that it takes (``Layout``).
        ``fuser``: with the head that the host has; without it the file's is read.
        ``tracer``: takes the spans of sampled windows.
        """
        self._spans = None if tracer is None else FusionSpans(tracer)
        self._spec = spec
        self._model = self._model_of(fuser or Fuser.of(spec, lengths))
        has_own = any(stage.out for stage in spec.stages.values())
        self._stage_outputs = StageOutputs(spec) if has_own else None
        self._message_bytes = message_bytes
        self._result_bytes = message_bytes.get(spec.outputs.results, inf) - AROUND_BYTES
        self._letters = LetterBox(
            spec.outputs.late, spec.outputs.dead_letter, spec.limits.record_bytes, message_bytes
        )
        self._slots: dict[int, Slot] = {}
        self._vector_stages = frozenset(lengths)
        self.totals = Totals.begun(spec.inputs)
        self.figures = Figures()
        self.figures.begin("motet_end_to_end_seconds")
        self.figures.begin("motet_commit_seconds")
        for slot in slots:
            self.take_slot(slot)
        self._drift = DriftWatch(self.figures, self._model.fuser, spec.fusion.normalize)

    @property
    def head_hash(self) -> str | None:
        """Of the head that windows get which are opened from now on."""
        return self._model.fuser.head_hash

    def swap(self, fuser: Fuser) -> None:
        """Windows that are opened from now on are fused by this one."""
        self._model = self._model_of(fuser)
        self._drift.follow(fuser)
        self._count_swaps(1)

    def take_slot(self, slot: int) -> None:
        """Its messages come from now on; it has been claimed."""
        if slot in self._slots:
            raise ValueError(f"slot {slot} is here already")
        self._slots[slot] = Slot(slot)
        self.figures.count("motet_head_swaps_total", 0, str(slot))

    def has_left(self, slot: int, numbers: Mapping[int, int]) -> bool:
        """Whether all is committed up to these cuts: by lane, the last that ingest has made."""
        state = self._slots[slot]
        return state.committing is None and all(
            lane in state.cuts and state.cuts[lane].number >= number
            for lane, number in numbers.items()
        )

    def let_go(self, slot: int) -> dict[int, LaneCut]:
        """The slot is here no more; by lane the newest cut that this owner has committed."""
        state = self._slots[slot]
        if state.committing is not None or not state.ledger.empty:
            raise ValueError(f"slot {slot} holds what is not committed")
        del self._slots[slot]
        return state.cuts

    def on_messages(self, slot: int, messages: Sequence[Message]) -> None:
        """Takes what the slot's ingest half sent, in order."""
        state = self._slots[slot]
        ready: list[Pending] = []
        for message in messages:
            if isinstance(message, Settled):
                self._settled(state, message, ready)
            elif isinstance(message, Opened):
                if self._spans is not None:
                    message = self._spans.opened(message)
                entry = state.ledger.add(message.lane)
                pending = Pending(message, entry, state.ledger, self._model, {}, {})
                state.pending[message.lane, message.window] = pending
                if message.append_us is not None:
                    state.appends_now[message.lane].append(message.append_us)
            elif isinstance(message, Produced):
                state.ledger.add(message.lane, [message.record])
                state.output = True
            else:
                key = (message.lane, message.cut.number)
                state.ledger.cut(message.lane, message.cut)
                state.counts[key] = message.counts
                if self._spans is not None:
                    self._spans.cut(*key)
                if message.lane in state.appends_now:
                    state.appends[key] = Counter(state.appends_now.pop(message.lane))
                state.ended |= message.last
        if ready:
            state.output = True
            self._fuse(ready)

    def due(self, now_us: int) -> dict[int, Batch]:
        """The transactions to run now; each slot has at most one at a time."""
        batches = {}
        for slot, state in self._slots.items():
            if state.committing is not None:
                continue
            if now_us < state.due_us(self._spec.commit_interval_us):
                continue
            batch = state.ledger.take()
            if batch is not None:
                if self._stage_outputs is not None:
                    batch.records = self._stage_outputs.packed(batch.records)
                state.committing = batch
                if self._spans is not None:
                    self._spans.taken(slot)
                state.begun(now_us, self._spec.commit_interval_us, len(batch.records))
                batches[slot] = batch
        return batches

    def next_due_us(self) -> int | None:
        """When ``due`` may have something; None where nothing is waiting."""
        times = [
            state.due_us(self._spec.commit_interval_us)
            for state in self._slots.values()
            if state.committing is None and state.ledger.touched
        ]
        return min(times, default=None)

    def on_committed(self, slot: int, wall_us: int | None = None) -> dict[int, int]:
        """The slot's transaction took place; returns by lane the cut that is committed now.

        ``wall_us``: when, by the wall clock; without it nothing is told of how old results are.
        """
        state = self._slots[slot]
        batch = state.committing
        assert batch is not None
        state.committing = None
        state.cuts |= batch.cuts
        numbers = {lane: cut.number for lane, cut in batch.cuts.items()}
        if self._spans is not None:
            self._spans.committed(slot, numbers, wall_us)
        for key in [k for k in state.counts if k[0] in numbers and k[1] <= numbers[k[0]]]:
            self.totals.add_counts(state.counts.pop(key))
            for append_us, windows in state.appends.pop(key, Counter()).items():
                if wall_us is not None:
                    age_s = max(0, wall_us - append_us) / 1e6
                    self.figures.observe("motet_end_to_end_seconds", age_s, times=windows)
        outputs = self._spec.outputs
        self.totals.windows += sum(r.topic == outputs.results for r in batch.records)
        for record in batch.records:
            if record.topic == outputs.dead_letter:
                self.totals.add_letter(reason_of(record))
        return numbers

    def committing(self, slot: int) -> bool:
        return self._slots[slot].committing is not None

    @property
    def committable(self) -> bool:
        """Whether something is being committed, or can be without what is still to come."""
        return any(s.committing is not None or s.ledger.touched for s in self._slots.values())

    @property
    def idle(self) -> bool:
        """Whether everything that was delivered is committed."""
        return all(s.committing is None and s.ledger.empty for s in self._slots.values())

    # -- how ------------------------------------------------------------------------------

    def _settled(self, state: Slot, message: Settled, ready: list[Pending]) -> None:
        key = (message.lane, message.window)
        pending = state.pending[key]
        if message.failure is None:
            pending.outputs[message.stage] = message.output
        else:
            self._fail(pending, message.stage, message.failure, message.records)
        pending.beside += message.dead_letters
        if len(pending.outputs) + len(pending.failed) == len(pending.opened.stages):
            del state.pending[key]
            ready.append(pending)

    def _model_of(self, fuser: Fuser) -> Model:
        return Model(fuser, ResultWriter(self._spec, fuser.head_hash))

    def _count_swaps(self, times: int) -> None:
        for slot in self._slots:
            self.figures.count("motet_head_swaps_total", times, str(slot))

    def _fuse(self, ready: Sequence[Pending]) -> None:
        """Fuses windows together; what comes out for one does not depend on the others."""
        if self._spans is not None:
            self._spans.ready(window.opened for window in ready)
        for model in dict.fromkeys(window.model for window in ready):
            windows = [window for window in ready if window.model is model]
            if model.fuser.references:
                self._drift.take(model.fuser, [self._vectors(window) for window in windows])
            fused = model.fuser.fuse_many([window.outputs for window in windows])
            if self._stage_outputs is not None:
                for window in windows:  # before the results, which tell what was too large
                    self._add_own(self._stage_outputs, window)
            results = model.writer.write(windows, fused)
            for window, whole, result in zip(windows, fused, results, strict=True):
                if len(result.value or b"") > self._result_bytes:
                    result = self._cut_down(window, whole, result)
                window.ledger.complete(window.entry, (result, *window.beside))
        if self._spans is not None:
            self._spans.fused(window.opened for window in ready)

    def _vectors(self, window: Pending) -> Vectors:
        return {stage: o for stage, o in window.outputs.items() if stage in self._vector_stages}

    def _add_own(self, outputs: StageOutputs, window: Pending) -> None:
        """Records of the stages' own topics; what its topic would refuse is a failure instead."""
        fitting = []
        for stage, record in outputs.of_window(window.opened, window.outputs):
            if isinstance(record, VectorRow) or self._fits(record):
                fitting.append(record)
            else:
                self._too_large(window, stage, record.topic)
        window.beside = (*fitting, *window.beside)

    def _cut_down(self, window: Pending, fused: Fused, result: OutRecord) -> OutRecord:
        """The result without texts and data that it would be refused with: largest first."""
        while not self._fits(result):
            sizes = {
                stage: len(str(output)) + len(str(getattr(output, "data", "")))
                for stage, output in window.outputs.items()
                if isinstance(output, str | dict)
            }
            if not sizes:
                break
            self._too_large(window, max(sizes, key=sizes.__getitem__), result.topic)
            [result] = window.model.writer.write([window], [fused])
        return result

    def _too_large(self, window: Pending, stage: str, topic: str) -> None:
        del window.outputs[stage]
        failure = f"its output is over max.message.bytes of {topic}; raise it, or give less"
        self._fail(window, stage, failure, ())

    def _fits(self, record: OutRecord) -> bool:
        limit = self._message_bytes.get(record.topic)
        if limit is None or len(record.value or b"") + AROUND_BYTES <= limit:
            return True
        return batch_bytes(record) <= limit

    def _fail(self, window: Pending, stage: str, failure: str, records: Sequence[RecordId]) -> None:
        opened = window.opened
        window.failed[stage] = failure
        letter = self._letters.failed(
            opened.lane, opened.stream, (opened.start_us, opened.end_us), stage, failure, records
        )
        window.beside += (letter,)
