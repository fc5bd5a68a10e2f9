"""The pods of deploy/kuberay as processes: a Ray cluster as KubeRay starts one, and who joins it.

Commands, settings and probes are those of image and manifests; each process has what its container
would have and no more (contained.py). Only addresses and ports differ, since all share one network.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from contained import Contained
from deploy_files import environment_of_the_image
from ports import free_port
from probing import probed

from pipeline.clock import monotonic_us
from pipeline.spec.units import parse_size

TOKEN = "a-token-of-thirty-two-letters-00"
RAY_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
_NOTHING = Event()  # never set: what is probed tells nobody


class Pods:
    """A head and a worker of a RayCluster's or a RayJob's groups, and containers beside them.

    ``http``: the port that stands for 9464; ``dashboard``: the one for 8265.
    """

    def __init__(self, folder: Path, cluster: dict[str, Any]) -> None:
        self._folder = folder
        self._groups = {"head": cluster["headGroupSpec"], "worker": cluster["workerGroupSpecs"][0]}
        self.gcs, self.http, self.dashboard = free_port(), free_port(), free_port()
        self._agents: dict[str, int] = {}
        self._running: dict[str, Contained] = {}

    def start_ray(self, files: dict[str, str]) -> None:
        """``files``: what is mounted in the head."""
        for name, mounted in (("head", files), ("worker", {})):
            line = f"ulimit -n 65536; ray start {self._flags(name)} --block"
            environ = {**RAY_TOKEN, "RAY_ADDRESS": f"127.0.0.1:{self.gcs}"}
            self.start(name, ["/bin/bash", "-c", "--", line], environ, mounted, name)
            self.await_probe(name, lambda name=name: self.healthy(name))

    def ports(self, name: str) -> str:
        """Of a Ray node: what a pod, with a network of its own, need not say."""
        self._agents[name] = free_port()
        own = ["--min-worker-port=0", "--max-worker-port=0", f"--metrics-export-port={free_port()}"]
        return " ".join([*own, f"--dashboard-agent-listen-port={self._agents[name]}"])

    def _flags(self, name: str) -> str:
        """As KubeRay makes them of a group's parameters (common/pod.go)."""
        group = self._groups[name]
        container = group["template"]["spec"]["containers"][0]
        params = {"num-cpus": container["resources"]["limits"]["cpu"], **group["rayStartParams"]}
        flags = [f"--{key}={value}" for key, value in params.items()]
        if name == "head":
            flags += ["--head", f"--port={self.gcs}", f"--dashboard-port={self.dashboard}"]
            flags += [f"--ray-client-server-port={free_port()}"]
        else:
            flags += [f"--address=127.0.0.1:{self.gcs}"]
        return " ".join([*flags, self.ports(name)])

    def start(
        self,
        name: str,
        command: list[str],
        environ: dict[str, str],
        files: dict[str, str],
        like: str = "head",
    ) -> None:
        """``like``: the group that has as much shared memory."""
        volumes = self._groups[like]["template"]["spec"]["volumes"]
        [shm] = [one["emptyDir"]["sizeLimit"] for one in volumes if one["name"] == "shm"]
        image = {k: v for k, v in environment_of_the_image().items() if k != "PATH"}
        image["RAY_health_check_timeout_ms"] = "10000"  # two cores for all: nobody is dead soon
        self._running[name] = Contained(
            self._folder / name, command, image | environ, files, parse_size(f"{shm}B")
        )

    def await_probe(self, name: str, probe: Callable[[], bool]) -> None:
        """As kubelet does: asks again and again, and starts anew what has ended meanwhile."""
        until_us = monotonic_us() + 300_000_000
        while not probe():
            assert monotonic_us() < until_us, self[name].said
            if self[name].ended is not None:
                self[name].again()
            _NOTHING.wait(1)

    def healthy(self, name: str) -> bool:
        """By the probe of a Ray node."""
        container = self._groups[name]["template"]["spec"]["containers"][0]
        asked = container["readinessProbe"]["httpGet"]["path"]
        return self.probe(f":{self._agents[name]}{asked}")

    def probe(self, target: str) -> bool:
        (self._folder / "token").write_text(TOKEN)
        token = str(self._folder / "token")
        return probed(self._folder, self.http, target, METRICS_TOKEN_FILE=token).returncode == 0

    def __getitem__(self, name: str) -> Contained:
        return self._running[name]

    def close(self) -> None:
        for container in reversed(self._running.values()):
            with suppress(Exception):
                container.kill()
