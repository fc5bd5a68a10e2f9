"""Quix Streams: features record by record, an event-time tumbling window a key, exactly once."""

from __future__ import annotations

import sys
import tempfile

from job import GRACE_MS, INPUT, STREAMS, WINDOW_MS, Features, event_time, result
from quixstreams import Application


def main(bootstrap: str, name: str, kind: str, records: int) -> None:
    features = Features(kind)
    with tempfile.TemporaryDirectory() as state:
        app = Application(
            broker_address=bootstrap,
            consumer_group=name,
            auto_offset_reset="earliest",
            processing_guarantee="exactly-once",
            commit_interval=0.25,
            consumer_poll_timeout=0.1,
            state_dir=state,
            loglevel="WARNING",
            consumer_extra_config={"max.partition.fetch.bytes": 8 << 20},
            producer_extra_config={"linger.ms": 5, "batch.size": 1 << 20},
        )
        sounds = app.topic(
            INPUT,
            value_deserializer="bytes",
            timestamp_extractor=lambda _value, headers, *_: int(
                event_time(headers).timestamp() * 1000
            ),
        )
        results = app.topic(f"{name}.results", key_serializer="bytes")
        frame = app.dataframe(sounds).apply(lambda payload: features.of([payload])[0])
        frame = frame.tumbling_window(WINDOW_MS, grace_ms=GRACE_MS).collect().final()
        frame = frame.apply(
            lambda window, key, *_: result(key.decode(), window["start"] * 1000, window["value"]),
            metadata=True,
        )
        frame.to_topic(results)
        # The last two windows of each stream wait for a record that is later by the grace.
        windows = records - 2 * STREAMS
        app.run(count=windows, timeout=60, collect=False)
    features.report(windows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
