"""What a stage is asked to do, and what comes back: the values between ingest and encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.record import MediaRecord

RecordId = tuple[str, int, int]  # topic, partition, offset
TIMEOUT = "timeout"  # the failure of a job that its stage did not do in time


@dataclass(slots=True)
class StageJob:
    """One closed window for one stage.

    ``records``: of all inputs that the stage reads, its own context included, by the order
    of the inputs in the stage's ``of``, then in log order. ``upstream``: outputs of the
    stages that it reads (those that gave one), by name. ``deadline_us``: when its stage's
    ``timeout`` has passed, by the monotonic clock of the process that holds it; None: never.
    """

    stream: str
    start_us: int
    end_us: int
    records: list[MediaRecord] = field(default_factory=list)
    upstream: dict[str, Any] = field(default_factory=dict)
    deadline_us: int | None = None


@dataclass(slots=True)
class JobResult:
    """The output of one job, or why there is none; and the records that could not be decoded.

    ``failure`` is None exactly where ``output`` is what the encoder gave. ``timed_out``: how many
    records were not, or not wholly, decoded within ``limits.decode_time``. ``prepare_us``: its
    share of the time in which records were decoded and clips laid out, before the encoder ran.
    """

    output: Any = None
    failure: str | None = None
    undecodable: list[tuple[RecordId, str]] = field(default_factory=list)
    timed_out: int = 0
    prepare_us: int = 0


class BatchRun(NamedTuple):
    """How a batch fared at its replica: how long it waited at the door, and what ran then.

    ``runs``: windows and microseconds of each run that it was the first in. A run may hold other
    batches too, which then do not tell of it. ``timed_out`` and ``prepare_us``: as its windows'
    results say. ``held_us``: from its coming to the door to its last result; None: not told.
    """

    waited_us: int
    runs: tuple[tuple[int, int], ...]
    timed_out: int = 0
    prepare_us: int = 0
    held_us: int | None = None


def together(runs: Sequence[BatchRun]) -> BatchRun:
    """Of the parts of one batch, in their order."""
    told = tuple(each for run in runs for each in run.runs)
    held = [run.held_us for run in runs if run.held_us is not None]
    return BatchRun(
        runs[0].waited_us,
        told,
        sum(run.timed_out for run in runs),
        sum(run.prepare_us for run in runs),
        max(held, default=None),
    )
