"""Three real Kafka brokers on this machine, each of which may be killed, paused or run full.

Topics have three replicas and need two; so do the internal ones. Each broker has a listener
behind a gate for the pipeline, and one for the tests themselves, which no fault of the network
reaches.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kafka_gate import Gate
from kafka_user import await_that
from ports import free_port

from pipeline.broker import settings
from pipeline.broker.class_archive import ClassArchive
from pipeline.broker.jars import ensure_jars
from pipeline.broker.probe import cluster_id

HOST = "127.0.0.1"

# Kills what lives of a cluster when its input ends: also where the tests are killed themselves.
_WARDEN = """
import os, signal, sys
folder, pids = sys.argv[1], sys.stdin.read().split()
for pid in pids:
    try:
        if folder in open(f"/proc/{pid}/cmdline").read():
            os.kill(int(pid), signal.SIGKILL)
    except OSError:
        pass  # it has ended
"""
START_S_MAX = 120.0

# Behind the embedded broker's own settings: of two lines with one key Java takes the last.
_CLUSTERED = """
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},GATE://{host}:{gated},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port},GATE://{host}:{gate}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,GATE:PLAINTEXT,CONTROLLER:PLAINTEXT
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
log.segment.bytes=4194304
log.index.size.max.bytes=65536
"""


class BrokerNode:
    """One broker, which is also one of the controllers. Its data outlives its process."""

    def __init__(self, number: int, folder: Path, warden: subprocess.Popen[bytes]) -> None:
        folder.mkdir(parents=True)
        self._warden = warden
        self.number, self.folder = number, folder
        self.port, self.gated, self.controller = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def prepare(self, properties: str, cluster: str, jars: list[Path]) -> None:
        self._jars = jars
        (self.folder / "server.properties").write_text(properties)
        format_ = ("kafka.tools.StorageTool", "format", "-t", cluster, "-c")
        subprocess.run(
            self._java(*format_, heap="128m"),
            env=settings.java_environment(), check=True, capture_output=True,
        )  # fmt: skip

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", heap="320m"),
                env=settings.java_environment(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert self._warden.stdin is not None
        self._warden.stdin.write(b"%d\n" % self.pid)
        self._warden.stdin.flush()

    def await_up(self) -> None:
        def answers() -> bool:
            assert self.runs, self.log[-2000:]
            return cluster_id(HOST, self.port) is not None

        await_that(f"broker {self.number}", answers, START_S_MAX)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, number: int = signal.SIGKILL) -> None:
        """Signals it, and returns once it is gone."""
        if self._process is not None and self.runs:
            self._process.send_signal(number)
            self._process.wait(60)

    def _java(self, *main: str, heap: str) -> list[str]:
        properties = str(self.folder / "server.properties")
        archive = ClassArchive.of(self._jars).options()
        return settings.java_command(
            self.folder, self._jars, *main, properties, heap=heap, archive=archive
        )


class BrokerCluster:
    """The three together; ``bootstrap`` is theirs alone, the gate's is for the pipeline."""

    def __init__(self, folder: Path, gate: Gate) -> None:
        self._warden = subprocess.Popen(
            [sys.executable, "-c", _WARDEN, str(folder)],
            stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.nodes = [BrokerNode(n, folder / f"broker-{n}", self._warden) for n in (1, 2, 3)]
        gate.targets = [node.gated for node in self.nodes]
        voters = ",".join(f"{n.number}@{HOST}:{n.controller}" for n in self.nodes)
        cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        jars = ensure_jars()

        def prepare(node: BrokerNode) -> None:
            own = settings.render_properties(HOST, node.port, node.controller, node.data)
            clustered = _CLUSTERED.format(
                number=node.number, voters=voters, host=HOST, port=node.port, gated=node.gated,
                controller=node.controller, gate=gate.ports[node.number - 1],
            )  # fmt: skip
            node.prepare(own + clustered, cluster, jars)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(prepare, self.nodes))

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def start(self) -> None:
        for node in self.nodes:
            if not node.runs:
                node.start()
        for node in self.nodes:
            node.await_up()

    def close(self) -> None:
        for node in self.nodes:
            node.end()
        self._warden.communicate()
