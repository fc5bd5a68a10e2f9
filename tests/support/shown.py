"""A run that is shown to a monitor: its view is what a test says it is."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pipeline.monitor import Monitor, serve
from pipeline.tasks.figures import Figures
from pipeline.tasks.view import LaneView, ReplicaView, Snapshot

STARTED_US = 1_790_000_000_000_000
# The contract's list (section 6).
PROMISED_METRICS = {
    f"motet_{name}"
    for name in [
        "records_total",
        "record_bytes_total",
        "record_fates_total",
        "windows_total",
        "windows_incomplete_total",
        "windows_forced_total",
        "consumer_lag_records",
        "event_time_lag_seconds",
        "clock_seconds",
        "stage_batch_size",
        "stage_queue_seconds",
        "stage_compute_seconds",
        "stage_busy_ratio",
        "end_to_end_seconds",
        "commit_seconds",
        "commits_total",
        "replay_records",
        "in_flight_bytes",
        "open_bytes",
        "paused_partitions",
        "actor_restarts_total",
        "copartition_violations_total",
        "build_info",
    ]
}


def figures() -> Figures:
    """Every kind of metric, with numbers that can be told apart."""
    made = Figures()
    made.count("motet_records_total", 7, "mic")
    made.count("motet_record_bytes_total", 7_000, "mic")
    made.count("motet_record_fates_total", 5, "mic", "fused")
    made.count("motet_record_fates_total", 2, "mic", "late")
    made.count("motet_windows_total", 3)
    made.count("motet_windows_incomplete_total", 1, "chat")
    made.count("motet_commits_total", 4, "committed")
    made.count("motet_actor_restarts_total", 1, "encoder", "died")
    made.observe("motet_end_to_end_seconds", 0.2, times=9)
    made.observe("motet_end_to_end_seconds", 400.0)
    made.observe("motet_stage_batch_size", 2, "sound", times=2)
    made.observe("motet_stage_batch_size", 8, "sound")
    made.observe("motet_stage_compute_seconds", 0.02, "sound")
    made.gauge("motet_stage_busy_ratio", 0.5, "sound")
    made.gauge("motet_event_time_lag_seconds", 1.25, "mic")
    made.gauge("motet_clock_seconds", 1_790_000_004.2, "mic", "0")
    made.gauge("motet_clock_seconds", 1_790_000_002.2, "mic", "1")
    made.gauge("motet_in_flight_bytes", 500, "1")
    return made


def snapshot(**changes: Any) -> Snapshot:
    lanes = (
        LaneView(0, 0, 2, {"mic": 10, "chat": 4}, {"mic": 13, "chat": None}, "mic: not for long"),
        LaneView(1, 1, 0, {"mic": 5, "chat": 1}, {"mic": 5, "chat": None}, "chat: behind", True),
    )
    replicas = (ReplicaView("sound-0", "sound", "cuda:0", ("GPU-1",)),)
    made = Snapshot("local", STARTED_US + 5, STARTED_US, figures(), None, lanes, replicas)
    return replace(made, **changes)


@dataclass
class Shown:
    """A view; ``now`` may be replaced at any time."""

    now: Snapshot = field(default_factory=snapshot)

    def snapshot(self) -> Snapshot:
        return self.now


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()


@contextmanager
def monitor_of(spec: Any, connector: Any, view: Any = None) -> Iterator[Monitor]:
    """On a free port; at its end no thread of it is left."""
    before = set(threading.enumerate())
    monitor = serve(spec, connector, (spec.metrics.host, 0))
    try:
        if view is not None:
            monitor.show(view)
        yield monitor
    finally:
        monitor.close()
    left = [t.name for t in threading.enumerate() if t not in before]
    named = [name for name in left if name.startswith("monitor-")]  # tqdm has a tqdm_monitor
    assert named == [], named


def port_of(monitor: Monitor) -> int:
    return int(monitor.url.rstrip("/").rpartition(":")[2])


def ask(monitor: Monitor, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(monitor), timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        return Answer(
            answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        )
    finally:
        connection.close()


class Events:
    """A reader of server-sent events that connects when it is built."""

    def __init__(self, monitor: Monitor, path: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port_of(monitor), timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=named)
        self.answer = self._connection.getresponse()

    def next(self) -> dict[str, str]:
        """The next event with data: its fields by name, ``data`` joined by newline."""
        found: dict[str, list[str]] = {}
        while True:
            line = self.answer.readline()
            assert line, "the stream of events has ended"
            text = line.decode().rstrip("\n")
            if not text:
                if "data" in found:
                    return {name: "\n".join(lines) for name, lines in found.items()}
                found = {}
            elif not text.startswith(":"):
                name, _, value = text.partition(": ")
                found.setdefault(name, []).append(value)

    def close(self) -> None:
        self._connection.close()
        self.answer.close()
