"""Speak into it on a real Kafka: what a visitor sends is there, acknowledged, in its partition."""

from __future__ import annotations

import uuid

import pytest
from kafka_user import await_that
from pipelines import LOBBY, RATE, header, jpeg, load, tone
from shown import monitor_of
from speaking import Speaker

from pipeline.connectors.kafka import KafkaConnector
from pipeline.connectors.partitioner import partition_for
from pipeline.slot.ports import LogRecord, TopicPartition

pytestmark = pytest.mark.kafka

PARTITIONS = 3


def test_what_a_visitor_sends_stands_in_its_partition(kafka):
    prefix = f"p{uuid.uuid4().hex[:8]}"
    changes = {f"inputs.{name}.topic": f"{prefix}.{name}" for name in ("mic", "cam", "chat")}
    spec = load(LOBBY, {**changes, "metrics.ingest": True})
    connector = KafkaConnector(kafka)
    control = connector.control()
    for topic in changes.values():
        control.create_topic(topic, PARTITIONS, 1, {})
    with monitor_of(spec, connector) as monitor:
        speaker = Speaker(monitor)
        assert speaker.begin().status == 201
        assert speaker.send("mic", 0, tone(440, 0.2), RATE).status == 200
        assert speaker.send("cam", 0, jpeg((9, 9, 9))).status == 200
        assert speaker.send("chat", 0, b"hello").status == 200
        begun_us, stream = speaker.session["offset_us"], speaker.session["stream"].encode()
        lane = partition_for(stream, PARTITIONS)
        for name, wanted in (("mic", 2), ("cam", 1), ("chat", 1)):
            here = TopicPartition(f"{prefix}.{name}", lane)
            await_that(name, lambda at=here, n=wanted: control.stable_ends([at])[at] >= n)
            for record in read(connector, here):
                assert record.key == stream
                assert header(record, "ce_source") == "motet/page"
                assert begun_us <= at_us(record) < begun_us + 200_000
    control.delete_topics(list(changes.values()))
    control.close()


def read(connector: KafkaConnector, partition: TopicPartition) -> list[LogRecord]:
    source = connector.source()
    try:
        source.assign({partition: 0})
        polled = await_that("records", lambda: source.poll(0.2))
        return [record for fetch in polled for record in fetch.records]
    finally:
        source.close()


def at_us(record: LogRecord) -> int:
    return int((header(record, "ce_id") or "").rpartition("/")[2])
