"""The source media of a committed result, found again in the topics (``motet clip``).

Where they lie follows from the contract: a record ends at most ``future_max`` after its Kafka
timestamp, and what was fused had been appended when the result was produced. Timestamps of
clients may disagree with the broker's, so SLACK_US is added on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from pipeline.connectors.partitioner import partition_for
from pipeline.connectors.spans import read_spans
from pipeline.media.reading import Reader, rules_of
from pipeline.record import MediaRecord, header_texts
from pipeline.slot.ports import Connector, Control, LogRecord, Source, TopicPartition
from pipeline.spec import PipelineSpec, Span

SLACK_US = 60_000_000

Place = tuple[str, int, int]  # topic, partition, offset


class ResultId(NamedTuple):
    """``ce_id`` of a result."""

    stream: str
    start_us: int

    def __str__(self) -> str:
        return f"{self.stream}/{self.start_us}"


class WindowMedia:
    """Looks up results and what they were made of; every topic is read in log order.

    ``stopped``: whether to give up, asked again and again.
    """

    def __init__(
        self, spec: PipelineSpec, connector: Connector, stopped: Callable[[], bool]
    ) -> None:
        self._spec = spec
        self._connector = connector
        self._stopped = stopped
        self._reader = Reader(rules_of(spec))

    def result(self, wanted: ResultId) -> LogRecord | None:
        """The result of that id: in the partition of its key first, then in all others."""
        topic = self._spec.outputs.results
        ce_id = str(wanted).encode()
        with closing(self._connector.control()) as control:
            info = control.topics([topic])[topic]
            count = 0 if info is None else info.partitions
            likely = partition_for(wanted.stream.encode(), count) if count else 0
            for lanes in ([likely], [lane for lane in range(count) if lane != likely]):
                spans = appended_since(control, topic, lanes, self._spec, wanted.start_us)
                with closing(self._connector.source()) as source:
                    for record in read_spans(source, spans, self._stopped):
                        if ("ce_id", ce_id) in record.headers:
                            return record
        return None

    def records(
        self, wanted: ResultId, result: LogRecord, inputs: Sequence[str]
    ) -> dict[str, list[MediaRecord]]:
        """By input, the records that the window was made of, in log order.

        Records that came too late for the window are left out, as the late topic names them.
        """
        lane = result.partition
        with (
            closing(self._connector.control()) as control,
            closing(self._connector.source()) as source,
        ):
            late = self._late(source, control, wanted, lane)
            found = {}
            for name in inputs:
                found[name] = self._of_input(source, control, wanted, result, name, late)
        return found

    # -- how ------------------------------------------------------------------------------

    def _late(self, source: Source, control: Control, wanted: ResultId, lane: int) -> set[Place]:
        """Where the records lie that were too late for the window."""
        late_topic = self._spec.outputs.late
        spans = appended_since(control, late_topic, [lane], self._spec, wanted.start_us)
        late = set()
        for record in read_spans(source, spans, self._stopped):
            headers = header_texts(record.headers)
            if str(wanted.start_us) in headers.get("motet-windows", "").split(","):
                topic, partition = headers["motet-topic"], int(headers["motet-partition"])
                late.add((topic, partition, int(headers["motet-offset"])))
        return late

    def _of_input(
        self,
        source: Source,
        control: Control,
        wanted: ResultId,
        result: LogRecord,
        name: str,
        late: set[Place],
    ) -> list[MediaRecord]:
        given = self._spec.inputs[name]
        from_us = wanted.start_us - given.time_offset_us
        lanes = [result.partition]
        spans = appended_since(control, given.topic, lanes, self._spec, from_us)
        [(at, (first, end))] = spans.items()
        if _times_of_broker(control, given.topic):
            end = min(end, control.offsets_at([at], result.timestamp_us + SLACK_US)[at])
        end_us = wanted.start_us + self._spec.windows.size_us
        found = []
        for log in read_spans(source, {at: (first, end)}, self._stopped):
            record = self._reader.read(name, log)
            if not isinstance(record, MediaRecord) or record.stream != wanted.stream:
                continue
            inside = record.ts_us < end_us and record.end_us > wanted.start_us
            if inside and (log.topic, log.partition, log.offset) not in late:
                found.append(record)
        return found


def results_of(
    connector: Connector,
    spec: PipelineSpec,
    span: Span,
    stopped: Callable[[], bool],
    done: Callable[[float], None],
) -> Iterator[dict[str, Any]]:
    """Values of a pipeline's own results about windows of a span, each lane in log order."""
    topic, source_id = spec.outputs.results, f"motet/{spec.name}".encode()
    with closing(connector.control()) as control, closing(connector.source()) as source:
        info = control.topics([topic])[topic]
        lanes = range(0 if info is None else info.partitions)
        spans = appended_since(control, topic, lanes, spec, span.from_us or 0)
        for record in read_spans(source, spans, stopped, done):
            if ("ce_source", source_id) not in record.headers:
                continue
            value = json.loads(record.value or b"")
            if span.holds(value["window"]["start_us"], value["window"]["end_us"]):
                yield value


def appended_since(
    control: Control, topic: str, lanes: Sequence[int], spec: PipelineSpec, event_us: int
) -> Mapping[TopicPartition, tuple[int, int]]:
    """All that may be about event times at or after one: by partition, up to its stable end now."""
    from_us = max(0, event_us - spec.windows.future_max_us - SLACK_US)
    partitions = [TopicPartition(topic, lane) for lane in lanes]
    if not partitions:
        return {}
    firsts = control.offsets_at(partitions, from_us)
    begins = control.beginnings(partitions)
    ends = control.stable_ends(partitions)
    return {at: (max(begins[at], firsts[at]), ends[at]) for at in partitions}


def _times_of_broker(control: Control, topic: str) -> bool:
    info = control.topics([topic])[topic]
    return info is not None and info.append_time
