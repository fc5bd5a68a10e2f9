"""The stages of one window again, whole and with parts of its media taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pipeline.batching.batch import StageJob
from pipeline.encoders.base import Audio, Clip, Encoder
from pipeline.encoders.checking import check_pipeline, stage_plan
from pipeline.encoders.clips import ClipBuilder
from pipeline.encoders.frames import wish_of
from pipeline.encoders.loading import kinds_taken, load_encoder
from pipeline.encoders.outputs import checked
from pipeline.evaluation.explain_occlusion import Cut
from pipeline.lane import ClosedWindow, LaneRecord
from pipeline.record import MediaRecord
from pipeline.spec import PipelineSpec
from pipeline.spec.graph import reached
from pipeline.spec.user_class import one_line
from pipeline.tasks.jobs import JobMaker

_AT_ONCE = 8  # variants of one call of an encoder: bounds the frames that are held

Cuts = Mapping[str, Cut]  # by stage, what is taken out of its own clip


@dataclass(slots=True)
class Ran:
    """What the stages gave, and why those that failed gave nothing."""

    outputs: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def vectors(self, stages: Sequence[str]) -> dict[str, Any]:
        return {stage: self.outputs[stage] for stage in stages if stage in self.outputs}


@dataclass(frozen=True, slots=True)
class Part:
    """Media that one or several stages read: of these ``sources``, in the clips of ``stages``.

    ``sources`` are inputs, or stages whose text, sound or pictures are read. Several stand
    together where a stage reads them as one. ``clip`` is that of the first stage.
    """

    kind: str  # audio, image or text
    sources: tuple[str, ...]
    stages: tuple[str, ...]
    clip: Clip

    @property
    def name(self) -> str:
        return "+".join(self.sources)


class StageGraph:
    """The stages that fusion rests on, for one window.

    Invariant: a variant differs from the window as it was only by what is cut out; a stage that
    reads nothing of that keeps its output, and every other one is run again.
    """

    def __init__(self, spec: PipelineSpec, window: ClosedWindow) -> None:
        """Builds the encoders; raises InvalidInput where one cannot be built."""
        self._spec = spec
        self.lengths = check_pipeline(spec)
        self._jobs = JobMaker(spec).make(window).jobs
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        needed = reached({name: each.of for name, each in spec.stages.items()}, spec.fusion.of)
        self.stages = tuple(stage for stage in self._jobs if stage in needed)
        self.encoders: dict[str, Encoder] = {}
        for stage in self.stages:
            declared = spec.stages[stage]
            key = f"stages.{stage}.encoder"
            self.encoders[stage] = load_encoder(
                declared.encoder, declared.options, device, spec.folder, key=key
            )
        self._clips: dict[str, Clip] = {}
        self.base = Ran()
        for stage in self.stages:
            self._run_stage(stage, [(self.base, None)], keep=True)

    def run(self, variants: Sequence[Cuts], done: Callable[[int], None]) -> list[Ran]:
        """One for each; ``done`` is told how many are."""
        found: list[Ran] = []
        for first in range(0, len(variants), _AT_ONCE):
            part = variants[first : first + _AT_ONCE]
            rans = [Ran() for _ in part]
            changed: list[set[str]] = [set(cuts) for cuts in part]
            for stage in self.stages:
                again = []
                for ran, cuts, names in zip(rans, part, changed, strict=True):
                    if stage in names or names.intersection(self._spec.stages[stage].of):
                        names.add(stage)
                        again.append((ran, cuts.get(stage)))
                    elif stage in self.base.outputs:
                        ran.outputs[stage] = self.base.outputs[stage]
                    elif stage in self.base.failed:
                        ran.failed[stage] = self.base.failed[stage]
                if again:
                    self._run_stage(stage, again)
            found += rans
            done(len(found))
        return found

    def _run_stage(
        self, stage: str, runs: Sequence[tuple[Ran, Cut | None]], keep: bool = False
    ) -> None:
        encoder, plan = self.encoders[stage], stage_plan(self._spec, stage, self.lengths)
        rate = getattr(encoder, "rate", None)
        builder = ClipBuilder(plan, kinds_taken(encoder), rate, wish_of(encoder))
        jobs = [self._job(stage, ran) for ran, _ in runs]
        clips = []
        for (ran, cut), built in zip(runs, builder.build(jobs), strict=True):
            if built.clip is None:
                ran.failed[stage] = built.failure or "nothing to read"
                continue
            if keep:
                self._clips[stage] = built.clip
            clip = _own(built.clip)
            if cut is not None:
                cut(clip)
            clips.append((ran, clip))
        if clips:
            self._encode(stage, clips)

    def _encode(self, stage: str, clips: Sequence[tuple[Ran, Clip]]) -> None:
        """In one call; where that fails window by window, as a run would."""
        encoder = self.encoders[stage]
        try:
            outputs = list(encoder.encode([clip for _, clip in clips]))
            length = self.lengths.get(stage)
            good = [checked(encoder.gives, output, length) for output in outputs]
            for (ran, _), output in zip(clips, good, strict=True):
                ran.outputs[stage] = output
        except MemoryError:
            raise
        except Exception as error:
            if len(clips) == 1:
                clips[0][0].failed[stage] = one_line(error)
                return
            for each in clips:
                self._encode(stage, [each])

    def _job(self, stage: str, ran: Ran) -> StageJob:
        job = self._jobs[stage]
        of = self._spec.stages[stage].of
        upstream = {name: ran.outputs[name] for name in of if name in ran.outputs}
        return StageJob(job.stream, job.start_us, job.end_us, list(job.records), upstream)

    def parts(self) -> list[Part]:
        """What can be taken out, each once however many stages read it."""
        found: dict[tuple[str, ...], Part] = {}
        for stage, clip in self._clips.items():
            for kind, there in (
                ("audio", clip.samples is not None),
                ("image", bool(clip.frames)),
                ("text", bool(clip.text)),
            ):
                if not there:
                    continue
                sources = self._sources(stage, kind)
                key = kind, clip.text or "" if kind == "text" else "", *sources
                known = found.get(key)
                stages = (stage,) if known is None else (*known.stages, stage)
                found[key] = Part(kind, sources, stages, known.clip if known else clip)
        return list(found.values())

    def _sources(self, stage: str, kind: str) -> tuple[str, ...]:
        """The names in ``of`` that gave something of this kind."""
        given = {_seen(record.facts.kind): set[str]() for record in self._jobs[stage].records}
        for record in self._jobs[stage].records:
            given[_seen(record.facts.kind)].add(record.input)
        there = given.get(kind, set())
        for name in self._spec.stages[stage].of:
            if name in self.base.outputs and _kind_of(self.base.outputs[name]) == kind:
                there = there | {name}
        return tuple(name for name in self._spec.stages[stage].of if name in there)


def window_of(
    stream: str, start_us: int, end_us: int, records: Mapping[str, Sequence[MediaRecord]]
) -> ClosedWindow:
    """A closed window of records by input, in log order, those of its context included."""
    content: dict[str, list[LaneRecord]] = {}
    present = set()
    for name, of_input in records.items():
        for body in of_input:
            size = len(body.payload)
            offset = body.log.offset
            kept = LaneRecord(name, offset, 0, stream, body.ts_us, body.end_us, size, body)
            content.setdefault(name, []).append(kept)
            if body.ts_us < end_us and body.end_us > start_us:
                present.add(name)
    return ClosedWindow(stream, start_us, end_us, content, tuple(sorted(present)))


def _own(clip: Clip) -> Clip:
    """A clip that may be changed, its arrays too (a stage may write into what it gets)."""
    return Clip(
        clip.stream,
        clip.start_us,
        clip.end_us,
        None if clip.samples is None else clip.samples.copy(),
        clip.rate,
        clip.samples_start_us,
        None if clip.frames is None else [frame.copy() for frame in clip.frames],
        clip.times_us,
        clip.ends_us,
        clip.text,
        None if clip.vector is None else clip.vector.copy(),
    )


def _seen(kind: str) -> str:
    return "image" if kind == "video" else kind


def _kind_of(output: Any) -> str | None:
    if isinstance(output, str):
        return "text"
    if isinstance(output, Audio):
        return "audio"
    return "image" if isinstance(output, np.ndarray) and output.ndim == 3 else None
