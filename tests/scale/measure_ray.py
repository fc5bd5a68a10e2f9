"""What Ray's calls cost here: at the caller, at the callee, and at Ray's own processes."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from measure_broker import process_us
from measure_growth import statuses
from measure_tasks import job
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

sys.path.append(str(Path(__file__).parents[1] / "support"))

from ray_nodes import RayNodes

from actors.packing import pack, pack_results
from actors.remote import CONTROL, WATCH, control
from pipeline.batching.batch import BatchRun, JobResult, StageJob
from pipeline.record import Facts, MediaRecord
from pipeline.slot.ports import LogRecord

WINDOW_BYTES = 32_000
ACTOR_THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Callee:
    """Answers as an encoder and as an owner's half do, and does nothing for it."""

    def __init__(self, lanes: int) -> None:
        self._status = statuses(lanes)
        self._results = {
            size: pack_results([JobResult(np.zeros(64, np.float32)) for _ in range(size)])
            for size in (0, 1, 16, 64)
        }

    def encode(self, batch: Any) -> Any:
        return self._results[len(batch.jobs)], BatchRun(0, ((len(batch.jobs), 1),))

    def status(self, half: int) -> Any:
        return self._status[half]

    def watch(self) -> None:
        time.sleep(3_600)

    def pid(self) -> int:
        import os

        return os.getpid()


def callee(node: Any, lanes: int = 10) -> Any:
    made = ray.remote(concurrency_groups={WATCH: 2, CONTROL: 2})(Callee)
    env = {"env_vars": {**ACTOR_THREADS, "PYTHONPATH": ":".join(sys.path)}}
    return made.options(num_cpus=0.1, max_restarts=0, max_concurrency=16,
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, False),
                        enable_task_events=False, runtime_env=env).remote(lanes)  # fmt: skip


def batch(windows: int) -> list[StageJob]:
    payload = bytes(WINDOW_BYTES)
    facts = Facts("audio", "S16BE", rate=16_000, channels=1, samples=16_000)
    jobs = []
    for number in range(windows):
        log = LogRecord("scale.audio", 0, number, 0, None, None, ())
        record = MediaRecord("mic", f"stream-{number}", 0, 1_000_000, facts,
                             payload[:-1] + bytes([number % 256]), log)  # fmt: skip
        jobs.append(StageJob(f"stream-{number}", 0, 1_000_000, [record], {}, 60_000_000))
    return jobs


class Meter:
    """Processor time since ``begin``, of this process, the callee and Ray's processes."""

    def __init__(self, own: list[int], node: list[int]) -> None:
        self._own, self._node = own, node

    def begin(self) -> None:
        self._at = time.process_time_ns() / 1e3, self._sum(self._own), self._sum(self._node)
        self._wall = time.monotonic()

    def end(self, times: int) -> dict[str, float]:
        out, into, node = self._at
        return {
            "out": (time.process_time_ns() / 1e3 - out) / times,
            "in": (self._sum(self._own) - into) / times,
            "node": (self._sum(self._node) - node) / times,
            "wall": (time.monotonic() - self._wall) * 1e6 / times,
        }

    @staticmethod
    def _sum(pids: list[int]) -> float:
        return float(sum(map(process_us, pids)))


def calls(meter: Meter, actor: Any, windows: int, times: int, at_once: int) -> dict[str, float]:
    """Of one call with so many windows; the packing itself is not counted (measure_tasks)."""
    jobs = batch(windows)
    for _ in range(5):
        ray.get(actor.encode.remote(pack(jobs, 0)))
    meter.begin()
    out: list[Any] = []
    for _ in range(times):
        out.append(actor.encode.remote(pack(jobs, 0)))
        if len(out) == at_once:
            ray.get(out.pop(0))
    if out:
        ray.get(out)
    found = meter.end(times)
    packed_us = min(_took_us(lambda: pack(jobs, 0)) for _ in range(20))
    found["out"] = max(0.0, found["out"] - packed_us)
    return found


