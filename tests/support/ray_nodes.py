"""Several Ray nodes on this machine, each of which may be killed or frozen with all it runs.

Not ``ray.cluster_utils``: it writes its address where every other Ray program on the machine
would find it, and join.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from kafka_user import await_that

# A dead or frozen node is given up after some 4 s (Ray's own settings: after a minute).
HEALTH = {
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
}
ROLES = {"ingest": "ray::IngestActor", "fusion": "ray::FusionActor", "encoder": "ray::EncoderActor"}


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has just ended
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def state(pid: int) -> str:
    """As ps has it: R, S, T (stopped), Z."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def resident_bytes(pid: int) -> int:
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


class RayNodes:
    """A head and its workers. Actors are found by their processes, as an operator would."""

    def __init__(self, head_cpus: int, worker_cpus: tuple[int, ...]) -> None:
        # Until cleanup alone: under them a busy machine's next cluster would count as dead.
        self._before = {name: os.environ.get(name) for name in HEALTH}
        os.environ.update(HEALTH)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        self._cpus = (head_cpus, worker_cpus)
        self._folder = tempfile.TemporaryDirectory(prefix="mfr", dir="/tmp")  # sockets: short
        self.nodes: list[Any] = []
        self._raylets: dict[Any, int] = {}

    @property
    def address(self) -> str:
        return str(self.nodes[0].gcs_address)

    def start(self) -> None:
        head_cpus, worker_cpus = self._cpus
        self.add(head_cpus)
        for cpus in worker_cpus:
            self.add(cpus)

    def add(
        self,
        cpus: int,
        gpus: int = 0,
        resources: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
        **settings: Any,
    ) -> Any:
        """``gpus``: in Ray's books alone, which is enough to be placed.

        ``settings``: of Ray's own, by name.
        """
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        own: dict[str, Any] = {"gcs_address": self.address} if self.nodes else {}
        params = RayParams(
            num_cpus=cpus, num_gpus=gpus, resources=resources, labels=labels,
            object_store_memory=150 << 20, include_dashboard=False,
            min_worker_port=0, max_worker_port=0, node_manager_port=0,
            dashboard_agent_listen_port=0,  # the one that Ray takes is taken: 3 s of tries
            temp_dir=self._folder.name, include_log_monitor=False, **own, **settings,
        )  # fmt: skip
        node = Node(params, head=not self.nodes, shutdown_at_exit=True, spawn_reaper=True)
        self.nodes.append(node)
        self._raylets[node] = int(node.all_processes["raylet"][0].process.pid)
        return node

    def raylet(self, node: Any) -> int:
        return self._raylets[node]

    def workers(self, node: Any) -> list[int]:
        return children(self.raylet(node))

    def actors(self, role: str) -> list[int]:
        """Process ids of all living actors of a role."""
        return [pid for node in self.nodes for pid in self._of(node, role)]

    def all_actors(self) -> list[int]:
        return [pid for role in ROLES for pid in self.actors(role)]

    def holder(self, *roles: str) -> Any:
        """A node that is not the head and runs an actor of one of the roles, sooner the first."""
        for role in roles:
            for node in self.nodes[1:]:
                if self._of(node, role):
                    return node
        raise AssertionError(f"no worker node runs one of {roles}")

    def drain(self, node: Any, within_s: int | None = None) -> None:
        """As an operator, or what hears of a spot notice, has Ray do it."""
        command = [
            str(Path(sys.executable).parent / "ray"), "drain-node", "--address", self.address,
            "--node-id", str(node._node_id), "--reason", "DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message", "a spot notice",
        ]  # fmt: skip
        if within_s is not None:
            command += ["--deadline-remaining-seconds", str(within_s)]
        subprocess.run(command, check=True, capture_output=True)

    def kill(self, node: Any) -> list[int]:
        """The node with all that it runs, at once; what it killed."""
        return self.send(node, signal.SIGKILL)

    def send(self, node: Any, number: int) -> list[int]:
        pids = [self.raylet(node), *self.workers(node)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def reap(self) -> None:
        """Takes the exit codes of what has ended, as ``ray start --block`` and init do.

        Workers end with their raylet, and one that nobody has reaped still has its process id.
        """
        for node in self.nodes:
            node.dead_processes()

    def forget(self, node: Any) -> None:
        """Clears away what is left of a node that was killed."""
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        self.nodes.remove(node)

    def close(self) -> None:
        while self.nodes:
            pids = self.send(self.nodes[-1], signal.SIGKILL)
            self.forget(self.nodes[-1])
            await_that(f"{pids} gone", lambda pids=pids: not any(map(lives, pids)), 120)

    def cleanup(self) -> None:
        self.close()
        self._folder.cleanup()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _of(self, node: Any, role: str) -> list[int]:
        if not lives(self.raylet(node)):
            return []
        return [pid for pid in self.workers(node) if title(pid).startswith(ROLES[role])]
