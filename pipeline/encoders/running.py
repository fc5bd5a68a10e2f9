"""Running one stage: jobs in, one result each out, whatever the records and the encoder do."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.batching.batch import JobResult, StageJob
from pipeline.encoders.base import Clip, Encoder
from pipeline.encoders.clips import ClipBuilder, StagePlan
from pipeline.encoders.loading import kinds_taken
from pipeline.encoders.outputs import checked
from pipeline.spec.user_class import one_line

UNDECODABLE = "undecodable"


class EncodeTask:
    """An encoder and its stage; stateless, so any replica may run any batch again.

    Every job gets exactly one result. What one window does to the encoder reaches no other
    window of its batch: a failed batch is halved until the window that fails alone has failed.
    """

    def __init__(self, encoder: Encoder, plan: StagePlan) -> None:
        self._encoder = encoder
        self._plan = plan
        self._takes = kinds_taken(encoder)
        self._rate: int | None = getattr(encoder, "rate", None)

    def run(self, jobs: Sequence[StageJob]) -> list[JobResult]:
        """Decodes, encodes in one call, checks; ``failure`` is one line where there is no output.

        Raises MemoryError only, which is the machine's fault and no window's.
        """
        builder = ClipBuilder(self._plan, self._takes, self._rate)
        results: list[JobResult] = []
        clips: list[tuple[Clip, JobResult]] = []
        for job, built in zip(jobs, builder.build(jobs), strict=True):
            result = JobResult(undecodable=built.undecodable)
            results.append(result)
            if built.clip is not None:
                clips.append((built.clip, result))
            else:
                result.failure = UNDECODABLE if built.undecodable else self._nothing(job)
        if clips:
            self._encode(clips)
        return results

    def _nothing(self, job: StageJob) -> str:
        """Why a window has nothing to encode though no record of it was undecodable."""
        missing = [name for name in self._plan.of if name not in job.upstream]
        return f"nothing to read ({', '.join(missing)} gave none)"

    def _encode(self, clips: Sequence[tuple[Clip, JobResult]]) -> None:
        try:
            outputs = list(self._encoder.encode([clip for clip, _ in clips]))
            if len(outputs) != len(clips):
                raise ValueError(f"encode gave {len(outputs)} outputs for {len(clips)} clips")
        except Exception as error:
            if len(clips) == 1:
                clips[0][1].failure = one_line(error)
                return
            half = len(clips) // 2
            self._encode(clips[:half])
            self._encode(clips[half:])
            return
        for (_, result), output in zip(clips, outputs, strict=True):
            try:
                result.output = checked(self._encoder.gives, output, self._plan.length)
            except Exception as error:  # a tensor on a device that failed, an odd __len__
                result.failure = one_line(error)
