"""The Ray that a pipeline runs on: an existing one, or a local one started for it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import ray
from ray.job_config import JobConfig

from pipeline.errors import InvalidInput, Problem, Unreachable
from pipeline.spec import PipelineSpec

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it posts to the internet
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a stage without a GPU sees none
    "RAY_task_events_report_interval_ms": "0",
}


class Resources(NamedTuple):
    """What the cluster has in all."""

    cpus: float
    gpus: float


def connect(spec: PipelineSpec) -> Resources:
    """Joins the cluster of ``ray.address``; ``auto`` starts a local one where none runs."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = spec.ray.address
    if not ray.is_initialized():
        try:
            with _signals_kept():
                _init(address)
        except ConnectionError as error:
            raise Unreachable(
                f"ray.address = {address}: no Ray cluster answers there; start one with "
                "`ray start --head`, or take `auto` for a local one, or `--local` for none"
            ) from error
    total = ray.cluster_resources()
    return Resources(total.get("CPU", 0.0), total.get("GPU", 0.0))


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Puts back the handlers that Ray takes over: SIGTERM must drain, not abort."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _init(address: str) -> None:
    # One that was given in the environment is joined; else a local one is started.
    given = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    if given:
        ray.init(
            address=given, job_config=_own_paths(), log_to_driver=False, configure_logging=False
        )
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(
        job_config=_own_paths(),
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )


def _own_paths() -> JobConfig:
    """Else Ray puts the driver's current folder before all others on every worker's import path.

    A user's own ``pipeline.py`` there would take the place of motet's package.
    """
    return JobConfig(_client_job=True)


def gpus_of(spec: PipelineSpec, stage: str, resources: Resources) -> float:
    """GPUs of one replica. ``auto``: an equal share where the cluster has some, else the CPU."""
    wanted = spec.stages[stage].num_gpus
    if wanted != "auto":
        return float(wanted)
    replicas = sum(entry.replicas_max for entry in spec.stages.values() if entry.num_gpus == "auto")
    if resources.gpus < 1:
        return 0.0
    share = resources.gpus / replicas
    return 1.0 if share >= 1 else 1.0 / -(-1 // share)


def check_resources(spec: PipelineSpec, resources: Resources) -> None:
    """What is missing for the demands of the file, all at once."""
    demands = {
        name: float(entry.num_gpus) * entry.replicas_min
        for name, entry in spec.stages.items()
        if entry.num_gpus != "auto"
    }
    if sum(demands.values()) <= resources.gpus:
        return
    raise InvalidInput(
        *(
            Problem(
                f"stages.{name}.num_gpus",
                f"{spec.stages[name].num_gpus:g}",
                f"the stages demand {sum(demands.values()):g} GPUs and the cluster has "
                f"{resources.gpus:g}",
                "lower the demand (`auto` takes what is there), or join GPU nodes",
            )
            for name, demand in demands.items()
            if demand > 0
        )
    )
