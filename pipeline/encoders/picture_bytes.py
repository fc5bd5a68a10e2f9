"""How much memory the pictures of windows take, and what is done where it is too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.batching.batch import StageJob
from pipeline.encoders.frames import FrameWish
from pipeline.media.film_decode import scaled_size

PICTURES_BYTES_MAX = 1 << 30  # of one encode call, as RGB


def portions(sizes: Sequence[int]) -> Iterator[slice]:
    """The windows of a batch in order, in as many pieces as keep their pictures within bounds.

    ``sizes``: bytes by window; one that is over the bound is a piece of its own.
    """
    first, held = 0, 0
    for place, size in enumerate(sizes):
        if held + size > PICTURES_BYTES_MAX and place > first:
            yield slice(first, place)
            first, held = place, 0
        held += size
    yield slice(first, len(sizes))


def decoded_bytes(job: StageJob, before_us: int, after_us: int, wish: FrameWish) -> int:
    """At most so many bytes a job's records take once they are decoded."""
    size, films = 0, False
    for record in job.records:
        facts = record.facts
        if facts.kind == "image":
            size += facts.width * facts.height * 3
        elif facts.kind == "audio":
            size += facts.samples * 4
        elif facts.kind == "video":
            films = True
    return size + film_bytes(job, before_us, after_us, wish) if films else size


def film_bytes(job: StageJob, before_us: int, after_us: int, wish: FrameWish) -> int:
    """At most so many bytes the pictures of a job's films take."""
    low_us, high_us = job.start_us - before_us, job.end_us + after_us
    frames, largest = 0, 0
    for record in job.records:
        facts = record.facts
        if facts.kind != "video" or record.ts_us >= high_us or record.end_us <= low_us:
            continue
        shown_us = min(high_us, record.end_us) - max(low_us, record.ts_us)
        span_us = record.end_us - record.ts_us
        frames += min(facts.frames, facts.frames * shown_us // span_us + 2)
        width, height = scaled_size(facts.width, facts.height, wish.size)
        largest = max(largest, width * height * 3)
    if wish.frames_max is not None:
        frames = min(frames, 3 * wish.frames_max)
    return frames * largest


def too_many_pictures(size: int) -> str | None:
    """Why the films of one window are too many to be made pictures; None where they are not."""
    if size <= PICTURES_BYTES_MAX:
        return None
    return (
        f"the frames of its window would take {size >> 20} MiB as RGB, more than "
        f"{PICTURES_BYTES_MAX >> 20} MiB; state frames_max or frame_size on the encoder, or take "
        "shorter windows"
    )