def least(measure: Callable[[], dict[str, float]], tries: int = 4) -> dict[str, float]:
    """Of some tries the least of each figure: what disturbs only adds."""
    found = [measure() for _ in range(tries)]
    return {name: min(one[name] for one in found) for name in found[0]}


def _took_us(work: Callable[[], object]) -> float:
    began_ns = time.process_time_ns()
    work()
    return (time.process_time_ns() - began_ns) / 1e3


def asked(meter: Meter, actors: list[Any], rounds: int, *, together: bool) -> dict[str, float]:
    """Of one owner's two statuses: owners one after the other, or all at once."""
    seen = dict.fromkeys(range(10), 7)
    del seen
    meter.begin()
    for _ in range(rounds):
        if together:
            refs = [control(one.status).remote(half) for one in actors for half in (0, 1)]
            ray.get(refs, timeout=60)
        else:
            for one in actors:
                ray.get([control(one.status).remote(half) for half in (0, 1)], timeout=60)
    return meter.end(rounds * len(actors))


def reference_us(actor: Any, count: int) -> float:
    """Of one reference in a look at what has ended, of which nothing has."""
    refs = [actor.watch.options(concurrency_group=WATCH).remote() for _ in range(count)]
    ray.wait(refs, num_returns=1, timeout=1.0)
    began_ns = time.process_time_ns()
    for _ in range(20):
        ray.wait(refs, num_returns=1, timeout=0.01)
    return (time.process_time_ns() - began_ns) / 1e3 / 20 / count


def measured(times: int = 400, raw: dict[str, Any] | None = None) -> dict[str, float]:
    nodes = RayNodes(8, (8,))
    try:
        nodes.start()
        ray.init(nodes.address, log_to_driver=False, configure_logging=False)
        near, away = nodes.nodes
        actors = [*(callee(near) for _ in range(4)), callee(away)]
        pids = ray.get([one.pid.remote() for one in actors])
        far = actors.pop()
        own = [int(p.process.pid) for node in nodes.nodes
               for of in node.all_processes.values() for p in of]  # fmt: skip
        meter = Meter(pids, own)
        own_meter = Meter(pids[:1], own)
        far_meter = Meter(pids[4:], own)
        idle = least(lambda: calls(own_meter, actors[0], 0, times, 1))
        empty = least(lambda: calls(own_meter, actors[0], 0, times, 4))
        some = least(lambda: calls(own_meter, actors[0], 16, times, 4))
        full = least(lambda: calls(own_meter, actors[0], 64, times, 4))
        distant = least(lambda: calls(far_meter, far, 64, times, 4))
        meter.begin()
        time.sleep(5)
        quiet = meter.end(1)
        serial = least(lambda: asked(meter, actors, times // 4, together=False))
        together = least(lambda: asked(meter, actors, times // 4, together=True))
        few, many = reference_us(actors[0], 100), reference_us(actors[1], 2_000)
        if raw is not None:
            raw |= {"idle": idle, "empty": empty, "some": some, "full": full, "distant": distant,
                    "quiet": quiet, "serial": serial, "together": together,
                    "reference": {"100": few, "2000": many}}  # fmt: skip
        ray.shutdown()
    finally:
        nodes.cleanup()
    return {
        "call_out": empty["out"],
        "call_in": empty["in"],
        "call_node": empty["node"],
        "byte": max(0.0, _all(full) - _all(empty)) / (64 * WINDOW_BYTES),
        "far_byte": max(0.0, _all(distant) - _all(full)) / (64 * WINDOW_BYTES),
        "node_idle": (quiet["node"] + quiet["in"]) / 5 / 2,
        "call_wall": idle["wall"],
        "status_serial": serial["out"],
        "status_together": together["out"],
        "status_wall": serial["wall"],
        "reference": many,
    }


def _all(of: dict[str, float]) -> float:
    return of["out"] + of["in"] + of["node"]


if __name__ == "__main__":
    told: dict[str, Any] = {}
    for name, took in measured(raw=told).items():
        print(f"{name:18} {took:10.4f} us")
    for name, of in told.items():
        print(name, {key: round(value, 1) for key, value in of.items()})
    print(len(pickle.dumps(statuses(10))), "bytes of a status")
    job()
