"""What running a stage needs to know, and what building its clips gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.batching.batch import RecordId, StageJob
from pipeline.encoders.base import Clip
from pipeline.record import MediaRecord


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What running a stage needs of the pipeline file.

    ``of``: inputs and stages that it reads, in the file's order. ``before_us``, ``after_us``:
    the context that the file declares, without the margin that only feeds the resampler.
    ``upstream_lengths``: of the stages in ``of`` that give vectors, how long these are.
    ``length``: of its own vector, None where it gives none or it is not known.
    ``decode_time_us``: what decoding one record may take.
    """

    name: str
    of: tuple[str, ...]
    before_us: int = 0
    after_us: int = 0
    upstream_lengths: Mapping[str, int] = field(default_factory=dict)
    length: int | None = None
    decode_time_us: int = 5_000_000

    def range_us(self, job: StageJob) -> tuple[int, int]:
        """The window with its declared context: from, to."""
        return job.start_us - self.before_us, job.end_us + self.after_us

    def in_range(self, job: StageJob, *kinds: str) -> list[MediaRecord]:
        """Records of these kinds that overlap the window or its declared context."""
        low_us, high_us = self.range_us(job)
        return [
            record
            for record in job.records
            if record.facts.kind in kinds and record.ts_us < high_us and record.end_us > low_us
        ]

    def when(self, record: MediaRecord) -> tuple[int, int, int]:
        """The order of what a window holds: by time, then by place in ``of``, then by offset."""
        return record.ts_us, self.place(record.input), record.log.offset

    def place(self, name: str) -> int:
        return self.of.index(name) if name in self.of else len(self.of)


@dataclass(slots=True)
class BuiltClip:
    """A job's clip, None where nothing is left to encode, and what could not be decoded.

    ``failure``: why the clip is None though there is something. ``timed_out``: how many of its
    records were not, or not wholly, decoded because their time was up.
    """

    clip: Clip | None
    undecodable: list[tuple[RecordId, str]]
    failure: str | None = None
    timed_out: int = 0


Upstream = Sequence[tuple[str, object]]  # outputs of stages by name, in the order of ``of``
