"""The Ray that a pipeline runs on: an existing one, or a local one started for it."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError
from ray.job_config import JobConfig

from actors import ray_words
from pipeline.clock import monotonic_us
from pipeline.errors import InvalidInput, Problem, Unreachable
from pipeline.scaling.ground import Node
from pipeline.spec import PipelineSpec
from pipeline.spec.units import Wrong, parse_size
from pipeline.tasks.host import RunControl
from pipeline.tasks.planning import Resources, missing

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it posts to the internet
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a stage without a GPU sees none
    "RAY_task_events_report_interval_ms": "0",
}
CONNECT_US = 30_000_000
GPU_MEMORY = "motet/gpu-memory"  # of each GPU of a node: ray start --labels motet/gpu-memory=80GiB
_WANTS_TOKEN = (
    "it may want its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
)
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\s/]+):([0-9]{1,5})")


def connect(spec: PipelineSpec, control: RunControl | None = None) -> Resources:
    """Joins the cluster of ``ray.address``; ``auto`` starts a local one where none runs.

    Raises InvalidInput where the address is none, Unreachable where no cluster answers there
    within 30 s, which is said at once.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = spec.ray.address
    if not ray.is_initialized():
        try:
            with _signals_kept():
                _init(address, control or RunControl())
        except AuthenticationError as error:
            raise Unreachable(f"ray.address = {address}: {_WANTS_TOKEN}") from error
        except ConnectionError as error:
            raise Unreachable(
                f"ray.address = {address}: no Ray cluster answers there; start one with "
                "`ray start --head`, or take `auto` for a local one, or `--local` for none. "
                f"If there is one, {_WANTS_TOKEN}"
            ) from error
    return Resources.of(alive_nodes())


def alive_nodes() -> list[Node]:
    """Nodes by Ray's ids. Memory of GPUs is known where the label GPU_MEMORY says it."""
    return [_node(node) for node in ray.nodes() if node["Alive"]]


def _node(told: dict[str, Any]) -> Node:
    resources = told["Resources"]
    size = (told.get("Labels") or {}).get(GPU_MEMORY)
    try:
        memory_bytes = None if size is None else parse_size(size)
    except Wrong as wrong:
        where = f"the label {GPU_MEMORY} of node {told['NodeManagerAddress']}"
        raise InvalidInput(Problem(where, str(size), wrong.why, wrong.remedy)) from None
    cpus, gpus = resources.get("CPU", 0.0), int(resources.get("GPU", 0.0))
    return Node(told["NodeID"], cpus, gpus, memory_bytes, int(resources.get("memory", 0)) or None)


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


def _await_port(address: str, control: RunControl) -> None:
    """Ray itself would wait for two minutes, and tell of it in its own log alone."""
    found = _HOST_PORT.fullmatch(address)
    if found is None or int(found[2]) > 65_535:
        remedy = "write HOST:PORT as `ray start --head` prints it, or `auto`"
        raise InvalidInput(Problem("ray.address", address, "is not HOST:PORT", remedy))
    target = (found[1].strip("[]"), int(found[2]))
    deadline_us = monotonic_us() + CONNECT_US
    told = False
    while True:
        try:
            socket.create_connection(target, timeout=5).close()
            return
        except OSError as error:
            if monotonic_us() >= deadline_us or control.stop.is_set():
                raise ConnectionError(str(error)) from error
            if not told:
                control.say(f"waiting for the Ray cluster at {address} ({error}), 30 s at most")
                told = True
            control.stop.wait(1)


def _init(address: str, control: RunControl) -> None:
    # One that was given in the environment is joined; else a local one is started.
    given = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    ray_words.take_over(control.say)
    if given and given != "auto":
        _await_port(given, control)
    if given:
        ray.init(
            address=given, job_config=_own_paths(), log_to_driver=False, configure_logging=False
        )
        return
    control.say("motet: starting a local Ray, in about ten seconds")
    if "RAY_AUTH_MODE" not in os.environ:  # Ray's ports are open to all who reach this machine
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        Config.initialize("")  # Ray read the environment when it was imported
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


def check_resources(spec: PipelineSpec, resources: Resources) -> None:
    """What is missing for the demands of the file, all at once."""
    problems = missing(spec, resources)
    if problems:
        raise InvalidInput(*problems)
