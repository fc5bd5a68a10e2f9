"""The encoders of a job alone, on the batches that a run would give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from pipeline import clock
from pipeline.batching.dispatch import Assignment
from pipeline.benchmark.jobs import PARTITIONS
from pipeline.benchmark.order import Order
from pipeline.benchmark.payloads import make_payloads
from pipeline.benchmark.topics import fill, input_topics, make_topics, output_topics
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.encoders.checking import check_pipeline
from pipeline.encoders.running import EncodeTask
from pipeline.errors import MotetError
from pipeline.lane import LaneCut
from pipeline.slot.ports import Fetch, TopicPartition
from pipeline.spec import PipelineSpec
from pipeline.tasks.encode import encode_task
from pipeline.tasks.ingest import IngestTask


class Bare(NamedTuple):
    """``cpu_s``: of the thread that encoded."""

    windows: int
    seconds: float
    cpu_s: float


class BareEncoders:
    """Decodes, encodes and checks again and again what a backlog's batches hold; one thread.

    Invariant: each pass encodes every window of ``order`` once by every stage, in batches that
    the dispatcher of a run made. Stages that read other stages are none of the jobs'.
    """

    def __init__(self, order: Order) -> None:
        torch.set_num_threads(1)
        spec = order.spec
        lengths = check_pipeline(spec)
        self._windows = order.windows
        self._tasks = {
            stage: encode_task(spec, stage, torch.device("cpu"), lengths) for stage in spec.stages
        }
        self._batches = _batches(spec, order, self._tasks)

    def run(self, seconds: float) -> Bare:
        """Whole passes, for so long at least."""
        began_us, began_cpu_us = clock.monotonic_us(), clock.thread_us()
        passes = 0
        while not passes or clock.monotonic_us() - began_us < seconds * 1e6:
            for batch in self._batches:
                results = self._tasks[batch.stage].run(batch.jobs)
                failed = next((each.failure for each in results if each.failure), None)
                if failed is not None:
                    raise MotetError(f"{batch.stage} fails alone: {failed}; `motet try` shows it")
            passes += 1
        return Bare(
            passes * self._windows,
            (clock.monotonic_us() - began_us) / 1e6,
            (clock.thread_us() - began_cpu_us) / 1e6,
        )


def _batches(spec: PipelineSpec, order: Order, tasks: dict[str, EncodeTask]) -> list[Assignment]:
    """All batches of a backlog, as one replica of each stage gets them; each has run once."""
    connector = MemoryConnector(MemoryBroker())
    topics = input_topics(order.of, order.source)
    make_topics(connector, [*topics, *output_topics(spec.name)])
    fill(connector, order.of, order.source, order.begin_us, order.windows, make_payloads())
    source, control = connector.source(), connector.control()
    partitions = [each for topic in topics for each in _partitions(topic)]
    zeros = dict.fromkeys(spec.inputs, 0)
    cuts = {0: {lane: LaneCut(0, dict(zeros), dict(zeros)) for lane in range(PARTITIONS)}}
    task = IngestTask(spec, cuts, control.stable_ends(partitions), paced=False)
    for stage in tasks:
        task.set_replicas(stage, [stage])
    source.assign(task.assignment())
    return list(_drained(task, source.poll, tasks))


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(PARTITIONS)]


def _drained(
    task: IngestTask, poll: Callable[[float], list[Fetch]], tasks: dict[str, EncodeTask]
) -> list[Assignment]:
    taken: list[Assignment] = []
    while not task.finished:
        task.on_fetches(poll(0.0), 0)
        task.pump(0)
        for assignment in task.take_assignments(0):
            taken.append(assignment)
            results = tasks[assignment.stage].run(assignment.jobs)
            task.on_batch(assignment.number, results, 0)
        for deliveries in task.take_deliveries().values():
            for message in deliveries:
                cut = getattr(message, "cut", None)
                if cut is not None:
                    task.on_committed(0, {message.lane: cut.number})
    return taken
