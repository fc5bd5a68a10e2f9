"""The media of one window as files that any player opens, cut to the window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.batching.batch import StageJob
from pipeline.encoders.base import Clip
from pipeline.encoders.clips import ClipBuilder
from pipeline.encoders.contents import record_id
from pipeline.encoders.plan import StagePlan
from pipeline.record import MediaRecord

_IMAGE_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


class Window(NamedTuple):
    """A window of a stream, and what decoding one record of it may take."""

    stream: str
    start_us: int
    end_us: int
    decode_time_us: int


class Written(NamedTuple):
    """One file: of which input, and which time it is about."""

    path: Path
    input: str
    kind: str
    start_us: int
    end_us: int


def write_input(
    window: Window, name: str, records: Sequence[MediaRecord], stem: Path
) -> tuple[list[Written], list[str]]:
    """Writes what an input has in a window; the files, and what could not be decoded.

    Audio becomes one file of 16-bit samples, mono as encoders get it, from the window's first
    sample to its last with zeros where none is. Pictures are written as they came, frames of
    films as PNG, each with its number where there are several; texts as one text.
    """
    kinds = dict.fromkeys(record.facts.kind for record in records)
    written: list[Written] = []
    problems: list[str] = []
    for kind in kinds:
        of_kind = [record for record in records if record.facts.kind == kind]
        if kind == "image":
            written += _pictures(name, of_kind, stem)
            continue
        clip = _clip(window, name, kind, of_kind, problems)
        if clip is None:
            continue
        if kind == "audio":
            written.append(_sound(window, name, clip, stem))
        elif kind == "video":
            written += _frames(name, clip, stem)
        else:
            path = stem.with_name(f"{stem.name}.txt")
            path.write_text(f"{clip.text}\n")
            written.append(Written(path, name, "text", window.start_us, window.end_us))
    return written, problems


def _clip(
    window: Window,
    name: str,
    kind: str,
    records: Sequence[MediaRecord],
    problems: list[str],
) -> Clip | None:
    """What an encoder of that kind would be given, None where nothing can be decoded."""
    plan = StagePlan("clip", (name,), decode_time_us=window.decode_time_us)
    job = StageJob(window.stream, window.start_us, window.end_us, list(records))
    [built] = ClipBuilder(plan, (kind,), None).build([job])
    places = {record_id(record) for record in records}
    for place, error in built.undecodable:
        if place in places:
            topic, partition, offset = place
            problems.append(f"{name}: {topic}[{partition}]@{offset} cannot be decoded: {error}")
    if built.failure is not None:
        problems.append(f"{name}: {built.failure}")
    return built.clip


def _sound(window: Window, name: str, clip: Clip, stem: Path) -> Written:
    import soundfile

    path = stem.with_name(f"{stem.name}.wav")
    soundfile.write(path, clip.samples, clip.rate, subtype="PCM_16")
    return Written(path, name, "audio", window.start_us, window.end_us)


def _pictures(name: str, records: Sequence[MediaRecord], stem: Path) -> list[Written]:
    written = []
    for number, record in enumerate(sorted(records, key=lambda r: r.ts_us), start=1):
        suffix = _IMAGE_SUFFIXES[record.facts.format]
        path = stem.with_name(f"{_numbered(stem.name, number, len(records))}{suffix}")
        path.write_bytes(record.payload)
        written.append(Written(path, name, "image", record.ts_us, record.end_us))
    return written


def _frames(name: str, clip: Clip, stem: Path) -> list[Written]:
    from PIL import Image

    frames: Sequence[Any] = clip.frames or ()
    written = []
    times = zip(clip.times_us or (), clip.ends_us or (), strict=True)
    for number, (frame, (at_us, end_us)) in enumerate(zip(frames, times, strict=True), start=1):
        path = stem.with_name(f"{_numbered(stem.name, number, len(frames))}.png")
        Image.fromarray(frame).save(path)
        written.append(Written(path, name, "video", at_us, end_us))
    return written


def _numbered(stem: str, number: int, count: int) -> str:
    return stem if count == 1 else f"{stem}-{number:0{len(str(count))}d}"
