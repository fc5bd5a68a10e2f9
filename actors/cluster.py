"""The Ray that a pipeline runs on: an existing one, or a local one started for it."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError
from ray.job_config import JobConfig
from ray.util.placement_group import placement_group_table

from actors import ray_words
from pipeline.clock import monotonic_us
from pipeline.errors import InvalidInput, Problem, Unreachable
from pipeline.scaling.ground import Node
from pipeline.spec import PipelineSpec
from pipeline.spec.units import Wrong, parse_size
from pipeline.spec.user_class import one_line
from pipeline.tasks.host import RunControl
from pipeline.tasks.planning import Resources, missing

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it posts to the internet
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a stage without a GPU sees none
    "RAY_task_events_report_interval_ms": "0",
}
CONNECT_US = 30_000_000
SETTLE_US, SETTLE_STEP_S = 3_000_000, 0.1  # until Ray's books are right after a run has ended
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
    nodes = alive_nodes()
    return Resources.of(nodes, free_for(spec.name, nodes))


def alive_nodes() -> list[Node]:
    """Nodes that take actors, by Ray's ids: not those that Ray drains.

    Memory of GPUs is known where the label GPU_MEMORY says it.
    """
    leaving = draining_nodes()
    return [_node(node) for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def draining_nodes() -> dict[str, int]:
    """Nodes that Ray gives nothing more to, because they will go: a spot notice, an operator.

    By id, wall clock in milliseconds by when they will be gone; 0 where nobody said.
    """
    found: dict[str, int] = ray._private.state.state.get_draining_nodes()
    return found


def address_of(node: str) -> str:
    """As an operator knows it; its id where Ray does not know it any more."""
    told = next((each for each in ray.nodes() if each["NodeID"] == node), None)
    return node[:8] if told is None else f"{told['NodeManagerAddress']} ({node[:8]})"


def free_for(name: str, nodes: Sequence[Node]) -> dict[str, tuple[float, float]]:
    """CPUs and GPUs of each node that a run of this name may take when it begins.

    GPUs that an older run of it holds are among them, since it ends once this one takes over.
    Where it has just ended they come back a moment after its placement groups have gone.
    """
    until_us = monotonic_us() + SETTLE_US
    while True:
        free, held = free_of(nodes), _held_by_older(name)
        free = {node: (cpus, gpus + held.get(node, 0.0)) for node, (cpus, gpus) in free.items()}
        missed = sum(node.gpus for node in nodes) - sum(gpus for _, gpus in free.values())
        if missed < 0.01 or monotonic_us() >= until_us:
            return free
        time.sleep(SETTLE_STEP_S)


def _held_by_older(name: str) -> dict[str, float]:
    """GPUs by node."""
    held: dict[str, float] = {}
    for group in placement_group_table().values():
        if group["name"].startswith(group_prefix(name)) and group["state"] == "CREATED":
            for bundle, node in group["bundles_to_node_id"].items():
                gpus = group["bundles"][bundle].get("GPU", 0.0)
                held[node] = held.get(node, 0.0) + gpus
    return held


def older_run_holds_gpus(name: str) -> bool:
    return any(_held_by_older(name).values())


def group_prefix(name: str) -> str:
    """Of the names of a pipeline's placement groups, as `ray list placement-groups` shows them."""
    return f"motet/{name}/"


def free_of(nodes: Iterable[Node]) -> dict[str, tuple[float, float]]:
    """CPUs and GPUs that are not given out, of each of the nodes."""
    told = ray._private.state.available_resources_per_node()
    free = {node.name: told.get(node.name, {}) for node in nodes}
    return {node: (left.get("CPU", 0.0), left.get("GPU", 0.0)) for node, left in free.items()}


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
    try:
        ray.init(
            job_config=_own_paths(),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:  # Ray says so by errors of many kinds, and by a bare Exception
        raise Unreachable(
            f"ray.address = {address}: the local Ray did not start ({one_line(error)}); Ray's own "
            "logs are in /tmp/ray/session_latest/logs. Try again once the machine is less busy, "
            "or take `--local`, which needs no Ray"
        ) from error


def _own_paths() -> JobConfig:
    """Else Ray puts the driver's current folder before all others on every worker's import path.

    A user's own ``pipeline.py`` there would take the place of motet's package.
    """
    return JobConfig(_client_job=True)


def check_resources(spec: PipelineSpec, resources: Resources) -> None:
    """What is missing for the demands of the file, all at once; an autoscaler may add it."""
    problems = [] if spec.ray.autoscaler else missing(spec, resources)
    if problems:
        raise InvalidInput(*problems)
