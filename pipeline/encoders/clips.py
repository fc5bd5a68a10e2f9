"""From a closed window's records to the clip that its encoder gets (contract section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.batching.batch import RecordId, StageJob
from pipeline.encoders.base import Clip
from pipeline.encoders.frames import (
    Films,
    Frame,
    FrameWish,
    WindowFrames,
    film_bytes,
    too_many_pictures,
)
from pipeline.encoders.quiet import QUIET
from pipeline.errors import UndecodableRecord
from pipeline.media.clips import assemble_audio, nearest_sample
from pipeline.media.decode import decode_audio, decode_image, decode_text
from pipeline.media.raw_rows import RawRows, RowPlace
from pipeline.record import MediaRecord

_DECODERS: dict[str, Callable[..., Any]] = {
    "audio": decode_audio,
    "image": decode_image,
    "text": decode_text,
}


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What running a stage needs of the pipeline file.

    ``of``: inputs and stages that it reads, in the file's order. ``before_us``, ``after_us``:
    the context that the file declares, without the margin that only feeds the resampler.
    ``upstream_lengths``: of the stages in ``of`` that give vectors, how long these are.
    ``length``: of its own vector, None where it gives none or it is not known.
    """

    name: str
    of: tuple[str, ...]
    before_us: int = 0
    after_us: int = 0
    upstream_lengths: Mapping[str, int] = field(default_factory=dict)
    length: int | None = None


@dataclass(slots=True)
class BuiltClip:
    """A job's clip, None where nothing is left to encode, and what could not be decoded.

    ``failure``: why the clip is None though there is something.
    """

    clip: Clip | None
    undecodable: list[tuple[RecordId, str]]
    failure: str | None = None


