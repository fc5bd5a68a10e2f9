"""``make overload``: memory of every process while an encoder is far too slow for its input.

A backlog many times the limits is published; the encoder takes a tenth of a second a window until
it is told to hurry. Printed for audio, image and video: what each process held before the backlog,
at most and in the end, and whether every window came once.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import yaml
from kafka.admin import NewTopic
from PIL import Image
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1] / "support"))

from kafka_user import BEGIN_US, PARTITIONS, KafkaUser, noise, rfc3339
from moving_pictures import encoded

from pipeline.broker import server

MIB = 1 << 20
STREAMS = 8
LIMITS = {"in_flight_bytes": "16MiB", "open_bytes": "32MiB"}
SLOTS, FETCH_BYTES = 1, 64 * MIB
SLOW = """
import time
from pathlib import Path
import numpy as np

class Slow:
    takes, gives, length = ("audio", "image", "video"), "vector", 1

    def __init__(self, device, hurry):
        self.hurry = Path(hurry)

    def encode(self, batch):
        if not self.hurry.exists():
            time.sleep(0.1 * len(batch))
        return [np.ones(1, np.float32) for _ in batch]
"""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def picture(seed: int) -> bytes:
    sink = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (480, 640, 3), np.uint8)
    Image.fromarray(pixels).save(sink, "JPEG", quality=90)
    return sink.getvalue()


KINDS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "audio": ("audio/L16;rate=48000;channels=1", lambda seed: noise(seed, 1.0, 48_000)),
    "image": ("image/jpeg", picture),
    "video": ("video/mp4", lambda seed: encoded(25, size=(640, 360), options=(("qp", "30"),))),
}


def processes(root: int) -> dict[int, tuple[str, int]]:
    """Of a process and all below it: name and resident bytes."""
    children = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            children[int(fields[1])].append(int(entry.name))
    found, left = {}, [root]
    while left:
        pid = left.pop()
        left += children[pid]
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            pages = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue
        if len(pages) > 2:
            name = name if name.startswith("ray::") else Path(name).name
            found[pid] = (name, (int(pages[1]) - int(pages[2])) * PAGE_BYTES)
    return found


class Watch:
    """Resident bytes, less what is shared, of a process and all below it."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.names: dict[int, str] = {}
        self.before: dict[int, int] = {}
        self.most: dict[int, int] = {}
        self.now: dict[int, int] = {}

    def look(self) -> None:
        for pid, (name, held) in processes(self._root).items():
            self.names[pid] = name
            self.now[pid] = held
            self.before.setdefault(pid, held)
            self.most[pid] = max(held, self.most.get(pid, 0))

    def begin(self) -> None:
        self.look()
        self.before, self.most = dict(self.now), dict(self.now)


@contextmanager
def running(path: Path, local: bool) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "actors", "run", str(path), *(["--local"] if local else [])]
    with (path.parent / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=err, stderr=err, cwd=path.parent)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, (path.parent / "err").read_text()
    finally:
        process.kill()
        process.wait()


def committed(user: KafkaUser, topic: str) -> int:
    return len(user.read(topic, settled=False))


def run(user: KafkaUser, kind: str, local: bool, seconds: int, backlog_bytes: int) -> Watch:
    media, make = KINDS[kind]
    name = f"overload-{kind}-{'local' if local else 'ray'}"
    folder = Path(tempfile.mkdtemp())
    (folder / "overload_encoder.py").write_text(SLOW)
    topics = [f"{name}.{each}" for each in ("in", "results", "late", "dead")]
    user.admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
    path = folder / "overload.yaml"
    slow = {"encoder": "overload_encoder:Slow", "of": "media", "timeout": "1h"}
    path.write_text(yaml.safe_dump({
        "name": name,
        "kafka": {"bootstrap": user.bootstrap},
        "inputs": {"media": {"topic": topics[0], "type": media}},
        "windows": {"size": "1s", "idle": "1s"},
        "slots": SLOTS,
        "stages": {"slow": {**slow, "options": {"hurry": str(folder / "hurry")}, "batch_max": 8}},
        "fusion": {"rule": "concat", "of": {"slow": 1}},
        "outputs": {"results": topics[1], "late": topics[2], "dead_letter": topics[3]},
        "limits": LIMITS,
        "metrics": {"port": 0},
    }))  # fmt: skip
    samples = [make(seed) for seed in range(8)]

    def send(first: int, count: int) -> None:
        for number in range(first, first + count):
            at = number // STREAMS
            user.producer.send(
                topics[0],
                samples[number % len(samples)],
                key=b"s%d" % (number % STREAMS),
                headers=[("ce_time", rfc3339(BEGIN_US + at * 1_000_000).encode()),
                         ("ce_mediadur", b"1000000")],
                timestamp_ms=BEGIN_US // 1000 + at * 1000,
            )  # fmt: skip
        user.producer.flush()

    records = backlog_bytes // len(samples[0]) // STREAMS * STREAMS
    with running(path, local) as process:
        watch = Watch(process.pid)
        send(0, 4 * STREAMS)
        while committed(user, topics[1]) < STREAMS:
            time.sleep(0.5)
        watch.begin()
        send(4 * STREAMS, records)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            watch.look()
            time.sleep(0.5)
        slow_windows = committed(user, topics[1])
        (folder / "hurry").touch()
        while committed(user, topics[1]) < 4 * STREAMS + records:
            assert process.poll() is None, (folder / "err").read_text()
            watch.look()
            time.sleep(0.5)
        watch.look()
    assert slow_windows < records, "the encoder was not slow"
    assert not user.read(topics[2])
    assert not user.read(topics[3])
    print(json.dumps({"kind": kind, "records": records, "bytes": records * len(samples[0]),
                      "windows_while_slow": slow_windows}), file=sys.stderr)  # fmt: skip
    return watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="how long the encoder is slow")
    parser.add_argument("--backlog", type=int, default=400, help="MiB of each kind")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--local", action="store_true", help="in one process, without Ray")
    asked = parser.parse_args()
    table = Table("media", "process", "before", "most", "grown", "in the end", title="MiB")
    data = Path(tempfile.mkdtemp())
    broker = server.start(port=0, data_dir=data)
    try:
        with closing(KafkaUser(broker.bootstrap)) as user:
            for kind in asked.kinds:
                watch = run(user, kind, asked.local, asked.seconds, asked.backlog * MIB)
                for pid, most in sorted(watch.most.items(), key=lambda each: -each[1])[:6]:
                    held = (watch.before[pid], most, most - watch.before[pid], watch.now[pid])
                    shown = [f"{each / MIB:.0f}" for each in held]
                    table.add_row(kind, watch.names[pid], *shown)
    finally:
        server.stop(data)
    Console(width=100).print(table)
    allowed = SLOTS * 16 + PARTITIONS * 32 + FETCH_BYTES // MIB
    print(f"by the limits an owner may hold {allowed} MiB: {LIMITS}, {PARTITIONS} lanes, one fetch")


if __name__ == "__main__":
    main()
