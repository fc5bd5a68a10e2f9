"""The encoders' replicas as one simulated owner sees them: batches out, results back, deaths."""

from __future__ import annotations

from collections.abc import Callable

from sim_around import Around

from pipeline.batching.batch import JobResult
from pipeline.batching.dispatch import DEATHS_MAX, Assignment
from pipeline.spec import PipelineSpec
from pipeline.tasks.ingest import IngestTask

Alone = tuple[str, str, int]  # stage, stream and start of a window that is alone in its batch


class Replicas:
    """All stages' replicas of one owner, each with the batches that it holds.

    A batch is run, lost, or both at once: what a replica has done may be lost on its way back.
    """

    def __init__(
        self, spec: PipelineSpec, task: IngestTask, around: Around, now_us: Callable[[], int]
    ) -> None:
        self._task = task
        self._around = around
        self._now_us = now_us
        self._names: dict[str, list[str]] = {stage: [] for stage in spec.stages}
        self._batch_max = {name: stage.batch_max for name, stage in spec.stages.items()}
        self._serial = 0
        self._deaths: dict[Alone, int] = {}
        self.batches: dict[int, Assignment] = {}
        self.results: list[tuple[int, list[JobResult]]] = []
        for stage in spec.stages:
            for _ in range(around.replicas):
                self.join(stage)

    @property
    def idle(self) -> bool:
        return not self.batches and not self.results

    def take(self) -> None:
        """Hands on what the task assigns."""
        for assignment in self._task.take_assignments(self._now_us()):
            assert assignment.replica in self._names[assignment.stage]
            if len(assignment.jobs) > self._batch_max[assignment.stage]:
                self._around.sometimes("two batches went in one call")
            self.batches[assignment.number] = assignment

    def encode(self) -> None:
        """A replica runs one of its batches; what came of it is on its way."""
        assignment = self.batches.pop(self._around.rng.choice(list(self.batches)))
        results = self._around.encoders[assignment.stage].run(assignment.jobs)
        self.results.append((assignment.number, results))

    def tell(self) -> None:
        """Some batch's results arrive."""
        number, results = self.results.pop(self._around.rng.randrange(len(self.results)))
        self._task.on_batch(number, results, self._now_us())

    # -- coming and going -------------------------------------------------------------------

    def join(self, stage: str) -> None:
        self._serial += 1
        self._names[stage].append(f"{stage}-{self._serial}")
        self._task.set_replicas(stage, self._names[stage])

    def missing(self) -> list[str]:
        """Stages that have fewer replicas than they should."""
        return [stage for stage, names in self._names.items() if len(names) < self._around.replicas]

    def suspected(self) -> list[Assignment]:
        """Batches of one window that was alone in a lost batch before."""
        return [a for a in self.batches.values() if self._deaths.get(_alone(a))]

    def lose(self) -> None:
        """A replica dies with all that it has; at times only a batch's call fails."""
        rng = self._around.rng
        chosen = rng.choice(list(self.batches.values()))
        suspected = self.suspected()
        if suspected and rng.random() < 0.8:
            chosen = rng.choice(suspected)
        dies = rng.random() < 0.7
        lost = self._held(chosen.replica) if dies else [chosen]
        alone = [_alone(batch) for batch in lost if len(batch.jobs) == 1]
        if any(self._deaths.get(each, 0) >= self._around.deaths_alone_max for each in alone):
            return
        for each in alone:
            self._deaths[each] = self._deaths.get(each, 0) + 1
            if self._deaths[each] == DEATHS_MAX:
                self._around.sometimes("a window lost alone as often as it may be")
        if any(len(batch.jobs) > 1 for batch in lost):
            self._around.sometimes("suspects")
        self._around.sometimes("a replica died" if dies else "a batch's call failed")
        if dies:
            self._leave(chosen.stage, chosen.replica)
        rng.shuffle(lost)
        for batch in lost:
            self._lost(batch)

    def end_overdue(self) -> None:
        """A replica that hangs is killed; its windows have failed by then."""
        for replica in self._task.dispatcher.overdue(self._now_us()):
            for batch in self._held(replica):
                self._leave(batch.stage, replica)
                self._lost(batch)
                self._around.sometimes("a replica that hung was killed")

    def _held(self, replica: str) -> list[Assignment]:
        return [batch for batch in self.batches.values() if batch.replica == replica]

    def _leave(self, stage: str, replica: str) -> None:
        self._names[stage] = [name for name in self._names[stage] if name != replica]
        self._task.set_replicas(stage, self._names[stage])

    def _lost(self, batch: Assignment) -> None:
        del self.batches[batch.number]
        self._task.on_batch_lost(batch.number, "its replica died", self._now_us())


def _alone(batch: Assignment) -> Alone:
    return batch.stage, batch.jobs[0].stream, batch.jobs[0].start_us
