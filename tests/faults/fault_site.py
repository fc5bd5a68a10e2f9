"""All that a fault run needs: three brokers, several Ray nodes, a pipeline, traffic, a watcher."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

import yaml
from broker_cluster import BrokerCluster
from fault_traffic import QUICK, RATE, STREAMS, Traffic, Watcher
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka_gate import Gate
from kafka_user import PARTITIONS, Command, KafkaUser, await_that
from ports import free_port
from ray_nodes import RayNodes

from pipeline.cli import main as motet
from pipeline.clock import wall_us

NAME = "faults"
HEAD_CPUS, WORKER_CPUS = 3, (2, 2)  # five actors of one CPU: one worker may be missing
READY_S_MAX = 180.0
# A machine that is busy with other things spoils no window; F20's endless text waits for it.
STAGE_TIMEOUT = "2m"
CALM_US = 8_000_000  # no stream's newest result is older: whatever was behind has caught up


class Run:
    """``motet run`` in a process of its own, as a service manager would start it."""

    def __init__(self, site: Site, arguments: Iterable[object]) -> None:
        self._log = site.folder / f"run-{len(site.runs)}.err"
        self.began_us = wall_us()
        command = [sys.executable, "-m", "actors", "run", str(site.file), *map(str, arguments)]
        with self._log.open("wb") as err:
            self.process = subprocess.Popen(
                command, env={**os.environ, "RAY_ADDRESS": site.ray.address}, cwd=site.folder,
                stdout=err, stderr=err, start_new_session=True,
            )  # fmt: skip

    @property
    def err(self) -> str:
        return self._log.read_text(errors="replace")

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.err, re.MULTILINE))

    def await_more(self, pattern: str, than: int, limit_s: float = 120) -> str:
        """The newest line that fits, once there are more of them than before."""

        def found() -> list[str]:
            assert self.process.poll() is None, self.err[-3000:]
            lines = re.findall(rf".*(?:{pattern}).*", self.err)
            return lines if len(lines) > than else []

        lines: list[str] = await_that(pattern, found, limit_s)
        return lines[-1]

    def end(self, number: int = signal.SIGTERM, limit_s: float = 60) -> int:
        self.process.send_signal(number)
        return self.process.wait(limit_s)


class Site:
    """One place to break things in. Everything in it is started by it, and ended by it."""

    def __init__(self) -> None:
        self._end = ExitStack()  # all that was started ends, whatever of it fails
        self.folder = Path(tempfile.mkdtemp(prefix="motet-faults-"))
        self._end.callback(shutil.rmtree, self.folder)
        self.words = self.folder / "words"
        self.words.mkdir()
        self.clock = self.folder / "clock"  # by how many seconds the run's clocks are wrong
        self._end.enter_context(patch.dict(os.environ, self._clocked()))
        self.gate = Gate(3)
        self._end.callback(self.gate.close)
        self.brokers = BrokerCluster(self.folder, self.gate)
        self._end.callback(self.brokers.close)
        self.ray = RayNodes(HEAD_CPUS, WORKER_CPUS)
        self._end.callback(self.ray.cleanup)
        self.runs: list[Run] = []
        self.port = free_port()
        self.file = self.write(NAME)
        shutil.copy(Path(__file__).with_name("fault_words.py"), self.folder)
        self._commands = 0
        self._loose: list[Command] = []

    def _clocked(self) -> dict[str, str]:
        """What every process of the run inherits, so that its clock can be set off."""
        path = [str(Path(__file__).with_name("clock")), os.environ.get("PYTHONPATH")]
        kept = os.pathsep.join(filter(None, path))
        return {"PYTHONPATH": kept, "MOTET_FAULT_CLOCK": str(self.clock)}

    # -- from nothing to a steady flow ------------------------------------------------------

    def start(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            brokers = pool.submit(self.brokers.start)
            self.ray.start()
            brokers.result()
        self.user = self.new_user()
        self.create_topics(self.file)
        self.watcher = Watcher(self.brokers.bootstrap, f"{NAME}.results")
        self.traffic = Traffic(self.brokers.bootstrap, f"{NAME}.audio", f"{NAME}.text")
        self._end.callback(self.traffic.close)
        self._end.callback(self.watcher.end)
        self.watcher.start()
        self.begin()
        self.traffic.start()
        self.await_calm()

    def begin(self, *arguments: object, wait: bool = True) -> Run:
        self.runs.append(Run(self, arguments))
        if wait:
            await_that("ready", self.is_ready, READY_S_MAX)
        return self.run

    @property
    def run(self) -> Run:
        return self.runs[-1]

    def is_ready(self) -> bool:
        assert self.run.process.poll() is None, self.run.err[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as one:
                return int(one.status) == 200
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """The sum over the series of a metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def last(self, seconds: float, look: Callable[[], None] = lambda: None) -> None:
        """A fault lasts so long, and the run lives all the time and says so."""
        until_us = wall_us() + seconds * 1e6

        def over() -> bool:
            assert self.run.process.poll() is None, self.run.err[-3000:]
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=10):
                look()
            return wall_us() >= until_us

        await_that("the fault's time to pass", over, seconds + 60)

    def await_calm(self, limit_s: float = 300) -> None:
        def calm() -> bool:
            return all(wall_us() - self.watcher.newest_us(s) < CALM_US for s in STREAMS)

        await_that("all streams to have caught up", calm, limit_s)

    def await_readable(self, limit_s: float) -> None:
        """What is in the results now can be read by readers of committed records: I10."""
        written = self._ends("read_uncommitted")

        def readable() -> bool:
            ends = self._ends("read_committed")
            return all(ends[partition] >= end for partition, end in written.items())

        await_that("no transaction hangs", readable, limit_s)

    def _ends(self, isolation: str) -> dict[TopicPartition, int]:
        """By a new consumer: one that has met a dead broker may answer late."""
        partitions = [TopicPartition(f"{NAME}.results", number) for number in range(PARTITIONS)]

        def ask() -> dict[TopicPartition, int] | None:
            consumer = KafkaConsumer(
                bootstrap_servers=self.brokers.bootstrap, isolation_level=isolation,
                request_timeout_ms=3_000, **QUICK,
            )  # fmt: skip
            with closing(consumer), suppress(KafkaError):
                ends: dict[TopicPartition, int] = consumer.end_offsets(partitions, 3_000)
                return ends
            return None

        found: dict[TopicPartition, int] = await_that("the ends of the results", ask)
        return found

    # -- pipelines --------------------------------------------------------------------------

    def write(self, name: str, **changes: object) -> Path:
        tree = {
            "name": name,
            "kafka": {"bootstrap": self.gate.bootstrap},
            "inputs": {
                "mic": {
                    "topic": f"{name}.audio", "out_of_orderness": "0ms",
                    "type": f"audio/L16;rate={RATE};channels=1",
                },
                "chat": {
                    "topic": f"{name}.text", "type": "text/plain", "out_of_orderness": "0ms",
                },
            },
            # A source may be cut off for ten minutes, and is waited for.
            "windows": {"size": "250ms", "idle": "20m"},
            "stages": {
                "sound": {
                    "encoder": "log_mel", "of": "mic", "num_gpus": 0, "replicas": 2,
                    "timeout": STAGE_TIMEOUT, "options": {"n_mels": 8, "rate": RATE},
                },
                "words": {
                    "encoder": "fault_words:Words", "of": "chat", "num_gpus": 0,
                    "timeout": STAGE_TIMEOUT, "options": {"folder": str(self.words)},
                },
            },
            "fusion": {"rule": "concat", "of": {"sound": 1, "words": 1}},
            "outputs": {
                "results": f"{name}.results", "late": f"{name}.late",
                "dead_letter": f"{name}.dead",
            },
            "slots": 2,
            "commit_interval": "100ms",
            "limits": {"in_flight_bytes": "256KiB"},
            "metrics": {"port": self.port},
            **changes,
        }  # fmt: skip
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return path

    def create_topics(self, *arguments: object) -> None:
        with redirect_stdout(sys.stderr):
            code = motet(["topics", "create", *map(str, arguments), f"--partitions={PARTITIONS}"])
        assert code == 0

    def new_user(self) -> KafkaUser:
        """One whose clients have met no dead broker yet."""
        user = KafkaUser(self.brokers.bootstrap)
        self._end.callback(user.close)
        return user

    def command(self, *arguments: object) -> Command:
        """A command line beside the run; whatever still runs at the end is killed."""
        self._commands += 1
        self._loose.append(Command(arguments, self.folder / f"command-{self._commands}"))
        return self._loose[-1]

    def close(self) -> None:
        with self._end:
            for command in self._loose:
                command.kill()
            for run in self.runs:
                run.process.kill()
                run.process.wait()
