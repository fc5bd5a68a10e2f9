"""The labels of a topic as they stand now, and one more for it."""

from __future__ import annotations

from collections import Counter

import orjson

from pipeline.connectors.partitioner import partition_for
from pipeline.slot.ports import OutRecord
from pipeline.spec.units import format_rfc3339
from pipeline.teaching.pool import Key
from pipeline.training.labels import Label

LABELS_MAX = 50_000
EVENT_TYPE = "motet.label.v1"


class Book:
    """What each window is labelled: of several labels the one written last.

    Invariants: a label of ours stands from when it was written until it is read back, whatever
    older ones are read meanwhile; at most ``most`` are kept, the newest.
    """

    def __init__(self, most: int = LABELS_MAX) -> None:
        self._most = most
        self._labels: dict[Key, str] = {}
        self._own: dict[Key, str] = {}  # written and not read back: the record's id
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._labels)

    def label(self, key: Key) -> str | None:
        return self._labels.get(key)

    def counts(self) -> dict[str, int]:
        """Windows by label, in the order in which the labels came up."""
        return dict(Counter(self._labels.values()))

    def read(self, label: Label, id: str | None) -> bool:
        """A row of the topic, in its order; whether it changes anything. ``id``: ``ce_id``."""
        key = Key(*label[:3])
        if label.text is not None and label.label is None:
            return False  # a transcript
        if key in self._own:
            if id == self._own[key]:
                del self._own[key]
            return False
        return self._set(key, label.label)

    def wrote(self, key: Key, label: str | None, id: str) -> None:
        """Ours is acknowledged; ``label`` None: taken back."""
        self._own[key] = id
        self._set(key, label)

    def _set(self, key: Key, label: str | None) -> bool:
        before = self._labels.get(key)
        if before == label:
            return False
        if label is None:
            del self._labels[key]
        else:
            self._labels[key] = label
        while len(self._labels) > self._most:
            del self._labels[next(iter(self._labels))]
            self.forgotten += 1
        return True


def label_record(
    topic: str, partitions: int, key: Key, label: str | None, id: str, source: str
) -> OutRecord:
    """A row of a label topic, keyed by stream (contract section 5); null takes a label back."""
    stream = key.stream.encode()
    headers = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", EVENT_TYPE.encode()),
        ("ce_time", format_rfc3339(key.end_us, "microseconds").encode()),
    ]
    value = orjson.dumps({**key._asdict(), "label": label})
    return OutRecord(topic, partition_for(stream, partitions), stream, value, headers)
