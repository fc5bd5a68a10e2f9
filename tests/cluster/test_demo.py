"""``motet demo`` as a user runs it: a real Kafka, a real Ray, live topics, fused results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from pipeline.connectors.kafka import KafkaConnector
from pipeline.demo.assets import PARTITIONS, STREAMS
from pipeline.demo.models import missing_package
from pipeline.slot.ports import TopicPartition

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

MOTET = [sys.executable, "-m", "actors"]
MODELS = missing_package() is None  # where they are there, the demo has them
FUSED = {"sound", "colour", "meaning"} if MODELS else {"sound", "timbre", "colour", "words"}


def committed(bootstrap: str, topic: str) -> list[dict]:
    """The committed results of a topic, as a read_committed reader sees them."""
    connector = KafkaConnector(bootstrap)
    control, source = connector.control(), connector.source()
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    ends = control.stable_ends(partitions)
    positions = dict.fromkeys(partitions, 0)
    source.assign(positions)
    found = []
    while any(positions[partition] < end for partition, end in ends.items()):
        for fetch in source.poll(1.0):
            found += [json.loads(record.value) for record in fetch.records]
            positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position
    source.close()
    control.close()
    return found


def test_the_demo_ends_by_itself_and_its_results_lie_in_the_real_topic(
    kafka, ray_address, tmp_path
):
    command = [*MOTET, "demo", "--seconds", "5", "--no-browser", "--kafka", kafka]
    environment = {**os.environ, "RAY_ADDRESS": ray_address}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    told = re.search(
        r"fused +(\d+) windows of 3 streams, each exactly once; (\d+) with", done.stdout
    )
    assert told is not None, done.stdout
    look, *_others = re.findall(r"^  (?!#)(.+)$", done.stdout.partition("next:\n")[2], re.MULTILINE)
    topic = re.search(r"--topic (\S+)", look)[1]
    results = committed(kafka, topic)
    assert len(results) == int(told[1]) == int(told[2]), done.stdout
    assert {result["stream"] for result in results} == {*STREAMS}

    def of_stream(stream: str) -> list[dict]:
        return [result for result in results if result["stream"] == stream]

    for result in results:
        assert (result["present"], result["missing"]) == (["camera", "chat", "mic"], [])
        assert len(result["output"]["vector"]) == 128
        assert {*result["weights"]} == FUSED
        assert sum(result["attribution"].values()) == pytest.approx(1, abs=1e-5)
    if MODELS:
        assert all({*result["text"]} == {"speech", "topic"} for result in results)
        assert all(
            {*result["data"]} == {"speech", "labels", "faces", "topic"} for result in results
        )
        said = sorted((r["window"]["start_us"], r["text"]["speech"]) for r in of_stream("hall"))
        assert "John Dashwood had" in " ".join(words for _start, words in said)
        assert any(result["data"]["faces"]["faces"] for result in of_stream("gallery"))
    # The command that it names for looking at them, as it stands.
    shown = subprocess.run(look, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 5
    assert {line.split()[0] for line in shown.stdout.splitlines()} <= {*STREAMS}
