"""Processor time of both halves and of an encoder, without Kafka and Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from actors.packing import (
    pack,
    pack_messages,
    pack_results,
    unpack,
    unpack_messages,
    unpack_results,
)
from pipeline.batching.batch import BatchRun, JobResult, StageJob
from pipeline.clock import thread_us
from pipeline.encoders.checking import check_pipeline
from pipeline.encoders.decode_pool import DecodePool
from pipeline.lane import LaneCut
from pipeline.slot.ports import Fetch, LogRecord
from pipeline.spec import PipelineSpec, loads
from pipeline.tasks.encode import encode_task
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.ingest import IngestTask
from pipeline.tasks.results import rfc3339

RATE, STREAMS, LANES = 16_000, 32, 4
SECOND_US = 1_000_000
BEGIN_US = 1_700_000_000 * SECOND_US
JOB = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  mic: {{topic: {topic}, type: "audio/L16;rate=16000;channels=1", out_of_orderness: 200ms}}
windows: {{size: 1s}}
stages:
  sound: {{encoder: log_mel, of: mic, replicas: {replicas}}}
fusion: {{rule: weighted_sum, of: {{sound: 1}}, normalize: none}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
limits: {{in_flight_bytes: 4GiB}}
slots: {slots}
metrics: {{port: 0}}
"""


def job(name: str = "scale", bootstrap: str = "127.0.0.1:1", topic: str = "scale.audio",
        replicas: int = 1, slots: int = 4) -> PipelineSpec:  # fmt: skip
    """The standard job of docs/BENCHMARKS.md: records of a second, each closes a window."""
    text = JOB.format(name=name, bootstrap=bootstrap, topic=topic, replicas=replicas, slots=slots)
    return loads(text, folder=Path(), environ={})


def cpu_us(work: Callable[[], object], times: int = 3) -> float:
    """Processor time of this process, the least of some tries: what disturbs only adds."""
    found = []
    for _ in range(times):
        began_ns = time.process_time_ns()
        work()
        found.append((time.process_time_ns() - began_ns) / 1e3)
    return min(found)


def fetches(seconds: range, lanes: int = LANES, streams: int = STREAMS) -> list[Fetch]:
    """One fetch a second and lane; ``streams`` in all, each with a record a second."""
    sound = np.random.default_rng(0).integers(-9000, 9000, RATE).astype(">i2").tobytes()
    found = []
    for second in seconds:
        at_us = BEGIN_US + second * SECOND_US
        headers = (("ce_time", rfc3339(at_us)),)
        for lane in range(lanes):
            mine = range(lane, streams, lanes)
            base = second * len(mine)
            records = [
                LogRecord("scale.audio", lane, base + place, at_us + SECOND_US,
                          b"stream-%d" % stream, sound, headers)
                for place, stream in enumerate(mine)
            ]  # fmt: skip
            found.append(Fetch("scale.audio", lane, records, base + len(mine)))
    return found


def ingest_task(spec: PipelineSpec, lanes: int) -> IngestTask:
    cuts: dict[int, dict[int, LaneCut]] = {slot: {} for slot in range(spec.slots)}
    for lane in range(lanes):
        cuts[lane % spec.slots][lane] = LaneCut(0, {"mic": 0}, {"mic": 0})
    task = IngestTask(spec, {slot: of for slot, of in cuts.items() if of}, call_batches=2)
    task.set_replicas("sound", ["sound-1"])
    return task


def ingest(batch: int, seconds: int = 40) -> tuple[float, float, float, float]:
    """Microseconds for each window: to the dispatcher, out, back, and to the messages' packing.

    ``batch``: windows of each batch that comes back.
    """
    spec = job()
    best = [float("inf")] * 4
    for _ in range(3):
        task = ingest_task(spec, LANES)
        task.dispatcher.set_limits("sound", batch, 60 * SECOND_US, BEGIN_US)
        meter = _Meter()
        windows = 0
        rounds = fetches(range(seconds))
        for second in range(seconds):
            now_us = BEGIN_US + second * SECOND_US
            meter.begin()
            task.on_fetches(rounds[second * LANES : (second + 1) * LANES], now_us)
            task.pump(now_us)
            meter.end(0)
            windows += _encoded(task, now_us, meter)
            meter.begin()
            for messages in task.take_deliveries().values():
                pack_messages(messages)
            meter.end(3)
        best = [min(b, s / windows) for b, s in zip(best, meter.spent_us, strict=True)]
    return best[0], best[1], best[2], best[3]


class _Meter:
    """Adds processor time up under four numbers."""

    def __init__(self) -> None:
        self.spent_us = [0.0] * 4
        self._began_ns = 0

    def begin(self) -> None:
        self._began_ns = time.process_time_ns()

    def end(self, number: int) -> None:
        self.spent_us[number] += (time.process_time_ns() - self._began_ns) / 1e3


def _encoded(task: IngestTask, now_us: int, meter: _Meter) -> int:
    """Every window that is queued goes out and comes back; how many there were."""
    windows = 0
    while True:
        meter.begin()
        given = task.take_assignments(now_us)
        for one in given:
            pack(one.jobs, now_us)
        meter.end(1)
        if not given:
            return windows
        for one in given:
            results = pack_results([JobResult(_VECTOR) for _ in one.jobs])
            run = BatchRun(0, ((len(one.jobs), 1000),), 0, 0, 2000)
            meter.begin()
            task.on_batch(one.number, unpack_results(results), now_us, run)
            meter.end(2)
            windows += len(one.jobs)


