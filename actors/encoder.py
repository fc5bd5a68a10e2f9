"""One replica of a stage, pinned to its device."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

import ray

from actors.logged import Logged
from actors.packing import PackedBatch, PackedResults, pack_results, unpack
from pipeline.batching.batch import BatchRun, JobResult, together
from pipeline.batching.pace import BatchPace
from pipeline.clock import monotonic_us, thread_us
from pipeline.errors import MotetError
from pipeline.heap import settle_heap, swell_heap
from pipeline.spec import PipelineSpec, format_size

if TYPE_CHECKING:
    from pipeline.tasks.micro_batcher import Outcome

_log = logging.getLogger(__name__)


class DeviceMismatch(MotetError):
    """An encoder was not given the device that its stage demands."""


class EncoderActor(Logged):
    """Stateless: any batch may go to any replica, and go again elsewhere after a death.

    Invariant: it runs on the device that was demanded, or does not start. Calls of ``encode``
    wait side by side; one thread runs what they brought.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        stage: str,
        lengths: Mapping[str, int],
        num_gpus: float,
        neighbours: int,
    ) -> None:
        """``neighbours``: replicas of the stage that a node may come to have, this one included."""
        swell_heap()
        # Here and not above: whoever holds a handle of this class imports its module, and an
        # ingest process would pay 300 MB and two seconds for a torch that it never uses.
        import torch

        from pipeline.encoders.decode_pool import DecodePool, decode_threads
        from pipeline.tasks.encode import encode_task
        from pipeline.tasks.micro_batcher import MicroBatcher

        self._begin_logs(spec, "encoder", stage=stage)
        self._ids = _assigned_gpus(stage, num_gpus)
        on_gpu = bool(self._ids) and torch.cuda.is_available()
        self._device = torch.device("cuda" if on_gpu else "cpu")
        torch.set_num_threads(1)  # replicas side by side beat one operation spread over cores
        cores = max(1, (os.cpu_count() or 1) // neighbours)  # together they have all
        pool = DecodePool(decode_threads(cores), thread_us)
        task = encode_task(spec, stage, self._device, lengths, pool)
        declared = spec.stages[stage]
        if on_gpu and declared.gpu_memory_bytes is not None:
            _limit_memory(stage, declared.gpu_memory_bytes)
        pace = BatchPace(declared.batch_max, declared.latency_target_us)
        self._batcher = MicroBatcher(task.finish, pace, monotonic_us, task.begin)
        self._batch_max = declared.batch_max
        threading.Thread(target=self._batcher.serve, name="encoder", daemon=True).start()
        settle_heap()
        _log.info("ready on %s", self._device)

    def encode(self, batch: PackedBatch) -> tuple[PackedResults, BatchRun]:
        jobs = unpack(batch, monotonic_us())
        outcomes: list[Future[Outcome]] = []
        for first in range(0, len(jobs), self._batch_max):  # each begins to be decoded by itself
            outcomes.append(Future())
            self._batcher.put(jobs[first : first + self._batch_max], outcomes[-1].set_result)
        results: list[JobResult] = []
        runs: list[BatchRun] = []
        for outcome in outcomes:
            found = outcome.result()
            if isinstance(found, BaseException):
                raise found
            results += found[0]
            runs.append(found[1])
        return pack_results(results), together(runs)

    def set_limits(self, batch_max: int, latency_target_us: int | None) -> None:
        """For the batches that come from now on."""
        self._batch_max = batch_max
        self._batcher.set_pace(BatchPace(batch_max, latency_target_us))

    def device(self) -> dict[str, object]:
        """What it runs on: torch device, GPU ids that Ray assigned, node and process."""
        context = ray.get_runtime_context()
        return {
            "device": str(self._device),
            "gpus": self._ids,
            "node": context.get_node_id(),
            "pid": os.getpid(),
        }

    def watch(self) -> None:
        """Never returns: its reference fails when the process dies."""
        threading.Event().wait()


def _limit_memory(stage: str, most_bytes: int) -> None:
    """What is declared is all that torch may take: a neighbour on the GPU keeps the rest."""
    import torch

    for number in range(torch.cuda.device_count()):
        total_bytes = torch.cuda.get_device_properties(number).total_memory
        if most_bytes > total_bytes:
            raise DeviceMismatch(
                f"stages.{stage}.gpu_memory = {format_size(most_bytes)}: the GPU that Ray assigned "
                f"has {format_size(total_bytes)}"
            )
        torch.cuda.set_per_process_memory_fraction(most_bytes / total_bytes, number)


def _assigned_gpus(stage: str, num_gpus: float) -> list[str]:
    """The GPU ids that Ray assigned, checked against the demand and what the process sees."""
    ids = [str(i) for i in ray.get_runtime_context().get_accelerator_ids().get("GPU", [])]
    wanted = 0 if num_gpus == 0 else max(1, round(num_gpus))
    if len(ids) != wanted:
        raise DeviceMismatch(
            f"stages.{stage}.num_gpus = {num_gpus:g}: Ray assigned GPUs {ids}, not {wanted} of them"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if wanted and visible.split(",") != ids:
        raise DeviceMismatch(
            f"stages.{stage}.num_gpus = {num_gpus:g}: Ray assigned GPUs {ids}, and the process "
            f"sees CUDA_VISIBLE_DEVICES={visible!r}; unset it for Ray's workers"
        )
    return ids
