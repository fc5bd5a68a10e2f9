"""The loop that a user would write: kafka-python in, record by record, transactions of 250 ms.

Exactly once, without windows, lateness or recovery. It needs no environment of its own.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from job import INPUT, Features
from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import OffsetAndMetadata, TopicPartition

COMMIT_S = 0.25
TILE = {"librosa": 256, "torch": 64}  # records whose features are one call


def main(bootstrap: str, name: str, kind: str, records: int) -> None:
    torch.set_num_threads(1)
    features = Features(kind)
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 << 20,
        fetch_max_bytes=64 << 20,
    )
    partitions = [
        TopicPartition(INPUT, number) for number in consumer.partitions_for_topic(INPUT) or ()
    ]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=name,
        batch_size=1 << 20,
        linger_ms=5,
        retry_backoff_ms=10,
    )
    producer.init_transactions()
    windows = 0
    positions = {}
    committed_at = time.monotonic()
    producer.begin_transaction()
    while windows < records:
        for partition, found in consumer.poll(100, max_records=256).items():
            vectors = []
            for first in range(0, len(found), TILE[kind]):
                vectors += features.of([each.value for each in found[first : first + TILE[kind]]])
            for record, vector in zip(found, vectors, strict=True):
                value = {"stream": record.key.decode(), "vector": vector}
                producer.send(
                    f"{name}.results",
                    json.dumps(value).encode(),
                    key=record.key,
                    partition=partition.partition,
                )
            windows += len(found)
            positions[partition] = OffsetAndMetadata(found[-1].offset + 1, "", -1)
        if positions and (time.monotonic() - committed_at > COMMIT_S or windows >= records):
            producer.flush()
            producer.send_offsets_to_transaction(positions, name)
            producer.commit_transaction()
            positions = {}
            committed_at = time.monotonic()
            if windows < records:
                producer.begin_transaction()
    features.report(windows)
    consumer.close()
    producer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
