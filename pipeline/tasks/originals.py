"""The input records that dead letters and late records came from, to be sent once more.

An original is read from its input topic, with the bytes, headers and time that it had. Where the
topic no longer holds it, its letter stands for it; a letter that was emptied for its size, or that
tells of a window, cannot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from pipeline.connectors.spans import read_spans
from pipeline.record import header_texts
from pipeline.slot.ports import Connector, LogRecord, OutRecord, TopicPartition
from pipeline.tasks.results import rfc3339

GAP_RECORDS = 500  # originals that lie closer are read in one go, with what is between them
OWN = "motet-"

Place = tuple[str, int, int]  # topic, partition, offset


class Missing(NamedTuple):
    """An original that neither its topic nor a letter holds any more."""

    place: Place


def places_of(letter: LogRecord) -> list[Place]:
    """Where the originals of an entry lie: one, or all that a failed window had read."""
    headers = header_texts(letter.headers)
    if "motet-topic" in headers:
        partition, offset = int(headers["motet-partition"]), int(headers["motet-offset"])
        return [(headers["motet-topic"], partition, offset)]
    if headers.get("motet-reason") == "encode-failed" and letter.value:
        return [(str(t), int(p), int(o)) for t, p, o in json.loads(letter.value)["records"]]
    return []


class Originals:
    """Collects the places of originals, then gives their records, each once, in log order.

    ``topic``: of originals that lie elsewhere nothing is known; None: of any.
    """

    def __init__(
        self, connector: Connector, stopped: Callable[[], bool], topic: str | None = None
    ) -> None:
        self._connector = connector
        self._stopped = stopped
        self._topic = topic
        self._letters: dict[Place, Place | None] = {}  # the entry that holds a copy, if one does

    def add(self, letter: LogRecord) -> None:
        here = (letter.topic, letter.partition, letter.offset)
        emptied = any(name == f"{OWN}original-bytes" for name, _ in letter.headers)
        copied = not emptied and any(name == f"{OWN}topic" for name, _ in letter.headers)
        for place in places_of(letter):
            if self._topic not in (None, place[0]):
                continue
            if copied or place not in self._letters:
                self._letters[place] = here if copied else None

    @property
    def topics(self) -> set[str]:
        return {topic for topic, _, _ in self._letters}

    @property
    def partitions(self) -> int:
        """How many a topic needs that takes them."""
        return 1 + max((partition for _, partition, _ in self._letters), default=-1)

    @property
    def count(self) -> int:
        return len(self._letters)

    def records(self, topic: str) -> Iterator[OutRecord | Missing]:
        """All of them, for ``topic``: the same partition, key, value and headers.

        ``ce_time`` is added where there is none: the log would give them another time.
        """
        lost = set(self._letters)
        for record in self._read(self._letters):
            lost.discard((record.topic, record.partition, record.offset))
            yield _again(record, record.timestamp_us, topic)
        copies = {at: place for place in lost if (at := self._letters[place]) is not None}
        for letter in self._read(copies):
            at = (letter.topic, letter.partition, letter.offset)
            lost.discard(copies[at])
            yield _again(letter, letter.timestamp_us, topic)
        if not self._stopped():
            yield from (Missing(place) for place in sorted(lost))

    def _read(self, places: Mapping[Place, object]) -> Iterator[LogRecord]:
        """What still lies at these places."""
        runs = _runs(places)
        with (
            closing(self._connector.control()) as control,
            closing(self._connector.source()) as source,
        ):
            there = {topic for topic, info in control.topics(_topics(runs)).items() if info}
            known = [at for at in runs if at.topic in there]
            firsts, ends = control.beginnings(known), control.stable_ends(known)
            for at in known:
                for first, end in runs[at]:
                    span = max(first, firsts[at]), min(end, ends[at])
                    for record in read_spans(source, {at: span}, self._stopped):
                        if (record.topic, record.partition, record.offset) in places:
                            yield record


def _topics(runs: Mapping[TopicPartition, object]) -> set[str]:
    return {at.topic for at in runs}


def _runs(places: Mapping[Place, object]) -> dict[TopicPartition, list[tuple[int, int]]]:
    """Ranges of offsets that hold all places, none with a gap of more than GAP_RECORDS."""
    runs: dict[TopicPartition, list[tuple[int, int]]] = {}
    for topic, partition, offset in sorted(places):
        of_partition = runs.setdefault(TopicPartition(topic, partition), [])
        if of_partition and offset - of_partition[-1][1] <= GAP_RECORDS:
            of_partition[-1] = of_partition[-1][0], offset + 1
        else:
            of_partition.append((offset, offset + 1))
    return runs


def _again(record: LogRecord, time_us: int, topic: str) -> OutRecord:
    headers = [header for header in record.headers if not header[0].startswith(OWN)]
    if all(name != "ce_time" for name, _ in headers):
        headers.append(("ce_time", rfc3339(time_us)))
    return OutRecord(topic, record.partition, record.key, record.value, tuple(headers))
