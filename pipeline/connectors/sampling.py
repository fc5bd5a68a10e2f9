"""Some records of a topic, its oldest and its newest: bounded in records, bytes and time."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline import clock
from pipeline.media.probe.sample import TopicSample
from pipeline.slot.ports import Control, LogRecord, Source, TopicInfo, TopicPartition

RECORDS_MAX = 512
BYTES_MAX = 48 << 20
PARTITIONS_MAX = 16
_LIMIT_US = 15_000_000
_POLL_S = 0.2

Run = list[LogRecord]


def sample_topic(control: Control, source: Source, topic: str, info: TopicInfo) -> TopicSample:
    """Half of the records from where each partition begins, half from its newest ones.

    Of many partitions those that hold most are read. A topic that does not answer in time gives
    what came until then.
    """
    numbers = [TopicPartition(topic, number) for number in range(info.partitions)]
    begins = control.beginnings(numbers)
    ends = control.stable_ends(numbers)
    counts = {at: ends[at] - begins[at] for at in numbers if ends[at] > begins[at]}
    chosen = sorted(sorted(counts, key=lambda at: -counts[at])[:PARTITIONS_MAX])
    runs: list[Run] = []
    if chosen:
        each = max(2, RECORDS_MAX // (2 * len(chosen)))
        spans = {at: (begins[at], min(ends[at], begins[at] + each)) for at in chosen}
        newest = {at: (max(spans[at][1], ends[at] - each), ends[at]) for at in chosen}
        newest = {at: span for at, span in newest.items() if span[0] < span[1]}
        for at, (first, last) in list(newest.items()):
            if first == spans[at][1]:  # no gap between them: one run
                spans[at] = spans[at][0], last
                del newest[at]
        budget_bytes = BYTES_MAX // 2
        runs = [*_read(source, spans, budget_bytes), *_read(source, newest, budget_bytes)]
    return TopicSample(
        topic=topic,
        partitions=info.partitions,
        append_time=info.append_time,
        compacted=info.compacted,
        runs=tuple(tuple(run) for run in runs),
    )


def _read(
    source: Source, spans: Mapping[TopicPartition, tuple[int, int]], budget_bytes: int
) -> list[Run]:
    """The records of the spans ``[first, last)``; each partition has its share of the bytes."""
    if not spans:
        return []
    share_bytes = budget_bytes // len(spans)
    runs: dict[TopicPartition, Run] = {at: [] for at in spans}
    taken_bytes = dict.fromkeys(spans, 0)
    left = set(spans)
    source.assign({at: first for at, (first, _) in spans.items()})
    until_us = clock.monotonic_us() + _LIMIT_US
    while left and clock.monotonic_us() < until_us:
        for fetch in source.poll(_POLL_S):
            at = TopicPartition(fetch.topic, fetch.partition)
            if at not in left:
                continue
            for record in fetch.records:
                full = bool(runs[at]) and taken_bytes[at] + _bytes(record) > share_bytes
                if record.offset >= spans[at][1] or full:
                    left.discard(at)
                    break
                runs[at].append(record)
                taken_bytes[at] += _bytes(record)
            if fetch.position >= spans[at][1]:
                left.discard(at)
            if at not in left:
                source.pause([at])
    return [run for run in runs.values() if run]


def _bytes(record: LogRecord) -> int:
    return len(record.value or b"")
