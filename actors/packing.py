"""Batches on their way to an encoder: all payloads as one array, which Ray shares without a copy.

Ray copies every ``bytes`` object of an argument, but maps a numpy array of the object store
straight into the reader's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.batching.batch import StageJob
from pipeline.record import MediaRecord
from pipeline.slot.ports import LogRecord


class PackedBatch(NamedTuple):
    """Jobs without payloads: ``jobs`` name records by place, ``records`` slices of ``payloads``."""

    jobs: list[tuple[str, int, int, list[int], dict[str, Any]]]
    records: list[tuple[Any, ...]]
    payloads: NDArray[np.uint8]


def pack(jobs: Sequence[StageJob]) -> PackedBatch:
    """Each distinct record once, even where several windows share it."""
    places: dict[int, int] = {}
    records: list[tuple[Any, ...]] = []
    payloads: list[bytes | memoryview] = []
    begin = 0
    packed = []
    for job in jobs:
        held = []
        for record in job.records:
            place = places.get(id(record))
            if place is None:
                place = places[id(record)] = len(records)
                end = begin + len(record.payload)
                log = record.log
                records.append(
                    (record.input, record.ts_us, record.end_us, record.facts,
                     log.topic, log.partition, log.offset, begin, end)
                )  # fmt: skip
                payloads.append(record.payload)
                begin = end
            held.append(place)
        packed.append((job.stream, job.start_us, job.end_us, held, job.upstream))
    return PackedBatch(packed, records, np.frombuffer(b"".join(payloads), np.uint8))


def unpack(batch: PackedBatch) -> list[StageJob]:
    """The jobs again; a record's log entry keeps its place, not its key or headers."""
    view = memoryview(batch.payloads)  # type: ignore[arg-type]  # numpy has buffers
    records = [
        (name, ts_us, end_us, facts, view[a:b], LogRecord(topic, lane, offset, 0, None, None, ()))
        for name, ts_us, end_us, facts, topic, lane, offset, a, b in batch.records
    ]
    jobs = []
    built: dict[int, MediaRecord] = {}
    for stream, start_us, end_us, held, upstream in batch.jobs:
        for place in held:
            if place not in built:
                name, *rest = records[place]
                built[place] = MediaRecord(name, stream, *rest)
        jobs.append(StageJob(stream, start_us, end_us, [built[p] for p in held], upstream))
    return jobs
