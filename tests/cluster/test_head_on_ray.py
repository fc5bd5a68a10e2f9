"""A trained head on Ray: workers find it by the file's folder, and say what one process says."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest

from actors.supervisor import run_on_ray
from pipeline.connectors.kafka import KafkaConnector
from pipeline.encoders.checking import check_pipeline
from pipeline.local import run_local
from pipeline.slot.ports import OutRecord, TopicPartition
from pipeline.spec import PipelineSpec, load
from pipeline.spec.head_card import features_of
from pipeline.tasks.host import RunControl
from pipeline.tasks.results import rfc3339
from pipeline.tasks.starting import check_topics
from pipeline.training.export import export, manifest
from pipeline.training.feature_set import Row, set_of
from pipeline.training.labels import Label, LabelIndex
from pipeline.training.options import TrainOptions
from pipeline.training.train import train

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.timeout(300)]

BEGIN_US, SECOND_US, LANES, STREAMS, SECONDS = 1_790_000_000_000_000, 1_000_000, 2, 6, 10
WORDS = {"calm": "all is quiet here", "alarm": "fire in the hall, help"}

PIPELINE = """
version: 1
name: {name}
kafka: {{bootstrap: "{bootstrap}"}}
inputs:
  chat: {{topic: {name}.text, type: text/plain}}
  notes: {{topic: {name}.notes, type: text/plain, gating: false}}
windows: {{size: 1s}}
slots: 2
stages:
  said: {{encoder: hash_text, of: chat, options: {{dim: 32}}}}
  noted: {{encoder: hash_text, of: notes, options: {{dim: 16}}}}
fusion: {{rule: attention, of: {{said: 1, noted: 1}}, head: heads/mood}}
outputs: {{results: {name}.results, late: {name}.late, dead_letter: {name}.dead}}
"""


def label_of(stream: int, second: int) -> str:
    return "alarm" if (stream + second) % 3 == 0 else "calm"


def publish(connector: KafkaConnector, name: str) -> list[Label]:
    rng = np.random.default_rng(0)
    publisher, labels = connector.publisher(), []
    for second in range(SECONDS):
        for stream in range(STREAMS):
            at_us, label = BEGIN_US + second * SECOND_US, label_of(stream, second)
            words = " ".join(rng.permutation(WORDS[label].split()).tolist()).encode()
            place = stream % LANES, f"room-{stream}".encode(), words
            headers = [("ce_time", rfc3339(at_us)), ("ce_mediadur", b"1000000")]
            publisher.send(OutRecord(f"{name}.text", *place, headers, at_us))
            if rng.random() < 0.5:
                publisher.send(OutRecord(f"{name}.notes", *place, headers, at_us))
            labels.append(Label(f"room-{stream}", at_us, at_us + SECOND_US, label, None))
    publisher.flush()
    publisher.close()
    return labels


def trained(spec: PipelineSpec, connector: KafkaConnector, labels: list[Label]) -> str:
    control, lengths = connector.control(), check_pipeline(spec)
    layout = check_topics(spec, control)
    control.close()
    rows: list[Row] = []
    seen = export(spec, connector, layout, lengths, LabelIndex(labels), rows.append, RunControl())
    told = manifest(spec, lengths, seen)
    made = train(
        spec.fusion, set_of(rows, told["lengths"], told), TrainOptions("attention", epochs=60)
    )
    assert spec.fusion.head is not None
    return made.save(spec.folder / spec.fusion.head, features_of(spec))


def results(connector: KafkaConnector, topic: str) -> dict[tuple[str, int], dict]:
    control, source = connector.control(), connector.source()
    partitions = [TopicPartition(topic, lane) for lane in range(LANES)]
    ends, positions = control.stable_ends(partitions), dict.fromkeys(partitions, 0)
    source.assign(positions)
    found = {}
    while any(positions[at] < ends[at] for at in partitions):
        for fetch in source.poll(1.0):
            positions[TopicPartition(fetch.topic, fetch.partition)] = fetch.position
            for record in fetch.records:
                value = json.loads(record.value)
                found[value["stream"], value["window"]["start_us"]] = value
    source.close()
    control.close()
    return found


@pytest.mark.long
def test_a_head_runs_where_the_fusion_actors_are(kafka, ray_address, tmp_path, monkeypatch):
    name = f"h{uuid.uuid4().hex[:8]}"
    (tmp_path / "mood.yaml").write_text(PIPELINE.format(name=name, bootstrap=kafka))
    monkeypatch.chdir(tmp_path)
    spec = load(Path("mood.yaml"))  # a path that says nothing to a worker
    connector = KafkaConnector(kafka)
    control = connector.control()
    for topic in (*spec.topics_in(), *spec.topics_out()):
        control.create_topic(topic, LANES, 1, {})
    labels = publish(connector, name)
    sha256 = trained(spec, connector, labels)
    until_end = RunControl(until_end=True)
    totals, _ = run_on_ray(spec, connector, until_end)
    assert totals.windows == STREAMS * SECONDS
    on_ray = results(connector, spec.outputs.results)
    for (stream, start_us), result in on_ray.items():
        second = (start_us - BEGIN_US) // SECOND_US
        assert result["output"]["label"] == label_of(int(stream[-1]), second)
        assert result["model"] == f"{name}@sha256:{spec.model_hash(sha256)}"
    local = load(Path("mood.yaml"), overrides={"name": f"{name}-l", **beside(name)})
    for topic in local.topics_out():
        control.create_topic(topic, LANES, 1, {})
    control.close()
    run_local(local, connector, RunControl(until_end=True))
    here = results(connector, local.outputs.results)
    assert here.keys() == on_ray.keys()
    for key, result in here.items():
        assert {**result, "model": ""} == {**on_ray[key], "model": ""}


def beside(name: str) -> dict[str, str]:
    return {f"outputs.{key}": f"{name}.l.{key}" for key in ("results", "late", "dead_letter")}
