"""What goes in while faults happen, and who watches what comes out."""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from contextlib import suppress
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka_user import PARTITIONS, Sender, await_that, rfc3339

from pipeline.clock import wall_us

RATE, STEP_US = 8_000, 250_000
STREAMS = [f"s{number}" for number in range(8)]  # two a lane
Record = tuple[str, str, bytes, int]  # topic, stream, value, event time

# A broker may be away for ten minutes: what a live source has to say waits for it meanwhile.
PATIENT = {"delivery_timeout_ms": 20 * 60_000, "request_timeout_ms": 5_000, "max_block_ms": 900_000}
QUICK = {"reconnect_backoff_max_ms": 500, "retry_backoff_ms": 50, "metadata_max_age_ms": 2_000}


def lane_of(stream: str) -> int:
    return int(stream.lstrip("s")) % PARTITIONS


class Traffic:
    """Steady live streams: each sends a quarter of a second of sound when it is over, and a text.

    So every stream has every window, and a window closes with its own records. Both inputs gate:
    in whatever order brokers that come back get them, none is late.
    """

    def __init__(self, bootstrap: str, audio: str, text: str) -> None:
        self._audio, self._text = audio, text
        self._producer = KafkaProducer(
            bootstrap_servers=bootstrap, acks="all", linger_ms=5, **PATIENT, **QUICK
        )
        self._rng = np.random.default_rng(7)
        self._sender = Sender(self._step, STEP_US)
        self._sender.daemon = True
        self.begin_us = self._sender.begin_us
        self.silent: set[str] = set()  # streams whose records wait
        self._waiting: list[Record] = []
        self._extra: deque[tuple[str, bytes]] = deque()

    def start(self) -> None:
        self._sender.start()

    def say(self, stream: str, text: bytes) -> None:
        """A text in the stream's next window."""
        self._extra.append((stream, text))

    def sound(self, stream: str, value: bytes) -> None:
        """A record of the audio topic, whatever its bytes are."""
        self._send((self._audio, stream, value, wall_us()))

    def end(self) -> None:
        self._sender.end()
        self._producer.flush(60)
        self._producer.close()

    def close(self) -> None:
        """Ends it as it is, where a run has failed."""
        with suppress(KafkaTimeoutError):  # something is still to be sent, for which no broker is
            self._producer.close(timeout=0)
        if self._sender.is_alive():
            self._sender._stop_asked.set()

    def _step(self, number: int, at_us: int) -> None:
        for stream in STREAMS:
            samples = self._rng.integers(-9000, 9000, RATE * STEP_US // 1_000_000).astype(">i2")
            text = f"words of {stream} at {number}".encode()
            records = [
                (self._text, stream, text, at_us + STEP_US - 1),
                (self._audio, stream, samples.tobytes(), at_us),
            ]
            if stream in self.silent:
                self._waiting += records
            else:
                self._catch_up(stream)
                for record in records:
                    self._send(record)
        while self._extra:
            stream, text = self._extra.popleft()
            self._send((self._text, stream, text, at_us + STEP_US + 1_000))

    def _catch_up(self, stream: str) -> None:
        for record in [one for one in self._waiting if one[1] == stream]:
            self._waiting.remove(record)
            self._send(record)

    def _send(self, record: Record) -> None:
        topic, stream, value, at_us = record
        headers = [("ce_time", rfc3339(at_us).encode())]
        self._producer.send(topic, value, stream.encode(), headers, lane_of(stream))


class Watcher(threading.Thread):
    """Reads committed results from the beginning and on, while faults happen.

    ``seen``: when each window was first seen. ``twice`` and ``disorder`` stay empty.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(name="watcher", daemon=True)
        self._servers = bootstrap
        self._positions = {TopicPartition(topic, number): 0 for number in range(PARTITIONS)}
        self._ended = threading.Event()
        self.seen: dict[str, dict[int, int]] = defaultdict(dict)  # stream -> end_us -> wall_us
        self.values: dict[tuple[str, int], dict[str, Any]] = {}
        self.twice: list[tuple[str, int]] = []
        self.disorder: list[tuple[str, int]] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                try:
                    self._read()
                except KafkaError:
                    self._ended.wait(0.2)  # brokers die here: read on from where it was
        except BaseException as error:
            self.failure = error

    def end(self) -> None:
        self._ended.set()
        self.join(30)
        if self.failure is not None:
            raise self.failure

    def newest_us(self, stream: str) -> int:
        return max(self.seen[stream], default=0)

    def first_after(self, stream: str, end_us: int) -> int | None:
        """When the first window that ends after then was seen."""
        times = [at for end, at in list(self.seen[stream].items()) if end > end_us]
        return min(times, default=None)

    def await_after(self, streams: list[str], end_us: int, limit_s: float) -> int:
        """When the last of the streams had a window that ends after then."""

        def found() -> list[int] | None:
            times = [self.first_after(stream, end_us) for stream in streams]
            return None if None in times else [at for at in times if at is not None]

        return max(await_that("a window of each stream", found, limit_s))

    def _read(self) -> None:
        consumer = KafkaConsumer(
            bootstrap_servers=self._servers, isolation_level="read_committed",
            enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=50,
            request_timeout_ms=3_000, **QUICK,
        )  # fmt: skip
        try:
            consumer.assign(list(self._positions))
            for partition, at in self._positions.items():
                consumer.seek(partition, at)
            while not self._ended.is_set():
                for partition, records in consumer.poll(200).items():
                    for record in records:
                        self._note(record.value)
                    self._positions[partition] = records[-1].offset + 1
        finally:
            consumer.close()

    def _note(self, value: bytes) -> None:
        at_us, result = wall_us(), json.loads(value)
        stream, end_us = result["stream"], result["window"]["end_us"]
        if end_us in self.seen[stream]:
            self.twice.append((stream, end_us))
        elif end_us < self.newest_us(stream):
            self.disorder.append((stream, end_us))
        self.seen[stream].setdefault(end_us, at_us)
        self.values[stream, end_us] = result
