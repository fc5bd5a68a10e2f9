"""Topics read beside a run, for whoever looks on: by ports of its own, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from pipeline.errors import PositionLost, Refused
from pipeline.slot.ports import Connector, Control, LogRecord, Source, TopicPartition

POLL_S = 0.2
RETRY_S = 1.0
CLOSE_S = 10.0

Positions = Mapping[TopicPartition, int]


class Onlooker(Protocol):
    """What is read for. All are called by the thread that reads, ``done`` with the lock held."""

    def begin(
        self, control: Control, partitions: Mapping[str, Sequence[TopicPartition]]
    ) -> Positions:
        """Where reading begins, by topic; asked anew after a position was lost."""

    def take(self, records: Sequence[LogRecord]) -> None:
        """After each poll what came; nothing where nothing did."""

    def caught_up(self) -> None:
        """All is read that stood there when the reading began, or began again after a problem."""

    def failed(self, problem: str) -> None:
        """Why nothing can be read just now, in one line; it is tried again."""

    def done(self) -> bool:
        """Whether nobody looks any more: the thread ends, and the next one begins anew."""


class TopicReader:
    """One thread at most, from ``wake`` until its onlooker is ``done`` or it is closed.

    Invariants: from where ``begin`` said on the onlooker is given every committed record of a
    partition, in order; once, unless its ``take`` fails. That an end was decided and that it is
    noted is one step, so a ``wake`` is never lost. Whatever fails is told, and ends nothing else.
    """

    def __init__(
        self,
        connector: Connector,
        topics: Collection[str],
        onlooker: Onlooker,
        lock: threading.Condition,
        name: str,
    ) -> None:
        """``lock``: the onlooker's own, of a reentrant lock; ``name``: of the thread."""
        self._connector = connector
        self._topics = list(topics)
        self._onlooker = onlooker
        self._lock = lock
        self._name = name
        self._thread: threading.Thread | None = None
        self._closed = False
        self._positions: dict[TopicPartition, int] = {}  # of the thread that reads alone

    def wake(self) -> None:
        """Sees to it that a thread reads; nothing once it is closed."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread = self._thread
            self._lock.notify_all()
        if thread is not None:
            thread.join(CLOSE_S)

    # -- the thread that reads ----------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._read()
            except Exception as error:  # whatever it is, the run that is looked at goes on
                if isinstance(error, PositionLost):
                    self._positions.clear()
                self._onlooker.failed(" ".join(str(error).split()) or type(error).__name__)
            else:
                return
            with self._lock:
                if self._lock.wait_for(lambda: self._closed, RETRY_S):
                    return

    def _read(self) -> None:
        """Reads on from where it was; returns when it shall end."""
        source = self._connector.source()
        try:
            if not self._positions:
                self._positions = self._begin()
            source.assign(self._positions)
            until = source.stable_ends(list(self._positions))
            behind = True
            while not self._may_end():
                if behind and all(self._positions[at] >= end for at, end in until.items()):
                    behind = False
                    self._onlooker.caught_up()
                self._poll(source)
        finally:
            source.close()

    def _begin(self) -> dict[TopicPartition, int]:
        control = self._connector.control()
        try:
            infos = control.topics(self._topics)
            partitions: dict[str, list[TopicPartition]] = {}
            for topic in self._topics:
                info = infos[topic]
                if info is None:
                    raise missing(topic)
                partitions[topic] = [TopicPartition(topic, at) for at in range(info.partitions)]
            return dict(self._onlooker.begin(control, partitions))
        finally:
            control.close()

    def _poll(self, source: Source) -> None:
        fetches = source.poll(POLL_S)
        self._onlooker.take([record for fetch in fetches for record in fetch.records])
        for fetch in fetches:
            self._positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position

    def _may_end(self) -> bool:
        with self._lock:
            if not self._closed and not self._onlooker.done():
                return False
            self._thread = None
            self._positions.clear()
            return True


def missing(topic: str) -> Refused:
    return Refused(f"topic {topic}: it is not there; `motet topics create FILE` makes it")
