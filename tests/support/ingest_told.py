"""An ingest task that is told fetches, ends and results by hand."""

from __future__ import annotations

from pipelines import LOBBY, jpeg, load

from pipeline.batching.batch import JobResult
from pipeline.lane import LaneCut
from pipeline.slot.ports import Fetch, LogRecord, TopicPartition
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.results import rfc3339

TOPICS = ("in.mic", "in.cam", "in.chat")
RED = jpeg((255, 0, 0))
START = {"mic": 0, "cam": 0, "chat": 0}


def raw(topic: str, offset: int, ts_us: int, value: bytes = RED, lane: int = 0, key=b"s"):
    headers = [("ce_time", rfc3339(ts_us))]
    return LogRecord(topic, lane, offset, ts_us, key, value, headers)


class Told:
    """An ingest task, and what it was told so far."""

    def __init__(self, changes=None, lanes=(0,), cut: LaneCut | None = None, paced=False) -> None:
        spec = load(LOBBY, {"slots": 2, **(changes or {})})
        self.now_us = 0
        cuts: dict[int, dict[int, LaneCut]] = {}
        for lane in lanes:
            cuts.setdefault(lane % 2, {})[lane] = cut or LaneCut(0, START, dict(START))
        self.task = IngestTask(spec, cuts, paced=paced)
        for stage in spec.stages:
            self.task.set_replicas(stage, [f"{stage}-0"])

    def fetch(self, *records: LogRecord, position: int | None = None) -> None:
        first = records[0]
        at = records[-1].offset + 1 if position is None else position
        self.task.on_fetches([Fetch(first.topic, first.partition, list(records), at)], self.now_us)

    def ends(self, lane: int = 0, **ends: int) -> None:
        found = {TopicPartition(f"in.{name}", lane): end for name, end in ends.items()}
        self.task.on_ends(found, self.now_us)

    def pump(self) -> list:
        self.task.pump(self.now_us)
        return [m for messages in self.task.take_deliveries().values() for m in messages]

    def waiting(self) -> list[str | None]:
        return [lane.waiting for lane in self.task.view(self.now_us, 0).lanes]

    def overdue(self) -> bool:
        [lane] = self.task.view(self.now_us, 0).lanes
        return lane.overdue

    def encode(self, output="done") -> list:
        """Runs all batches that are there; what came of it."""
        while batches := self.task.take_assignments(self.now_us):
            for batch in batches:
                results = [JobResult(output) for _ in batch.jobs]
                self.task.on_batch(batch.number, results, self.now_us)
        return [m for messages in self.task.take_deliveries().values() for m in messages]


def kinds(messages) -> list[str]:
    return [type(m).__name__ for m in messages]
