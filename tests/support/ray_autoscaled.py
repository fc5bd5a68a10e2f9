"""A Ray cluster that adds nodes by Ray's own autoscaler, on this machine.

Ray's provider for this ("fake_multinode") starts real raylets. Not ``AutoscalingCluster``: it stops
every Ray on the machine first, and needs a file that Ray's wheel does not have.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from kafka_user import await_that
from ports import free_port
from ray_nodes import RayNodes, children, lives, title

HEAD = "ray.head.default"
HEAD_ID = "f" * 51 + "00000"  # as the provider expects it: it numbers its nodes from there


class RayAutoscaled(RayNodes):
    """A head, and up to ``nodes_max`` nodes of ``node_cpus`` that Ray adds and takes away."""

    def __init__(self, head_cpus: int, node_cpus: int, nodes_max: int) -> None:
        super().__init__(head_cpus, ())
        self._node_cpus, self._nodes_max = node_cpus, nodes_max

    def start(self) -> None:
        from ray._private.services import get_node_ip_address

        ip, port = get_node_ip_address(), free_port()
        self._gcs = f"{ip}:{port}"
        file = Path(self._folder.name) / "autoscaler.json"
        file.write_text(json.dumps(self._config()))
        own = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        before = dict(os.environ)
        os.environ.update(own)
        try:
            self.add(
                self._cpus[0],
                gcs_server_port=port,
                node_ip_address=ip,
                autoscaling_config=str(file),
                env_vars={"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID},
            )
        finally:
            for name in own.keys() - before.keys():
                del os.environ[name]

    def added(self) -> list[int]:
        """Process ids of the raylets that the autoscaler has started."""
        own = {self.raylet(node) for node in self.nodes}
        return [pid for pid in self._raylet_pids() if pid not in own and lives(pid)]

    def close(self) -> None:
        """The autoscaler goes with its head, and the nodes that it has added after it."""
        added = self.added() if self.nodes else []
        super().close()
        for raylet in added:
            for pid in (raylet, *children(raylet)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await_that("added nodes gone", lambda: not any(map(lives, added)), 60)

    def _raylet_pids(self) -> list[int]:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if "raylet/raylet" in (t := title(pid)) and self._gcs in t]

    def _config(self) -> dict[str, Any]:
        worker = {"CPU": self._node_cpus, "object_store_memory": 150 << 20}
        return {
            "cluster_name": "added",
            "max_workers": self._nodes_max,
            "idle_timeout_minutes": 0.1,
            "upscaling_speed": 1.0,
            "provider": {
                "type": "fake_multinode",
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "gcs_address": self._gcs,
                "head_node_id": HEAD_ID,
            },
            "auth": {},
            "available_node_types": {
                HEAD: {"resources": {"CPU": self._cpus[0]}, "node_config": {}, "max_workers": 0},
                "cpu": {
                    "resources": worker,
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": self._nodes_max,
                },
            },
            "head_node_type": HEAD,
            "docker": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            "initialization_commands": [],
            "setup_commands": [],
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
        }