def idle_round(lanes: int) -> float:
    """Of a round in which nothing came, with so many lanes."""
    task = ingest_task(job(), lanes)
    now_us = BEGIN_US

    def round_of() -> None:
        for _ in range(10):
            task.pump(now_us)
            task.ends_wanted(now_us)
            task.take_assignments(now_us)
            task.take_deliveries()
            task.take_pauses()

    return cpu_us(round_of, 5) / 10


def fusion(batch: int, seconds: int = 40) -> tuple[float, float]:
    """Microseconds of a window in the fusion half, from its messages to its record, and of a
    delivery that holds as few as may be, by difference."""
    spec = job()
    lengths = check_pipeline(spec)
    deliveries = _deliveries(spec, seconds)
    windows = STREAMS * (seconds - 1)

    def whole() -> None:
        task = FusionTask(spec, lengths, range(spec.slots))
        now_us = BEGIN_US
        for packed in deliveries:
            for slot, messages in packed.items():
                task.on_messages(slot, unpack_messages(messages))
            now_us += SECOND_US
            for slot in task.due(now_us):
                task.on_committed(slot, now_us)

    return cpu_us(whole) / windows, windows / len(deliveries)


def _deliveries(spec: PipelineSpec, seconds: int) -> list[dict[int, object]]:
    task = ingest_task(spec, LANES)
    vector = np.random.default_rng(1).standard_normal(64).astype(np.float32)
    rounds = fetches(range(seconds))
    found = []
    for second in range(seconds):
        now_us = BEGIN_US + second * SECOND_US
        task.on_fetches(rounds[second * LANES : (second + 1) * LANES], now_us)
        task.pump(now_us)
        for one in task.take_assignments(now_us):
            results = [JobResult(vector.copy()) for _ in one.jobs]
            task.on_batch(one.number, results, now_us, BatchRun(0, ((len(results), 1000),)))
        task.pump(now_us)
        taken = task.take_deliveries()
        if taken:
            found.append({slot: pack_messages(messages) for slot, messages in taken.items()})
    return found


def encode(sizes: tuple[int, ...] = (1, 8, 32, 64)) -> dict[int, tuple[float, float]]:
    """By size, microseconds of a batch at its replica: taken in and given out, and encoded."""
    torch.set_num_threads(1)
    spec = job()
    lengths = check_pipeline(spec)
    pool = DecodePool(1, thread_us)
    task = encode_task(spec, "sound", torch.device("cpu"), lengths, pool)
    jobs = _jobs(max(sizes))
    found = {}
    for size in sizes:
        packed = pack(jobs[:size], 0)
        times = max(3, 128 // size)

        def around(packed=packed, size=size, times=times) -> None:
            for _ in range(times):
                unpack(packed, 0)
                pack_results([JobResult(_VECTOR) for _ in range(size)])

        def run(packed=packed, times=times) -> None:
            for _ in range(times):
                task.finish(task.begin(unpack(packed, 0)))

        run()
        around_us = cpu_us(around, 5) / times
        found[size] = around_us, cpu_us(run, 5) / times - around_us
    return found


_VECTOR = np.zeros(64, np.float32)


def _jobs(count: int) -> list[StageJob]:
    task = ingest_task(job(), LANES)
    jobs: list[StageJob] = []
    for second in range(2 + count // STREAMS + 1):
        now_us = BEGIN_US + second * SECOND_US
        task.on_fetches(fetches(range(second, second + 1)), now_us)
        task.pump(now_us)
        for one in task.take_assignments(now_us):
            jobs += one.jobs
            task.on_batch(one.number, [JobResult(_VECTOR) for _ in one.jobs], now_us)
    return jobs[:count]


def line(points: dict[int, float]) -> tuple[float, float]:
    """Fixed and each, by least squares weighted as relative errors are, both 0 or more."""
    sizes = np.array(list(points), float)
    took = np.array(list(points.values()), float)
    weight = 1 / took
    design = np.stack([weight, sizes * weight], axis=1)
    fixed, each = np.linalg.lstsq(design, np.ones_like(took), rcond=None)[0]
    return max(0.0, float(fixed)), max(0.0, float(each))


def measured() -> dict[str, float]:
    small, large = ingest(2), ingest(64)
    fixed_of = [max(0.0, (s - b) * 2 * 64 / 62) for s, b in zip(small, large, strict=True)]
    batch = fixed_of[1] + fixed_of[2]
    result = max(0.0, large[2] + large[3] + large[1] - batch / 64)
    encoded = encode()
    batch_in = line({size: around for size, (around, _) in encoded.items()})
    fixed, each = line({size: took for size, (_, took) in encoded.items()})
    many = idle_round(2_000)
    fuse, _ = fusion(64)
    return {
        "record": large[0],
        "batch": batch,
        "result": result,
        "lane_round": many / 2_000,
        "batch_in": batch_in[0],
        "window_in": batch_in[1],
        "encode_fixed": fixed,
        "encode_window": each,
        "fuse": fuse,
    }


if __name__ == "__main__":
    for name, took in measured().items():
        print(f"{name:16} {took:10.2f} us")
