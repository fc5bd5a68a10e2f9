"""Running one stage: jobs in, one result each out, whatever the records and the encoder do."""

from __future__ import annotations

import gc
import itertools
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.batching.batch import JobResult, StageJob
from pipeline.batching.memory_limit import MemoryLimit
from pipeline.encoders.base import Clip, Encoder, Output
from pipeline.encoders.clips import ClipBuilder
from pipeline.encoders.contents import any_costly
from pipeline.encoders.decode_pool import INLINE, DecodePool
from pipeline.encoders.frames import wish_of
from pipeline.encoders.loading import kinds_taken
from pipeline.encoders.outputs import all_sound, checked
from pipeline.encoders.picture_bytes import decoded_bytes, portions
from pipeline.encoders.plan import BuiltClip, StagePlan
from pipeline.encoders.raw_clip import to_floats
from pipeline.spec.user_class import one_line

UNDECODABLE = "undecodable"


class Begun(NamedTuple):
    """A job, and the builder of its batch, which decodes ahead; None: that is not begun yet."""

    job: StageJob
    builder: ClipBuilder | None = None


_builder_of = operator.attrgetter("builder")


class EncodeTask:
    """An encoder and its stage; any replica may run any batch again with the same results.

    Every job gets exactly one result. What one window does to the encoder reaches no other
    window of its batch: a failed batch is halved until the window that fails alone has failed.
    """

    def __init__(
        self,
        encoder: Encoder,
        plan: StagePlan,
        pool: DecodePool = INLINE,
        now_us: Callable[[], int] = lambda: 0,
    ) -> None:
        """``now_us``: a monotonic clock; where it stands still no ``prepare_us`` is told."""
        self._encoder = encoder
        self._plan = plan
        self._pool = pool
        self._now_us = now_us
        self._takes = kinds_taken(encoder)
        self._rate: int | None = getattr(encoder, "rate", None)
        self._memory = MemoryLimit()
        self._wish = wish_of(encoder)
        if "audio" in self._takes:
            to_floats()  # at the start, so that the first batch need not wait for it

    def run(self, jobs: Sequence[StageJob]) -> list[JobResult]:
        """Decodes, encodes in one call, checks; ``failure`` is one line where there is no output.

        Windows whose pictures would not fit into memory together make it several calls. Raises
        MemoryError only, which is the machine's fault and no window's.
        """
        return self.finish([Begun(job) for job in jobs])

    def begin(self, jobs: Sequence[StageJob]) -> list[Begun]:
        """Starts decoding a batch that waits, and returns at once; any thread may call it.

        What is decoded ahead is bounded, for all replicas of the process together; a batch that
        goes beyond it, or has nothing that is worth it, is decoded when it is run.
        """
        builder = None
        if self._pool.threads and any_costly(jobs):
            size_bytes = sum(self._decoded_bytes(jobs))
            if self._pool.reserve(size_bytes):
                builder = self._builder()
                weakref.finalize(builder, self._pool.release, size_bytes).atexit = False
                builder.begin(jobs)
        return [Begun(job, builder) for job in jobs]

    def finish(self, begun: Sequence[Begun]) -> list[JobResult]:
        """As ``run``, of batches that were begun, or of parts of them."""
        parts = portions(self._decoded_bytes([each.job for each in begun]))
        return [result for part in parts for result in self._run(begun[part])]

    def _decoded_bytes(self, jobs: Sequence[StageJob]) -> list[int]:
        before_us, after_us = self._plan.before_us, self._plan.after_us
        return [decoded_bytes(job, before_us, after_us, self._wish) for job in jobs]

    def _builder(self) -> ClipBuilder:
        return ClipBuilder(self._plan, self._takes, self._rate, self._wish, self._pool)

    def _run(self, begun: Sequence[Begun]) -> list[JobResult]:
        results: list[JobResult] = []
        clips: list[tuple[Clip, JobResult]] = []
        began_us = self._now_us()
        made = self._built(begun)
        prepare_us = (self._now_us() - began_us) // max(1, len(begun))
        for (job, _), built in zip(begun, made, strict=True):
            result = JobResult(
                undecodable=built.undecodable, timed_out=built.timed_out, prepare_us=prepare_us
            )
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

    def _built(self, begun: Sequence[Begun]) -> list[BuiltClip]:
        """Batch by batch; those that were not begun together, so that they share what they can."""
        built = []
        for builder, group in itertools.groupby(begun, key=_builder_of):
            jobs = [each.job for each in group]
            if builder is None:
                builder = self._builder()
                if self._pool.threads and any_costly(jobs):
                    builder.begin(jobs)
            built += builder.build(jobs)
        return built

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
        if self._encoder.gives == "vector" and all_sound(outputs, self._plan.length):
            for (_, result), output in zip(clips, outputs, strict=True):
                result.output = output
            return
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
    """Gives back what the allocator keeps in pieces that are too small for the next call.

    And what only rings of objects still hold: an encoder may make some, seldom looked for.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
