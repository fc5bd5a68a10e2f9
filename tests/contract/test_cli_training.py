"""``motet export`` and ``motet train`` on a real Kafka, and a run with the head that came of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from kafka.admin import NewTopic
from kafka_user import BEGIN_US, LOCAL, PARTITIONS, RATE, KafkaUser, noise, windows_of

from pipeline.cli.export_media import folder_name
from pipeline.training.options import KINDS

pytestmark = pytest.mark.kafka

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
STREAMS = [f"s{number}" for number in range(8)]
SECONDS = 6
S = 1_000_000


def valid(line: str, name: str) -> dict[str, Any]:
    """One line of ``--json`` that fits its schema."""
    found: dict[str, Any] = json.loads(line)
    jsonschema.validate(found, json.loads((SCHEMAS / f"{name}.schema.json").read_text()))
    return found


def hum(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    times = np.arange(RATE) / RATE
    wave = np.sin(2 * np.pi * rng.uniform(200, 400) * times)
    return (6000 * wave + rng.normal(0, 300, RATE)).astype(">i2").tobytes()


def truth(stream: str, second: int) -> str:
    return "hum" if (int(stream[1:]) + second // 2) % 2 else "noise"


def send(user: KafkaUser, prefix: str) -> list[dict[str, object]]:
    """Humming and noise, by turns; gives the labels."""
    rows = []
    for second in range(SECONDS):
        for number, stream in enumerate(STREAMS):
            at_us, seed = BEGIN_US + second * S, 100 * number + second
            label = truth(stream, second)
            made = hum(seed) if label == "hum" else noise(seed)
            user.send(f"{prefix}.audio", stream, made, at_us)
            if number % 3:
                user.send(f"{prefix}.text", stream, f"it is {label}".encode(), at_us)
            rows.append({"stream": stream, "start_us": at_us, "end_us": at_us + S, "label": label})
    user.producer.flush()
    return rows


def with_fusion(file: Path, **changes: object) -> Path:
    tree = yaml.safe_load(file.read_text())
    tree["fusion"] |= changes
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return file


def test_topics_and_labels_to_a_head_to_labels_in_results(user, motet, prefix, make_file, tmp_path):
    file = make_file(prefix)
    rows = send(user, prefix)
    labels = tmp_path / "labels.csv"
    lines = [f"{r['stream']},{r['start_us']},{r['end_us']},{r['label']}" for r in rows]
    labels.write_text("\n".join(["stream,start_us,end_us,label", *lines[:-4]]))

    out = tmp_path / "set"
    answer = motet("export", file, "--labels", labels, "-o", out, "--json")
    assert answer.code == 0, answer.err
    told = valid(answer.out, "export")
    assert (told["windows"], told["rows"], told["unlabelled"]) == (len(rows), len(rows) - 4, 4)
    assert told["labels"] == {"hum": 22, "noise": 22}
    assert user.results(prefix) == [], "an export writes nothing to the broker"

    table = pq.read_table(out / "features.parquet")
    found = {(r["stream"], r["start_us"]): r for r in table.to_pylist()}
    for row in rows[:-4]:
        kept = out / found[row["stream"], row["start_us"]]["media"]
        sound, rate = soundfile.read(kept / "mic.wav", dtype="int16")
        assert (rate, len(sound)) == (RATE, RATE)
        number, second = int(str(row["stream"])[1:]), (int(str(row["start_us"])) - BEGIN_US) // S
        seed = 100 * number + second
        sent = hum(seed) if row["label"] == "hum" else noise(seed)
        np.testing.assert_array_equal(sound, np.frombuffer(sent, ">i2"))
        text = kept / "chat.txt"
        assert text.exists() == bool(number % 3)
        assert not text.exists() or text.read_text() == f"it is {row['label']}\n"

    head = tmp_path / "heads" / "sounds"
    answer = motet("train", file, "--features", out, "-o", head, "--head", "late", "--json")
    assert answer.code == 0, answer.err
    told = valid(answer.out, "train")
    assert told["metrics"]["test"]["accuracy"] == 1
    assert "in the file: fusion: {rule: late, head: heads/sounds}" in answer.err

    with_fusion(file, rule="late", head="heads/sounds", abstain_below=0.6)
    assert motet("validate", file).code == 0
    assert windows_of(motet("run", file, *LOCAL)) == len(rows)
    answer = motet("tail", file, "--from-beginning", "--until-end", "--json")
    results = [json.loads(line) for line in answer.out.splitlines()]
    assert len(results) == len(rows)
    for result in results:
        second = (result["window"]["start_us"] - BEGIN_US) // S
        assert result["output"]["label"] == truth(result["stream"], second)
        assert result["output"]["scores"].keys() == {"hum", "noise"}
        assert result["weights"].keys() == result["attribution"].keys()
    models = {result["model"] for result in results}
    assert len(models) == 1
    answer = motet("tail", file, "--from-beginning", "--until-end", "--max", 1)
    assert re.search(r"label (hum|noise) [01]\.\d\d", answer.out)


def test_labels_of_a_topic_train_at_once(user, motet, prefix, make_file, tmp_path):
    file = with_fusion(make_file(prefix), head="heads/h")
    rows = send(user, prefix)
    topic = f"{prefix}.labels"
    answer = motet("train", file, "--labels", topic)
    assert (answer.code, answer.out) == (2, "")
    assert f"--labels = {topic}: it is no file and no topic" in answer.err
    user.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    for row in rows:
        user.send(topic, str(row["stream"]), json.dumps(row).encode(), None)
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert (answer.code, answer.out) == (2, "")
    assert "motet: error: fusion.head = heads/h: " in answer.err
    assert "train it: motet train FILE --labels LABELS" in answer.err
    auto = ("--head", "auto", "--budget-ms", 50, "--epochs", 20, "--json")
    answer = motet("train", file, "--labels", topic, *auto)
    assert answer.code == 0, answer.err
    told = valid(answer.out, "train")
    assert {each["kind"] for each in told["candidates"]} == set(KINDS)
    assert re.search(r"motet: \w+ wins: ", answer.err)
    card = json.loads((tmp_path / "heads" / "h" / "card.json").read_text())
    assert card["metrics"]["test"]["accuracy"] == 1
    assert card["data"]["pipeline"] == prefix
    with_fusion(file, rule=card["head"]["rule"])
    assert windows_of(motet("run", file, *LOCAL)) == len(rows)
    other = {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 9}}
    answer = motet("run", file, *LOCAL, "--set", f"stages.sound={json.dumps(other)}")
    assert answer.code == 2
    assert "stages.sound.options.n_mels is 9, and was 8" in answer.err


def test_streams_are_folders_whatever_they_are_called():
    names = ["cam-7", "a/b", "..", ".", "Ä", "x" * 256, "%2E", "a b", "~"]
    found = [folder_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert not {"", ".", ".."} & set(found)
    assert all("/" not in name and len(name.encode()) <= 200 for name in found)
    assert found[0] == "cam-7"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--head", "late"], "--out: it is not given, and the file names no head"),
        (["-o", "h"], "--labels, --features: neither is given; give one of the two"),
        (["-o", "h", "--head", "logstic", "--features", "x"], "--head = logstic: it is no kind"),
        (["-o", "h", "--features", "x"], "--features = x: it holds no training set"),
        (
            ["-o", "h", "--features", "x", "--budget-ms", "1"],
            "--budget-ms = 1.0: it does nothing for",
        ),
        (["-o", "h", "--features", "x", "--device", "tpu"], "--device = tpu: it is no device"),
        (["-o", "h", "--features", "x", "--combine", "sum"], "--combine = sum: it joins no scores"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(motet, make_file, prefix, arguments, line):
    answer = motet("train", make_file(prefix, create=False), *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"motet: error: {line}"), answer.err
    assert len(answer.err.splitlines()) == 1
