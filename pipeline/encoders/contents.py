"""What the records of a batch hold, decoded once each, however many windows hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.batching.batch import RecordId, StageJob
from pipeline.encoders.decode_pool import DecodePool
from pipeline.encoders.lender import Lender
from pipeline.encoders.plan import BuiltClip
from pipeline.encoders.quiet import QUIET
from pipeline.errors import UndecodableRecord
from pipeline.media.decode import decode_audio, decode_image, decode_text
from pipeline.media.time_limit import DecodeTimeout
from pipeline.record import MediaRecord

_DECODERS: dict[str, Callable[..., Any]] = {
    "audio": decode_audio,
    "image": decode_image,
    "text": decode_text,
}
# Read faster than another thread is told of them.
_CHEAP_FORMATS = frozenset({"S16BE", "S16LE", "F32LE", "wav", "text"})


def record_id(record: MediaRecord) -> RecordId:
    """``(topic, partition, offset)``: what names a record in a dead letter."""
    return record.log.topic, record.log.partition, record.log.offset


def is_costly(record: MediaRecord) -> bool:
    """Whether decoding it takes longer than handing it to another thread."""
    return record.facts.format not in _CHEAP_FORMATS


def any_costly(jobs: Sequence[StageJob]) -> bool:
    """Whether one of the records of a batch is: a look at each, and no call."""
    return any(each.facts.format not in _CHEAP_FORMATS for job in jobs for each in job.records)


class Contents:
    """Of the records that are no films; costly ones are decoded by the pool."""

    def __init__(self, pool: DecodePool, lender: Lender, decode_time_us: int) -> None:
        self._pool = pool
        self._lender = lender
        self._decode_time_us = decode_time_us
        self._found: dict[RecordId, Any] = {}  # a content, an UndecodableRecord, or their future

    def begin(self, records: Sequence[MediaRecord]) -> None:
        """Starts decoding those that are costly."""
        for record in records:
            name = record_id(record)
            if name not in self._found and is_costly(record):
                self._found[name] = self._pool.submit(partial(self._decoded, record))

    def of(self, record: MediaRecord) -> Any:
        """What it holds, or the UndecodableRecord that says why that is not known."""
        name = record_id(record)
        found = self._found.get(name)
        if found is None:
            found = self._decoded(record)
        elif isinstance(found, Future):
            found = found.result()
        self._found[name] = found
        return found

    def sound(
        self, built: BuiltClip, records: Sequence[MediaRecord]
    ) -> tuple[list[MediaRecord], list[Any]]:
        """The records that can be decoded, and what they hold; the others are noted down."""
        sound, contents = [], []
        for record in records:
            content = self.of(record)
            if isinstance(content, UndecodableRecord):
                built.undecodable.append((record_id(record), " ".join(str(content).split())))
                built.timed_out += isinstance(content, DecodeTimeout)
            else:
                sound.append(record)
                contents.append(content)
        return sound, contents

    def own(self, record: MediaRecord) -> NDArray[np.uint8]:
        """The picture that it holds, for one clip alone."""
        return self._lender.own(record_id(record), self.of(record))

    def _decoded(self, record: MediaRecord) -> Any:
        limit = self._pool.limit(self._decode_time_us)
        try:
            with QUIET:
                return _DECODERS[record.facts.kind](record.facts, record.payload, limit)
        except UndecodableRecord as error:
            return error.with_traceback(None)
