"""Windows to measure encoders with: of files, or of the media that the demo plays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from pipeline.batching.batch import StageJob
from pipeline.cli.bench_asked import Span
from pipeline.cli.trying_windows import windows_of
from pipeline.connectors.files import SourceFile, expand
from pipeline.demo.assets import MEDIA
from pipeline.media.clips import RESAMPLE_MARGIN_US
from pipeline.record import MediaRecord

# Where the next windows of a sound begin, as shares of a window: each lap between those before.
_LAPS = (0, 1 / 2, 1 / 4, 3 / 4, 1 / 8, 3 / 8, 5 / 8, 7 / 8)
_FOLDERS = {"audio": "speech", "image": "frames", "video": "frames", "text": "captions"}


class Windows(NamedTuple):
    """``jobs``: as many as were asked for; of ``distinct`` of them no two hold the same."""

    jobs: list[StageJob]
    distinct: int


def demo_files(takes: Sequence[str]) -> list[SourceFile]:
    """The demo's media of the first kind that it has of these; none for vectors."""
    kind = next((kind for kind in takes if kind in _FOLDERS), None)
    return [] if kind is None else expand([str(MEDIA / _FOLDERS[kind])])[0]


def bench_windows(files: Sequence[SourceFile], span: Span, count: int) -> Windows:
    """``count`` windows of the files, in their order; empty where nothing is in the files.

    Of sound, windows that the files fill; where these are too few, further ones that begin in
    between. Where there are still too few (or of pictures and texts) the same again, as records
    of their own: no encoder may profit from having decoded one before.
    """
    jobs = list(islice(_distinct(files, span, count), count))
    distinct = len(jobs)
    while jobs and len(jobs) < count:
        jobs.append(_again(jobs[len(jobs) - distinct], len(jobs)))
    return Windows(jobs, distinct)


def vector_windows(lengths: Mapping[str, int], span: Span, count: int) -> Windows:
    """Windows for a stage that reads vectors: of each stage in ``lengths`` one, normal numbers."""
    rng = np.random.default_rng(0)
    jobs = []
    for number in range(count):
        job = StageJob("vectors", number * span.size_us, (number + 1) * span.size_us)
        for name, length in lengths.items():
            job.upstream[name] = rng.standard_normal(length, np.float32)
        jobs.append(job)
    return Windows(jobs, count)


def _distinct(files: Sequence[SourceFile], span: Span, count: int) -> Iterator[StageJob]:
    around = (span.before_us + span.after_us) // span.size_us + 2
    sounds = [
        _records(file, span.size_us, count + around) for file in files if file.kind == "audio"
    ]
    for lap in _LAPS:
        for records in sounds:
            yield from _sound(records, span, round(lap * span.size_us))
    for file in files:
        if file.kind != "audio":
            for window in windows_of(file, span.size_us, False):
                yield StageJob(window.stream, window.start_us, window.end_us, window.records)


def _records(file: SourceFile, size_us: int, count: int) -> list[MediaRecord]:
    """All records of the first ``count`` windows of a file, each once, in their order."""
    found = {
        record.log.offset: record
        for window in islice(windows_of(file, size_us, False), count)
        for record in window.records
    }
    return list(found.values())


def _sound(records: Sequence[MediaRecord], span: Span, shift_us: int) -> Iterator[StageJob]:
    """The windows that the records fill, from ``shift_us`` on; the whole where it is shorter."""
    end_us = max((record.end_us for record in records), default=0)
    if end_us < span.size_us:
        if records and not shift_us:
            yield StageJob(records[0].stream, 0, end_us, list(records))
        return
    for start_us in range(shift_us, end_us - span.size_us + 1, span.size_us):
        low_us = start_us - span.before_us - RESAMPLE_MARGIN_US
        high_us = start_us + span.size_us + span.after_us + RESAMPLE_MARGIN_US
        needed = [each for each in records if each.ts_us < high_us and each.end_us > low_us]
        yield StageJob(needed[0].stream, start_us, start_us + span.size_us, needed)


def _again(job: StageJob, number: int) -> StageJob:
    """The same window from a partition of its own: its records are others to whoever decodes."""
    records = [each._replace(log=each.log._replace(partition=number)) for each in job.records]
    return replace(job, records=records)