class ClipBuilder:
    """Builds the clips of one batch; a record that several windows hold is decoded once.

    A clip's arrays are its own: an encoder that writes into one spoils no other window.
    """

    def __init__(
        self,
        plan: StagePlan,
        takes: tuple[str, ...],
        rate: int | None,
        wish: FrameWish = FrameWish(),  # noqa: B008 (immutable)
    ) -> None:
        self._plan = plan
        self._takes = takes
        self._rate = rate
        self._order = {name: place for place, name in enumerate(plan.of)}
        self._decoded: dict[RecordId, Any] = {}  # or the UndecodableRecord
        self._lent: set[RecordId] = set()
        self._raw = RawRows()
        self._rows: list[tuple[Clip, RowPlace]] = []
        self._wish = wish
        self._films = Films(wish.size)
        self._seen: list[tuple[BuiltClip, WindowFrames, bool]] = []

    def build(self, jobs: Sequence[StageJob]) -> list[BuiltClip]:
        """One for each job, in order."""
        built = [self._build(job) for job in jobs]
        for clip, row in self._rows:
            clip.samples = self._raw.samples(row)
        self._show()
        return built

    def _build(self, job: StageJob) -> BuiltClip:
        built = BuiltClip(Clip(job.stream, job.start_us, job.end_us), [])
        clip = built.clip
        assert clip is not None
        upstream = [(name, job.upstream[name]) for name in self._plan.of if name in job.upstream]
        heard = self._add_audio(clip, built, job.records, upstream)
        window = self._window_frames(clip, built, job, upstream)
        read = self._add_text(clip, built, job.records, upstream)
        felt = self._add_vector(clip, upstream)
        other = heard or read or felt
        if built.failure is not None or not (other or (window and window.frames)):
            built.clip = None
        elif window is not None and window.frames:
            self._seen.append((built, window, other))
        return built

    def _range(self, clip: Clip) -> tuple[int, int]:
        return clip.start_us - self._plan.before_us, clip.end_us + self._plan.after_us

    def _in_range(
        self, clip: Clip, records: Sequence[MediaRecord], *kinds: str
    ) -> list[MediaRecord]:
        """Records of these kinds that overlap the window or its declared context."""
        low_us, high_us = self._range(clip)
        return [
            r for r in records if r.facts.kind in kinds and r.ts_us < high_us and r.end_us > low_us
        ]

    def _decode(
        self, built: BuiltClip, records: Sequence[MediaRecord]
    ) -> tuple[list[MediaRecord], list[Any]]:
        """The records that can be decoded, and what they hold; the others are noted down."""
        sound, contents = [], []
        for record in records:
            name = record_id(record)
            content = self._decoded.get(name)
            if content is None:
                try:
                    with QUIET:
                        content = _DECODERS[record.facts.kind](record.facts, record.payload)
                except UndecodableRecord as error:
                    content = error
                self._decoded[name] = content
            if isinstance(content, UndecodableRecord):
                built.undecodable.append((name, " ".join(str(content).split())))
            else:
                sound.append(record)
                contents.append(content)
        return sound, contents

    def _add_audio(
        self,
        clip: Clip,
        built: BuiltClip,
        records: Sequence[MediaRecord],
        upstream: Sequence[tuple[str, Any]],
    ) -> bool:
        """Samples of the window and its context; whether there is any sound record in them."""
        if "audio" not in self._takes:
            return False
        for _, output in upstream:
            if hasattr(output, "samples"):
                clip.samples, clip.rate = _at_rate(output.samples, output.rate, self._rate)
                clip.samples_start_us = clip.start_us
                return True
        pieces = [record for record in records if record.facts.kind == "audio"]
        if not pieces:
            return False
        low_us, high_us = self._range(clip)
        rate = self._rate or pieces[0].facts.rate
        heard = bool(self._in_range(clip, pieces, "audio"))
        row = self._raw.add(pieces, low_us, rate, nearest_sample(high_us - low_us, rate))
        if row is not None:
            if heard:
                self._rows.append((clip, row))
        else:
            pieces, contents = self._decode(built, pieces)
            heard = bool(self._in_range(clip, pieces, "audio"))
            if heard:
                found = assemble_audio(pieces, contents, low_us, high_us, self._rate)
                clip.samples, rate = found.samples, found.rate
        if heard:
            clip.rate, clip.samples_start_us = rate, low_us
        return heard

    def _window_frames(
        self,
        clip: Clip,
        built: BuiltClip,
        job: StageJob,
        upstream: Sequence[tuple[str, Any]],
    ) -> WindowFrames | None:
        """Pictures that are decoded, and frames of films that are to be; None: not taken."""
        if "image" not in self._takes and "video" not in self._takes:
            return None
        size = film_bytes(job, self._plan.before_us, self._plan.after_us, self._wish)
        built.failure = too_many_pictures(size)
        if built.failure is not None:
            return None
        sound, pictures = self._decode(built, self._in_range(clip, job.records, "image"))
        frames = [
            Frame(*self._when(record), 0, record.end_us, picture=self._own(record, picture))
            for record, picture in zip(sound, pictures, strict=True)
        ]
        low_us, high_us = self._range(clip)
        for record in self._in_range(clip, job.records, "video"):
            film, place = record_id(record), self._when(record)[1]
            try:
                frames += self._films.frames(film, record, place, low_us, high_us)
            except UndecodableRecord as error:
                built.undecodable.append((film, str(error)))
        for name, output in upstream:
            if isinstance(output, np.ndarray) and output.ndim == 3:
                place = self._order[name]
                frames.append(Frame(clip.start_us, place, 0, 0, clip.end_us, picture=output.copy()))
        return WindowFrames(clip, frames, self._wish.frames_max)

    def _show(self) -> None:
        """Gives each clip its pictures, in time order; a clip of which nothing is left goes."""
        lost = self._films.settle([window for _, window, _ in self._seen])
        for (built, window, other), missing in zip(self._seen, lost, strict=True):
            built.undecodable.extend(missing.items())
            clip = window.clip
            if window.frames:
                clip.frames = [
                    frame.picture if frame.picture is not None else self._films.picture(frame)
                    for frame in window.picked
                ]
                clip.times_us = [frame.at_us for frame in window.picked]
                clip.ends_us = [frame.end_us for frame in window.picked]
            elif not other:
                built.clip = None

    def _add_text(
        self,
        clip: Clip,
        built: BuiltClip,
        records: Sequence[MediaRecord],
        upstream: Sequence[tuple[str, Any]],
    ) -> bool:
        """Texts joined by newline: by time, then by order in ``of``, then by offset.

        The text of a stage is about the whole window, so its time is the window's start.
        """
        if "text" not in self._takes:
            return False
        sound, texts = self._decode(built, self._in_range(clip, records, "text"))
        said = [(*self._when(record), text) for record, text in zip(sound, texts, strict=True)]
        for name, output in upstream:
            if isinstance(output, str):
                said.append((clip.start_us, self._order[name], 0, output))
        said.sort(key=lambda each: each[:3])
        if said:
            clip.text = "\n".join(each[3] for each in said)
        return bool(said)

    def _add_vector(self, clip: Clip, upstream: Sequence[tuple[str, Any]]) -> bool:
        """The vectors of the stages in ``of``, one after another; zeros where one gave none."""
        if "vector" not in self._takes:
            return False
        given = {
            name: np.asarray(output, np.float32)
            for name, output in upstream
            if isinstance(output, np.ndarray) and output.ndim == 1
        }
        if not given:
            return False
        lengths = self._plan.upstream_lengths
        blocks = [
            given[name] if name in given else np.zeros(lengths[name], np.float32)
            for name in self._plan.of
            if name in given or name in lengths
        ]
        clip.vector = np.concatenate(blocks)
        return True

    def _when(self, record: MediaRecord) -> tuple[int, int, int]:
        place = self._order.get(record.input, len(self._order))
        return record.ts_us, place, record.log.offset

    def _own(self, record: MediaRecord, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The decoded frame for the first window that holds it, a copy for the others."""
        name = record_id(record)
        if name in self._lent:
            return frame.copy()
        self._lent.add(name)
        return frame


def record_id(record: MediaRecord) -> RecordId:
    """``(topic, partition, offset)``: what names a record in a dead letter."""
    return record.log.topic, record.log.partition, record.log.offset


def _at_rate(samples: Any, rate: int, wanted: int | None) -> tuple[NDArray[np.float32], int]:
    """An upstream stage's audio at the rate that this encoder wants."""
    line = np.asarray(samples, np.float32)
    if wanted is None or wanted == rate:
        return line.copy(), rate
    return np.asarray(soxr.resample(line, rate, wanted, quality="HQ"), np.float32), wanted
