"""The frames of clips: pictures, frames of films, and images of the stages before."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from pipeline.batching.batch import StageJob
from pipeline.encoders.base import Clip
from pipeline.encoders.contents import Contents, record_id
from pipeline.encoders.decode_pool import DecodePool
from pipeline.encoders.films import Films
from pipeline.encoders.frames import Frame, FrameWish, WindowFrames
from pipeline.encoders.lender import Lender
from pipeline.encoders.picture_bytes import film_bytes, too_many_pictures
from pipeline.encoders.plan import BuiltClip, StagePlan, Upstream
from pipeline.errors import UndecodableRecord


class ClipFrames:
    """Of one batch; the order is begin, and then, as often as wanted, add, add, ..., show.

    Invariant: what a clip shows hangs on its own window's records and on no other's; its arrays
    are its own.
    """

    def __init__(
        self,
        plan: StagePlan,
        contents: Contents,
        wish: FrameWish,
        pool: DecodePool,
        lender: Lender,
    ) -> None:
        self._plan = plan
        self._contents = contents
        self._wish = wish
        self._pool = pool
        self._films = Films(wish.size, pool, lender, plan.decode_time_us)
        self._ahead: Future[None] | None = None
        self._seen: list[tuple[BuiltClip, WindowFrames, bool]] = []

    def begin(self, jobs: Sequence[StageJob]) -> None:
        """Starts decoding what these jobs have, and returns at once.

        Headers of films are read by the pool too. What is picked takes every picture for sound:
        where one is not, ``show`` has more to decode.
        """
        held = [job for job in jobs if self._too_many(job) is None]
        for job in held:
            self._contents.begin(self._plan.in_range(job, "image"))
        if any(record.facts.kind == "video" for job in held for record in job.records):
            self._ahead = self._pool.submit(partial(self._begin_films, held))

    def add(self, built: BuiltClip, job: StageJob, upstream: Upstream) -> WindowFrames | None:
        """The window's frames; None, and ``built.failure``, where they are too many."""
        if self._ahead is not None:
            self._ahead.result()
        clip = built.clip
        assert clip is not None
        built.failure = self._too_many(job)
        if built.failure is not None:
            return None
        sound, _ = self._contents.sound(built, self._plan.in_range(job, "image"))
        frames = [
            Frame(*self._plan.when(record), 0, record.end_us, picture=self._contents.own(record))
            for record in sound
        ]
        frames += self._film_frames(job, built)
        for name, output in upstream:
            if isinstance(output, np.ndarray) and output.ndim == 3:
                place = self._plan.place(name)
                frames.append(Frame(clip.start_us, place, 0, 0, clip.end_us, picture=output.copy()))
        return WindowFrames(clip, frames, self._wish.frames_max)

    def keep(self, built: BuiltClip, window: WindowFrames, other: bool) -> None:
        """The clip is to have these frames; ``other``: and has something besides."""
        self._seen.append((built, window, other))

    def show(self) -> None:
        """Gives each clip its pictures, in time order; a clip of which nothing is left goes."""
        seen, self._seen = self._seen, []
        lost = self._films.settle([window for _, window, _ in seen])
        for (built, window, other), missing in zip(seen, lost, strict=True):
            built.undecodable.extend(missing.items())
            built.timed_out += len(window.timed_out)
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

    def _too_many(self, job: StageJob) -> str | None:
        plan = self._plan
        return too_many_pictures(film_bytes(job, plan.before_us, plan.after_us, self._wish))

    def _film_frames(self, job: StageJob, built: BuiltClip) -> list[Frame]:
        """Of films whose header can be read; the others are noted down."""
        frames = []
        low_us, high_us = self._plan.range_us(job)
        for record in self._plan.in_range(job, "video"):
            name, place = record_id(record), self._plan.place(record.input)
            try:
                frames += self._films.frames(name, record, place, low_us, high_us)
            except UndecodableRecord as error:
                built.undecodable.append((name, str(error)))
        return frames

    def _begin_films(self, jobs: Sequence[StageJob]) -> None:
        windows = []
        for job in jobs:
            clip = Clip(job.stream, job.start_us, job.end_us)
            frames = [
                Frame(*self._plan.when(record), 0, record.end_us)
                for record in self._plan.in_range(job, "image")
            ]
            frames += self._film_frames(job, BuiltClip(clip, []))
            windows.append(WindowFrames(clip, frames, self._wish.frames_max))
        self._films.begin(windows)
