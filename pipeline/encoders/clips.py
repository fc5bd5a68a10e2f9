"""From a closed window's records to the clip that its encoder gets (contract section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.batching.batch import StageJob
from pipeline.encoders.base import Clip
from pipeline.encoders.clip_frames import ClipFrames
from pipeline.encoders.contents import Contents
from pipeline.encoders.decode_pool import INLINE, DecodePool
from pipeline.encoders.frames import FrameWish
from pipeline.encoders.lender import Lender
from pipeline.encoders.plan import BuiltClip, StagePlan, Upstream
from pipeline.encoders.raw_clip import RawClip
from pipeline.media.clips import assemble_audio
from pipeline.media.grid import samples_in
from pipeline.media.raw_rows import raw_row
from pipeline.record import MediaRecord

__all__ = ["ClipBuilder", "StagePlan"]


class ClipBuilder:
    """Builds the clips of one batch; a record that several windows hold is decoded once.

    A clip's arrays are its own: an encoder that writes into one spoils no other window. What was
    begun before, by which thread it was decoded, and in how many pieces the batch is built make
    no difference to a clip.
    """

    def __init__(
        self,
        plan: StagePlan,
        takes: tuple[str, ...],
        rate: int | None,
        wish: FrameWish = FrameWish(),  # noqa: B008 (immutable)
        pool: DecodePool = INLINE,
    ) -> None:
        self._plan = plan
        self._takes = takes
        self._hears = "audio" in takes
        self._sees = "image" in takes or "video" in takes
        self._rate = rate
        self._lender = Lender()
        self._contents = Contents(pool, self._lender, plan.decode_time_us)
        self._frames = ClipFrames(plan, self._contents, wish, pool, self._lender)
        self._left = 0  # jobs that were begun and are not built yet

    def begin(self, jobs: Sequence[StageJob]) -> None:
        """Starts decoding what these jobs need, all of which are then built; returns at once."""
        self._left += len(jobs)
        if self._hears:
            for job in jobs:
                self._contents.begin([r for r in job.records if r.facts.kind == "audio"])
        if self._sees:
            self._frames.begin(jobs)

    def build(self, jobs: Sequence[StageJob]) -> list[BuiltClip]:
        """One for each job, in order."""
        self._left -= len(jobs)
        self._lender.more = self._left > 0
        built = [self._build(job) for job in jobs]
        self._frames.show()
        return built

    def _build(self, job: StageJob) -> BuiltClip:
        clip = (RawClip if self._hears else Clip)(job.stream, job.start_us, job.end_us)
        built = BuiltClip(clip, [])
        upstream = [(name, job.upstream[name]) for name in self._plan.of if name in job.upstream]
        other = isinstance(clip, RawClip) and self._add_audio(clip, built, job, upstream)
        window = self._frames.add(built, job, upstream) if self._sees else None
        if "text" in self._takes:
            other = self._add_text(clip, built, job, upstream) or other
        if "vector" in self._takes:
            other = self._add_vector(clip, upstream) or other
        if built.failure is not None or not (other or (window and window.frames)):
            built.clip = None
        elif window is not None and window.frames:
            self._frames.keep(built, window, other)
        return built

    def _add_audio(
        self, clip: RawClip, built: BuiltClip, job: StageJob, upstream: Upstream
    ) -> bool:
        """Rate and samples of the window and its context, where any sound record is in them."""
        for _, output in upstream:
            if hasattr(output, "samples"):
                clip.samples, clip.rate = _at_rate(output, self._rate)
                clip.samples_start_us = clip.start_us
                return True
        pieces = [record for record in job.records if record.facts.kind == "audio"]
        if not pieces:
            return False
        low_us, high_us = self._plan.range_us(job)
        rate = self._rate or pieces[0].facts.rate
        row = raw_row(pieces, low_us, rate, samples_in(high_us - low_us, rate))
        if row is None:
            pieces, contents = self._contents.sound(built, pieces)
        if not _any_in(pieces, low_us, high_us):
            return False
        if row is None:
            clip.samples, rate, _ = assemble_audio(pieces, contents, low_us, high_us, self._rate)
        else:
            clip.sound = row
        clip.rate, clip.samples_start_us = rate, low_us
        return True

    def _add_text(self, clip: Clip, built: BuiltClip, job: StageJob, upstream: Upstream) -> bool:
        """Texts joined by newline: by time, then by order in ``of``, then by offset.

        The text of a stage is about the whole window, so its time is the window's start.
        """
        sound, texts = self._contents.sound(built, self._plan.in_range(job, "text"))
        said = [(*self._plan.when(each), text) for each, text in zip(sound, texts, strict=True)]
        for name, output in upstream:
            if isinstance(output, str):
                said.append((clip.start_us, self._plan.place(name), 0, output))
        said.sort(key=lambda each: each[:3])
        if said:
            clip.text = "\n".join(each[3] for each in said)
        return bool(said)

    def _add_vector(self, clip: Clip, upstream: Upstream) -> bool:
        """The vectors of the stages in ``of``, one after another; zeros where one gave none."""
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


def _any_in(records: Sequence[MediaRecord], low_us: int, high_us: int) -> bool:
    for record in records:  # noqa: SIM110 (a generator costs as much as all else here)
        if record.ts_us < high_us and record.end_us > low_us:
            return True
    return False


def _at_rate(output: Any, wanted: int | None) -> tuple[NDArray[np.float32], int]:
    """An upstream stage's audio at the rate that this encoder wants."""
    line, rate = np.asarray(output.samples, np.float32), int(output.rate)
    if wanted is None or wanted == rate:
        return line.copy(), rate
    return np.asarray(soxr.resample(line, rate, wanted, quality="HQ"), np.float32), wanted
