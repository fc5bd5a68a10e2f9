"""How long a deployed head takes to be in a result: from the end of ``motet heads deploy`` on.

A run of the pipeline in one process, on an embedded Kafka, with five streams of sound that go on
all the while. Two heads are deployed by turns, each by the real command; from its end to the first
committed result that names the new head is what is measured. Windows are of a tenth of a second,
so what is waited for is the run's look at the folder, once a second, and the commit.

    python tests/bench/head_swap.py --swaps 12       # a minute or two
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import yaml

sys.path.append(str(Path(__file__).parents[1] / "support"))

from kafka import KafkaConsumer
from kafka_user import STREAMS, KafkaUser, await_that, noise
from made_heads import made_head

from pipeline.broker import server
from pipeline.clock import wall_us
from pipeline.spec import load

MOTET = (sys.executable, "-m", "actors")
WINDOW_US = 100_000
LIMIT_S = 300.0  # a run begins late on a machine with much else to do


def pipeline(folder: Path, bootstrap: str) -> Path:
    file = folder / "swap.yaml"
    told = {
        "name": "swap",
        "kafka": {"bootstrap": bootstrap},
        "inputs": {"mic": {"topic": "swap.audio", "type": "audio/L16;rate=16000;channels=1"}},
        "windows": {"size": "100ms", "idle": "0ms"},
        "stages": {"sound": {"encoder": "log_mel", "of": "mic"}},
        "fusion": {"rule": "concat", "of": {"sound": 1}, "head": "heads/live"},
        "outputs": {"results": "swap.results", "late": "swap.late", "dead_letter": "swap.dead"},
        "metrics": {"port": 0},
    }
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    return file


class Sound(threading.Thread):
    """Records of a window's length for every stream, at the pace of the clock, until it is told."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self._address = bootstrap
        self.ended = threading.Event()

    def run(self) -> None:
        with closing(KafkaUser(self._address)) as user:
            at_us = wall_us() // WINDOW_US * WINDOW_US
            while not self.ended.is_set():
                for stream in STREAMS:
                    user.send("swap.audio", stream, noise(0, WINDOW_US / 1e6), at_us)
                user.producer.flush()
                at_us += WINDOW_US
                self.ended.wait(max(0.0, (at_us - wall_us()) / 1e6))


class Results:
    """Committed results as they come, all partitions."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = KafkaConsumer(
            "swap.results", bootstrap_servers=bootstrap, isolation_level="read_committed",
            auto_offset_reset="earliest", fetch_max_wait_ms=20,
        )  # fmt: skip

    def close(self) -> None:
        self._consumer.close()

    def models(self) -> list[str]:
        """Of the results that came since, in at most 20 ms."""
        records = [each for some in self._consumer.poll(20).values() for each in some]
        return [json.loads(record.value)["model"] for record in records]

    def first_by(self, known: set[str]) -> str:
        """Waits for a result by a model that is not among the known ones."""
        found: list[str] = []

        def come() -> bool:
            found.extend(model for model in self.models() if model not in known)
            return bool(found)

        await_that("a result by another model", come, LIMIT_S)
        return found[0]


def motet(folder: Path, *arguments: object) -> None:
    answer = subprocess.run(
        [*MOTET, *map(str, arguments)], cwd=folder, capture_output=True, text=True
    )
    if answer.returncode:
        raise SystemExit(answer.stderr)


def measured(folder: Path, bootstrap: str, swaps: int) -> list[float]:
    """Seconds from the end of each deployment to its first result."""
    file = pipeline(folder, bootstrap)
    motet(folder, "topics", "create", file)
    spec = load(file)
    for number in range(swaps + 1):
        made_head(folder / f"head-{number}", spec, number)
    motet(folder, "heads", "deploy", file, folder / "head-0")
    run = subprocess.Popen([*MOTET, "run", file, "--local", "--no-page"], cwd=folder)
    sound = Sound(bootstrap)
    sound.start()
    found = []
    try:
        with closing(Results(bootstrap)) as results:
            known = {results.first_by(set())}
            for number in range(1, swaps + 1):
                motet(folder, "heads", "deploy", file, folder / f"head-{number}")
                since = time.monotonic()
                known.add(results.first_by(known))
                found.append(time.monotonic() - since)
    finally:
        sound.ended.set()
        sound.join()
        run.send_signal(signal.SIGTERM)
        run.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--swaps", type=int, default=12, help="how many deployments (12)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="motet-swap-") as place:
        folder = Path(place)
        broker = server.start(port=0, data_dir=folder / "kafka")
        try:
            found = measured(folder, broker.bootstrap, given.swaps)
        finally:
            server.stop(folder / "kafka")
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    middle = statistics.median(found)
    print(f"{given.swaps} swaps: median {middle:.2f} s, {min(found):.2f} to {max(found):.2f} s")
    print(f"load of the machine at the end: {load:.1f} a core")


if __name__ == "__main__":
    main()
