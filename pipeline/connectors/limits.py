"""Limits that both connectors hold, and the one-line errors for what is over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.errors import Fenced, PositionLost, Refused
from pipeline.slot.ports import Committed, OutRecord, TopicPartition

METADATA_CHARS_MAX = 4096  # the broker's default offset.metadata.max.bytes
MESSAGE_BYTES_DEFAULT = 1048588  # the broker's default max.message.bytes
_BATCH_HEADER_BYTES = 61  # record batch, format v2


def check_metadata(offsets: Mapping[TopicPartition, Committed]) -> None:
    """Raises Refused where the broker would: too long is *fatal* for a producer, so ask first.

    The broker counts as Java does, in UTF-16 code units.
    """
    for partition, committed in offsets.items():
        text = committed.metadata
        chars = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
        if chars > METADATA_CHARS_MAX:
            raise Refused(
                f"commit metadata of {partition.topic}-{partition.partition} = {chars} characters: "
                f"the broker keeps at most {METADATA_CHARS_MAX}; nothing was sent"
            )


def batch_bytes(record: OutRecord) -> int:
    """Size in bytes of a record alone in a batch, which is what max.message.bytes limits.

    Format v2 (Kafka's implementation notes, "Record Batch"): every length is a zigzag varint.
    """
    body = 3 + _field_bytes(record.key) + _field_bytes(record.value)  # attributes, two deltas
    body += _varint_bytes(len(record.headers))
    for name, value in record.headers:
        body += _field_bytes(name.encode()) + _field_bytes(value)
    return _BATCH_HEADER_BYTES + _varint_bytes(body) + body


def check_size(record: OutRecord, max_message_bytes: int) -> None:
    """Raises Refused where the record is over the topic's limit."""
    size = batch_bytes(record)
    if size > max_message_bytes:
        raise too_large(record.topic, record.partition, size, max_message_bytes)


def too_large(topic: str, partition: int, size: int, limit: int | None) -> Refused:
    """The error for a record over the topic's limit; None where that is not known."""
    over = "" if limit is None else f" = {limit}"
    return Refused(
        f"{topic}-{partition}: a record of {size} bytes is over the topic's "
        f"max.message.bytes{over}; "
        "raise that setting of the topic, or send less in one record"
    )


def unknown_topics(names: Sequence[str]) -> Refused:
    """The error for topics or partitions that the broker does not have."""
    return Refused(
        f"topic {', '.join(sorted(names))}: there is no such topic or partition on the broker; "
        "create it (motet topics create FILE) or correct its name"
    )


def topic_exists(name: str) -> Refused:
    """The error of who creates a topic that is there."""
    return Refused(f"topic {name}: it exists already; use it or take another name")


def fenced(transactional_id: str) -> Fenced:
    """The error of an owner whose transactional id a newer one has opened."""
    return Fenced(
        f"transactional id {transactional_id}: a newer owner has taken over; this one stops "
        "and never takes back (start it again to take over on purpose)"
    )


def position_lost(
    partition: TopicPartition, position: int, start: int | None, end: int | None
) -> PositionLost:
    """The error of a reader whose offset the log no longer (or not yet again) holds."""
    held = "" if start is None or end is None else f" (it holds {start} to {end})"
    return PositionLost(
        f"{partition.topic}-{partition.partition}: offset {position} is not in the log{held}: "
        "retention passed it, or the topic was truncated or recreated; going on would lose "
        "records without a word; run `motet reset FILE` to choose where it goes on, or take a new "
        "name"
    )


def _field_bytes(field: bytes | None) -> int:
    return 1 if field is None else _varint_bytes(len(field)) + len(field)


def _varint_bytes(number: int) -> int:
    """Bytes of a number >= 0 as a zigzag varint: seven bits a byte of twice the number."""
    return max(1, ((2 * number).bit_length() + 6) // 7)
