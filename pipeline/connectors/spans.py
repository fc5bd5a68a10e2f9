"""Committed records of given ranges of offsets, read once and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pipeline.slot.ports import LogRecord, Source, TopicPartition

POLL_S = 0.2

Spans = Mapping[TopicPartition, tuple[int, int]]  # first offset, and the one behind the last


def read_spans(
    source: Source,
    spans: Spans,
    stopped: Callable[[], bool] = lambda: False,
    done: Callable[[float], None] = lambda _: None,
) -> Iterator[LogRecord]:
    """The records of the spans, each partition in log order; ends early once ``stopped`` says so.

    ``done`` is told which share was read.
    """
    positions = {at: first for at, (first, end) in spans.items() if first < end}
    left = {at: spans[at][1] for at in positions}
    whole = sum(left[at] - positions[at] for at in left)
    source.assign(positions)
    while left and not stopped():
        for fetch in source.poll(POLL_S):
            at = TopicPartition(fetch.topic, fetch.partition)
            if at not in left:
                continue
            end = left[at]
            yield from (record for record in fetch.records if record.offset < end)
            positions[at] = fetch.position
            if fetch.position >= end:
                del left[at]
                source.pause([at])
        done(1 - sum(max(0, end - positions[at]) for at, end in left.items()) / whole)
