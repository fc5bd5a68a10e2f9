"""The one place where plain classes become Ray actors.

No restarts and no retries by Ray on the data path: a retried call on a stateful actor is a
duplicate, and the supervisor restarts from what Kafka holds (facts: Ray, decisions).
"""

from __future__ import annotations

from typing import Any

import ray

from actors.encoder import EncoderActor
from actors.fusion import FusionActor
from actors.ingest import IngestActor
from pipeline import logs, tracing
from pipeline.connectors.environment import CONSUMER_ENV

THREADS_ENV = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
WATCH = "watch"  # calls that wait: for an actor's end, or until it is drained
CONTROL = "control"  # calls that must be answered while it works
MOVES = "moves"  # calls that wait until a slot is taken or has left
# Batches that wait inside a replica, of all ingest actors together; Ray keeps those beyond.
DOOR_BATCHES = 16


def _actor(cls: type, num_cpus: float, **options: Any) -> Any:
    remote = ray.remote(concurrency_groups={WATCH: 2, CONTROL: 2, MOVES: 2})(cls)
    return remote.options(
        num_cpus=num_cpus,
        max_restarts=0,
        max_task_retries=0,
        enable_task_events=False,
        **options,
    )


def _told() -> dict[str, str]:
    """So that an owner's halves log and trace as the driver does."""
    return {**logs.environment(), **tracing.environment()}


def ingest_actor(num_cpus: float, where: Any) -> Any:
    """``where``: one of Ray's scheduling strategies, as for all actors."""
    env = {"env_vars": {**CONSUMER_ENV, **THREADS_ENV, **_told()}}
    return _actor(IngestActor, num_cpus, runtime_env=env, scheduling_strategy=where)


def fusion_actor(num_cpus: float, where: Any) -> Any:
    env = {"env_vars": {**CONSUMER_ENV, **THREADS_ENV, **_told()}}
    return _actor(FusionActor, num_cpus, runtime_env=env, scheduling_strategy=where)


def encoder_actor(num_cpus: float, num_gpus: float, where: Any) -> Any:
    env = {**CONSUMER_ENV, **(THREADS_ENV if num_gpus == 0 else {}), **logs.environment()}
    return _actor(
        EncoderActor,
        num_cpus,
        num_gpus=num_gpus,
        max_concurrency=DOOR_BATCHES,
        scheduling_strategy=where,
        runtime_env={"env_vars": env},
    )


def control(method: Any) -> Any:
    """A method of a handle, called beside the actor's work."""
    return method.options(concurrency_group=CONTROL)


def moves(method: Any) -> Any:
    """A method of a handle that gives or takes a slot."""
    return method.options(concurrency_group=MOVES)


def watch(handle: Any) -> Any:
    """The reference that becomes ready, or fails, when the actor has ended."""
    return handle.watch.options(concurrency_group=WATCH).remote()


def drained(ingest: Any) -> Any:
    """The reference that becomes ready when an ingest actor is drained, or has ended."""
    return ingest.wait_drained.options(concurrency_group=WATCH).remote()
