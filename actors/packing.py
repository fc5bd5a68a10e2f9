"""Values on their way between actors, in the shape that Ray carries cheaply.

Ray copies every ``bytes`` object of an argument twice, and pickles every small array on its own;
a buffer beside the pickle goes into shared memory by one copy, and is read there without any.
"""

from __future__ import annotations

from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.batching.batch import JobResult, StageJob
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord
from pipeline.tasks.messages import Message, Settled


class PackedBatch(NamedTuple):
    """Jobs without payloads: ``jobs`` name records by place, each record has its payload.

    A job's last number is the time that is left to it: clocks of two nodes have nothing in common.
    """

    jobs: list[tuple[str, int, int, list[int], dict[str, Any], int | None]]
    records: list[tuple[Any, ...]]
    payloads: list[PickleBuffer]


def pack(jobs: Sequence[StageJob], now_us: int) -> PackedBatch:
    """Each distinct record once, even where several windows share it."""
    places: dict[int, int] = {}
    records: list[tuple[Any, ...]] = []
    payloads: list[PickleBuffer] = []
    packed = []
    for job in jobs:
        held = []
        for record in job.records:
            place = places.get(id(record))
            if place is None:
                place = places[id(record)] = len(records)
                log = record.log
                records.append(
                    (record.input, record.ts_us, record.end_us, record.facts,
                     log.topic, log.partition, log.offset)
                )  # fmt: skip
                payloads.append(PickleBuffer(record.payload))
            held.append(place)
        left_us = None if job.deadline_us is None else job.deadline_us - now_us
        packed.append((job.stream, job.start_us, job.end_us, held, job.upstream, left_us))
    return PackedBatch(packed, records, payloads)


def unpack(batch: PackedBatch, now_us: int) -> list[StageJob]:
    """The jobs again; a record's log entry keeps its place, not its key or headers."""
    built: dict[int, MediaRecord] = {}
    jobs = []
    for stream, start_us, end_us, held, upstream, left_us in batch.jobs:
        for place in held:
            if place not in built:
                name, ts_us, end_at_us, facts, topic, lane, offset = batch.records[place]
                log = LogRecord(topic, lane, offset, 0, None, None, ())
                payload = memoryview(batch.payloads[place])
                built[place] = MediaRecord(name, stream, ts_us, end_at_us, facts, payload, log)
        records = [built[place] for place in held]
        deadline_us = None if left_us is None else now_us + left_us
        jobs.append(StageJob(stream, start_us, end_us, records, upstream, deadline_us))
    return jobs


class Rows(NamedTuple):
    """Vectors of one length as the rows of one array; all other values stay as they are.

    ``values[i]`` is what ``unstack`` gives at i, where it is not the next row.
    """

    rows: NDArray[np.float32]
    values: list[Any]


class _Row:
    """Stands where a row belongs. One for all, so that it pickles as a reference."""

    def __reduce__(self) -> str:
        return "ROW"


ROW = _Row()


def stack(values: Sequence[Any]) -> Rows:
    """Takes the vectors of the first vector's length out of the values."""
    length = next((len(v) for v in values if _is_vector(v)), None)
    rows = [v for v in values if _is_vector(v) and len(v) == length]
    if not rows:
        return Rows(np.empty((0, 0), np.float32), list(values))
    rest = [ROW if _is_vector(v) and len(v) == length else v for v in values]
    return Rows(np.stack(rows), rest)


def unstack(stacked: Rows) -> list[Any]:
    rows = iter(stacked.rows)
    return [next(rows) if value is ROW else value for value in stacked.values]


def _is_vector(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1


PackedResults = tuple[Rows, dict[int, JobResult]]


def pack_results(results: Sequence[JobResult]) -> PackedResults:
    """Outputs, and apart from them the few results that have more to tell."""
    told = {i: r for i, r in enumerate(results) if r.failure is not None or r.undecodable}
    return stack([result.output for result in results]), told


def unpack_results(packed: PackedResults) -> list[JobResult]:
    outputs, told = packed
    return [told.get(i) or JobResult(output) for i, output in enumerate(unstack(outputs))]


PackedMessages = tuple[list[Message], dict[str, Rows]]


def pack_messages(messages: Sequence[Message]) -> PackedMessages:
    """Messages, with the vectors of each stage taken out of them."""
    by_stage: dict[str, list[Any]] = {}
    bare: list[Message] = []
    for message in messages:
        if isinstance(message, Settled) and _is_vector(message.output):
            by_stage.setdefault(message.stage, []).append(message.output)
            message = message._replace(output=ROW)
        bare.append(message)
    return bare, {stage: stack(outputs) for stage, outputs in by_stage.items()}


def unpack_messages(packed: PackedMessages) -> list[Message]:
    bare, stacked = packed
    outputs = {stage: iter(unstack(rows)) for stage, rows in stacked.items()}
    return [
        m._replace(output=next(outputs[m.stage])) if isinstance(m, Settled) and m.output is ROW
        else m
        for m in bare
    ]  # fmt: skip
