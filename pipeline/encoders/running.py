"""Running one stage: jobs in, one result each out, whatever the records and the encoder do."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.batching.batch import JobResult, StageJob
from pipeline.batching.memory_limit import MemoryLimit
from pipeline.encoders.base import Clip, Encoder, Output
from pipeline.encoders.clips import ClipBuilder, StagePlan
from pipeline.encoders.frames import portions, wish_of
from pipeline.encoders.loading import kinds_taken
from pipeline.encoders.outputs import checked
from pipeline.spec.user_class import one_line

UNDECODABLE = "undecodable"


class EncodeTask:
    """An encoder and its stage; any replica may run any batch again with the same results.

    Every job gets exactly one result. What one window does to the encoder reaches no other
    window of its batch: a failed batch is halved until the window that fails alone has failed.
    """

    def __init__(self, encoder: Encoder, plan: StagePlan) -> None:
        self._encoder = encoder
        self._plan = plan
        self._takes = kinds_taken(encoder)
        self._rate: int | None = getattr(encoder, "rate", None)
        self._memory = MemoryLimit()
        self._wish = wish_of(encoder)

    def run(self, jobs: Sequence[StageJob]) -> list[JobResult]:
        """Decodes, encodes in one call, checks; ``failure`` is one line where there is no output.

        Films whose pictures would not fit into memory together make it several calls. Raises
        MemoryError only, which is the machine's fault and no window's.
        """
        parts = portions(jobs, self._plan.before_us, self._plan.after_us, self._wish)
        return [result for part in parts for result in self._run(part)]

    def _run(self, jobs: Sequence[StageJob]) -> list[JobResult]:
        builder = ClipBuilder(self._plan, self._takes, self._rate, self._wish)
        results: list[JobResult] = []
        clips: list[tuple[Clip, JobResult]] = []
        for job, built in zip(jobs, builder.build(jobs), strict=True):
            result = JobResult(undecodable=built.undecodable)
            results.append(result)
            if built.clip is not None:
                clips.append((built.clip, result))
            elif built.failure is not None:
                result.failure = built.failure
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
        """Encodes as many clips a call as the device has shown that it can hold."""
        while clips:
            count = self._memory.limit(len(clips))
            self._encode_piece(clips[:count])
            clips = clips[count:]

    def _encode_piece(self, clips: Sequence[tuple[Clip, JobResult]]) -> None:
        outputs, error = self._outputs([clip for clip, _ in clips])
        if error is not None and len(clips) == 1:
            clips[0][1].failure = one_line(error)
            return
        if error is not None and _out_of_memory(error):
            self._memory.exceeded(len(clips))
            _free_memory()
            self._encode(clips)
            return
        if error is not None:
            half = len(clips) // 2
            self._encode_piece(clips[:half])
            self._encode_piece(clips[half:])
            return
        self._memory.held(len(clips))
        for (_, result), output in zip(clips, outputs, strict=True):
            try:
                result.output = checked(self._encoder.gives, output, self._plan.length)
            except Exception as wrong:  # a tensor on a device that failed, an odd __len__
                result.failure = one_line(wrong)

    def _outputs(self, clips: list[Clip]) -> tuple[list[Output], Exception | None]:
        """What the encoder gives, or why not, without the frames that hold its tensors alive.

        So that what follows an out-of-memory error finds the memory free: inside the ``except``
        block, and behind the error's traceback, every tensor of the failed call would live on.
        """
        try:
            outputs = list(self._encoder.encode(clips))
            if len(outputs) != len(clips):
                raise ValueError(f"encode gave {len(outputs)} outputs for {len(clips)} clips")
        except MemoryError:
            raise
        except Exception as error:
            return [], error.with_traceback(None)
        return outputs, None


def _out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _free_memory() -> None:
    """Gives back what the allocator keeps in pieces that are too small for the next call."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
