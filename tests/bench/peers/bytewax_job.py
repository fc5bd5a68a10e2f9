"""Bytewax: features in polled batches, an event-time tumbling window a key, at least once."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from job import GRACE_MS, INPUT, WINDOW_MS, Features, event_time, result

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def main(bootstrap: str, name: str, kind: str) -> None:
    features = Features(kind)
    windows = 0

    def encoded(batch):
        vectors = features.of([message.value for message in batch])
        return [
            (message.key.decode(), (event_time(message.headers), vector))
            for message, vector in zip(batch, vectors, strict=True)
        ]

    def written(item):
        nonlocal windows
        windows += 1
        key, (number, content) = item
        start_us = number * WINDOW_MS * 1000
        value = result(key, start_us, [vector for _, vector in content])
        return KafkaSinkMessage(key.encode(), json.dumps(value).encode())

    flow = Dataflow("standard_job")
    source = kafka.input(
        "in", flow, brokers=[bootstrap], topics=[INPUT], tail=False, batch_size=200
    )
    vectors = op.flat_map_batch("features", source.oks, encoded)
    clock = win.EventClock(
        ts_getter=lambda item: item[0],
        wait_for_system_duration=timedelta(milliseconds=GRACE_MS),
        # Its clock goes on with the wall between records, which in a backfill drops records as
        # late that are not: here it goes by the records alone.
        now_getter=lambda: EPOCH,
        to_system_utc=lambda _: None,
    )
    windower = win.TumblingWindower(length=timedelta(milliseconds=WINDOW_MS), align_to=EPOCH)
    collected = win.collect_window("window", vectors, clock, windower)
    kafka.output(
        "out",
        op.map("result", collected.down, written),
        brokers=[bootstrap],
        topic=f"{name}.results",
    )
    run_main(flow, epoch_interval=timedelta(milliseconds=250))
    features.report(windows)


if __name__ == "__main__":
    main(*sys.argv[1:4])
