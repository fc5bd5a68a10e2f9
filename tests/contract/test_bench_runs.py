"""``motet bench`` over whole pipelines on a real Kafka, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from kafka import KafkaAdminClient
from kafka_user import Command
from PIL import Image

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
pytestmark = pytest.mark.kafka


def answered(kafka: str, tmp_path: Path, name: str, *words: str) -> tuple[dict, str]:
    """The JSON of a command, by its schema, and what it printed."""
    path = tmp_path / f"{name}.json"
    command = Command(
        ["bench", name, *words, "--kafka", kafka, "--json", path], tmp_path / f"as-{name}"
    )
    assert command.wait(300) == 0, command.err
    found = json.loads(path.read_text())
    schema = json.loads((SCHEMAS / f"bench-{name}.schema.json").read_text())
    jsonschema.validate(found, schema)
    assert set(found) == set(schema["properties"])
    return found, command.out


def left_behind(kafka: str) -> list[str]:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    topics = [topic for topic in admin.list_topics() if topic.startswith("bench-")]
    admin.close()
    return topics


@pytest.mark.timeout(300)
def test_a_backlog_is_worked_off_checked_and_told(kafka, tmp_path):
    picture = tmp_path / "rates.png"
    found, out = answered(
        kafka, tmp_path, "run", "audio", "--local", "--windows", "320", "--rounds", "1",
        "--no-efficiency", "--picture", str(picture),
    )  # fmt: skip
    [run], [summary] = found["runs"], found["summaries"]
    assert (run["windows"], run["records"], run["payload_bytes"]) == (320, 320, 320 * 32_000)
    assert run["windows_per_second"] == pytest.approx(320 / run["seconds"])
    assert run["cpu_seconds_per_million"] == pytest.approx(run["cpu_seconds"] / 320 * 1e6)
    assert run["broker_cpu_seconds"] is None  # it is not ours
    assert run["memory_bytes"] > 50 << 20
    assert summary["efficiency"] is None
    rates, _, costs, *_ = out.splitlines()[1:]
    assert rates.split()[:2] == ["audio", "local"]
    assert costs.split()[:3] == ["job", "side", "CPU"]
    assert left_behind(kafka) == []
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_encoders_alone_are_measured_beside_it(kafka, tmp_path):
    found, _ = answered(
        kafka, tmp_path, "run", "fused", "--local", "--windows", "320", "--rounds", "1"
    )
    [summary] = found["summaries"]
    bare, rate = summary["efficiency"], summary["windows_per_second"]
    assert bare["of_one_core"] == pytest.approx(rate / bare["bare_one_core"])
    assert bare["of_all_cores"] == pytest.approx(rate / bare["bare_all_cores"])
    assert 0 < bare["of_cpu"] < 1.5


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_process_that_is_killed_under_load_goes_on_and_loses_nothing(kafka, tmp_path):
    found, out = answered(
        kafka, tmp_path, "recovery", "audio", "--local", "--rate", "32", "--times", "1",
        "--apart", "12", "--warm", "2",
    )  # fmt: skip
    [measured] = found["measured"]
    [kill] = measured["kills"]
    assert kill["what"] == "process"
    assert kill["at"] >= 2
    assert 0 < kill["recovered"] < 100
    assert measured["latency"]["windows"] >= 32 * 12
    assert measured["latency"]["max"] >= 0.5 * kill["recovered"]
    assert out.splitlines()[1].split()[:4] == ["audio", "local", "32", "process"]
    assert left_behind(kafka) == []
