"""Reads results and labels for who labels on the page, and writes the labels; while asked alone."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import clock
from pipeline.connectors.topic_reader import Positions, TopicReader, missing
from pipeline.record import header_texts
from pipeline.slot.ports import Connector, Control, LogRecord, Publisher, TopicPartition
from pipeline.teaching.book import LABELS_MAX, Book, label_record
from pipeline.teaching.pool import WINDOWS_MAX, Key, Pool, Projector, Seen, seen_of
from pipeline.training.labels import change_of
from pipeline.training.rows import parsed

SKIPPED_MAX = 2_000
LINGER_US = 15_000_000  # a page that is loaded again finds the reader still at work
OPEN_S = 10.0


class Watch:
    """One thread reads both topics while somebody asks; nobody asking costs nothing.

    Invariants: what ``offered`` gives has no label and was not skipped, as far as is read; a label
    stands in the topic when ``write`` has returned. Reads by ports of its own, so that it holds
    up nothing of the run; what fails is told as ``problem`` and tried again.
    """

    def __init__(self, connector: Connector, results: str, labels: str, source: str) -> None:
        """``source``: the ``ce_source`` of the labels that are written."""
        self._connector = connector
        self._results, self._labels, self._source = results, labels, source
        self._changed = threading.Condition()
        self._pool, self._book = Pool(), Book()
        self._skipped: dict[Key, None] = {}
        self._problem: str | None = None
        self._ready = False
        self._closed = False
        self._asked_us = 0
        self._writing = threading.Lock()
        self._publisher: Publisher | None = None
        self._projector = Projector()  # of the thread that reads alone
        topics = (results, labels)
        self._reader = TopicReader(connector, topics, self, self._changed, "teach-watch")

    def ask(self, count: int, stream: str | None) -> tuple[list[Seen], dict[str, Any]]:
        """The next windows, at most ``count``, and what ``/api/teach`` says of the labels.

        The first to ask starts the reading, and waits for what the topics hold by now.
        """
        with self._changed:
            self._asked_us = clock.monotonic_us()
            self._reader.wake()
            self._changed.wait_for(lambda: self._ready or self._problem or self._closed, OPEN_S)
            offered = self._pool.offer(count, stream, self._done) if self._ready else []
            told = {
                "topic": self._labels,
                "problem": self._problem,
                "windows": len(self._pool),
                "labels": len(self._book),
                "forgotten": self._book.forgotten,
                "counts": self._book.counts(),
            }
            return offered, told

    def classes(self) -> Mapping[str, int]:
        """Labelled windows by label, as far as is known."""
        with self._changed:
            return self._book.counts()

    def write(self, key: Key, label: str | None) -> None:
        """Returns once the label (None: taken back) is acknowledged; raises MotetError."""
        id = str(uuid.uuid4())
        with self._writing:
            record = label_record(self._labels, self._partitions(), key, label, id, self._source)
            try:
                if self._publisher is None:
                    self._publisher = self._connector.publisher()
                self._publisher.send(record)
                self._publisher.flush()
            except BaseException:
                self._drop_publisher()
                raise
            with self._changed:
                self._book.wrote(key, label, id)
                self._pool.labelled(key, label)
                self._skipped.pop(key, None)

    def skip(self, key: Key, again: bool) -> None:
        """Not to be offered until it has had a label; ``again``: that it may be after all."""
        with self._changed:
            self._skipped.pop(key, None)
            if not again:
                self._skipped[key] = None
            while len(self._skipped) > SKIPPED_MAX:
                del self._skipped[next(iter(self._skipped))]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._reader.close()
        with self._writing:
            self._drop_publisher()

    def _done(self, key: Key) -> bool:
        return key in self._skipped or self._book.label(key) is not None

    def _partitions(self) -> int:
        control = self._connector.control()
        try:
            info = control.topics([self._labels])[self._labels]
        finally:
            control.close()
        if info is None:
            raise missing(self._labels)
        return info.partitions

    def _drop_publisher(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()

    # -- called by the thread that reads ------------------------------------------------------

    def begin(
        self, control: Control, partitions: Mapping[str, Sequence[TopicPartition]]
    ) -> Positions:
        """All labels, and the newest results, as far as they are kept."""
        starts: dict[TopicPartition, int] = {}
        for topic, most in ((self._results, WINDOWS_MAX), (self._labels, LABELS_MAX)):
            beginnings = control.beginnings(partitions[topic])
            ends = control.stable_ends(partitions[topic])
            back = max(1, most // len(partitions[topic]))
            starts |= {at: max(beginnings[at], end - back) for at, end in ends.items()}
        with self._changed:
            self._book = Book()
        return starts

    def take(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            self._take(record)

    def caught_up(self) -> None:
        self._tell(None)

    def failed(self, problem: str) -> None:
        self._tell(problem)

    def done(self) -> bool:
        if clock.monotonic_us() - self._asked_us <= LINGER_US:
            return False
        self._ready = False
        return True

    def _take(self, record: LogRecord) -> None:
        if record.topic == self._results:
            seen = seen_of(record.value, self._projector)
            if seen is not None:
                with self._changed:
                    self._pool.add(seen)
                    label = self._book.label(seen.key)
                    if label is not None:
                        self._pool.labelled(seen.key, label)
            return
        label_row = change_of(parsed(record.value, record.key))
        if isinstance(label_row, str):
            return  # live evaluation counts it, training refuses it
        id = header_texts(record.headers).get("ce_id", "")
        with self._changed:
            if self._book.read(label_row, id):
                self._pool.labelled(Key(*label_row[:3]), label_row.label)

    def _tell(self, problem: str | None) -> None:
        with self._changed:
            self._problem = problem
            self._ready = self._ready or problem is None
            self._changed.notify_all()
