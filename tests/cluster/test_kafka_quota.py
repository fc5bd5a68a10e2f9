"""What keeps one pipeline from taking the broker's network: a quota by its client id."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from kafka.protocol.admin import AlterClientQuotasRequest
from kafka_user import LOCAL, PARTITIONS, Command, KafkaUser

from pipeline.connectors.kafka import KafkaConnector
from pipeline.spec import load

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.long]

SECONDS = 30  # five streams of 32 kB a second
BYTES_S = 100_000
BURST_S = 11.0  # the broker looks at the mean over so long


def limit(user: KafkaUser, client: str, **rates: float) -> None:
    """``kafka-configs.sh --alter --entity-type clients --entity-name CLIENT``."""
    Entry = AlterClientQuotasRequest.EntryData
    entity = Entry.EntityData(entity_type="client-id", entity_name=client)
    ops = [Entry.OpData(key=key, value=value, remove=False) for key, value in rates.items()]
    request = AlterClientQuotasRequest(
        entries=[Entry(entity=[entity], ops=ops)], validate_only=False
    )
    manager = user.admin._manager
    [entry] = manager.run(manager.send, request).entries
    assert entry.error_code == 0, entry.error_message


def write(folder: Path, user: KafkaUser, prefix: str, name: str) -> Path:
    tree = {
        "name": name,
        "kafka": {"bootstrap": user.bootstrap, "client": {"client_id": name}},
        "inputs": {"mic": {"topic": f"{prefix}.audio", "type": "audio/L16;rate=16000;channels=1"}},
        "windows": {"size": "1s"},
        "slots": 2,
        "stages": {"sound": {"encoder": "log_mel", "of": "mic"}},
        "fusion": {"rule": "concat", "of": {"sound": 1}},
        "outputs": {
            "results": f"{name}.results", "late": f"{name}.late", "dead_letter": f"{name}.dead",
        },
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    with closing(KafkaConnector(user.bootstrap).control()) as control:
        for topic in (*load(path).topics_in(), *load(path).topics_out()):
            if control.topics([topic])[topic] is None:
                control.create_topic(topic, PARTITIONS, 1, {})
    return path


def test_a_pipeline_with_a_quota_is_slowed_down_and_loses_nothing(user, tmp_path):
    prefix = f"quota{uuid.uuid4().hex[:8]}"
    slow, quick = (write(tmp_path, user, prefix, f"{prefix}-{word}") for word in ("slow", "quick"))
    user.send_sound(prefix, range(SECONDS))
    limit(user, f"{prefix}-slow", consumer_byte_rate=BYTES_S)
    sent = SECONDS * 5 * 32_000
    took = {}
    runs = {path: Command(["run", path, *LOCAL], tmp_path / path.stem) for path in (slow, quick)}
    began = time.monotonic()
    for path in (quick, slow):
        assert runs[path].wait(200) == 0, runs[path].err
        took[path] = time.monotonic() - began
    assert took[slow] > sent / BYTES_S - BURST_S, "it is held to the rate but for a burst"
    assert took[quick] < took[slow]
    first, second = (user.results(path.stem) for path in (slow, quick))
    assert first == second
    assert len(first) == 5 * SECONDS
    assert all(json.loads(line.partition(" ")[2])["failed"] == {} for line in first)
