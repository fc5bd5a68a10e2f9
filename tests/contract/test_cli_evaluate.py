"""``motet evaluate`` on committed results of a real run, and on a set that was exported from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kafka_user import BEGIN_US, LOCAL, noise, windows_of

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "evaluate.schema.json"
S = 1_000_000
STREAMS = [f"s{number}" for number in range(6)]
SECONDS = 6


def valid(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    return found


@pytest.fixture
def ran(user, motet, prefix, make_file, tmp_path):
    """A run with a stage that gives text; labels say what was sent, but for one word."""
    file = make_file(
        prefix,
        stages={
            "sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8}},
            "clean": {"encoder": "text_clean", "of": "chat"},
            "words": {"encoder": "hash_text", "of": "clean", "options": {"dim": 4}},
        },
    )
    rows = ["stream,start_us,end_us,label,text"]
    for number, stream in enumerate(STREAMS):
        for second in range(SECONDS):
            at_us = BEGIN_US + second * S
            label = "loud" if (number + second // 2) % 2 else "still"
            sound = noise(second) if label == "loud" else bytes(32_000)
            user.send(f"{prefix}.audio", stream, sound, at_us)
            user.send(f"{prefix}.text", stream, f"it is {label}".encode(), at_us)
            truth = f"it was {label}" if second == 0 else f"It is {label}!"
            rows.append(f"{stream},{at_us},{at_us + S},{label},{truth}")
    user.producer.flush()
    assert windows_of(motet("run", file, *LOCAL)) == SECONDS * len(STREAMS)
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows))
    return file, labels


def test_texts_of_committed_results_are_compared_with_what_was_said(motet, ran, tmp_path):
    file, labels = ran
    code, out, err = motet("evaluate", file, "--labels", labels, "--json")
    assert code == 0, err
    found = valid(out)
    assert found.keys() == {"results", "text"}
    assert (found["results"], found["text"]["stage"]) == (36, "clean")
    assert found["text"]["wer"]["rate"] == pytest.approx(1 / 18)
    assert found["text"]["wer"]["reference"] == 3 * 36
    report = tmp_path / "report"
    code, out, err = motet("evaluate", file, "--labels", labels, "--report", report)
    assert code == 0, err
    assert "0.056" in next(line for line in out.splitlines() if line.startswith("wer"))
    assert json.loads((report / "report.json").read_text()) == found
    assert "0.056" in (report / "report.html").read_text()


def test_labels_of_a_head_and_what_its_stages_are_worth(user, motet, prefix, ran, tmp_path):
    file, labels = ran
    folder, data = tmp_path / "head", tmp_path / "set"
    flags = ("--labels", labels, "-o")
    assert motet("export", file, *flags, data, "--no-media").code == 0
    assert motet("train", file, "--features", data, "-o", folder).code == 0
    code, out, err = motet("evaluate", file, "--features", data, "--head", folder, "--json")
    assert code == 0, err
    offline = valid(out)["labels"]
    assert offline["rows"] == SECONDS * len(STREAMS)
    assert offline["accuracy"] > 0.9
    assert {tuple(row["stages"]) for row in offline["subsets"]} == {
        ("sound", "words"), ("sound",), ("words",), ()
    }  # fmt: skip

    two = ("--name", f"{prefix}-two")
    assert motet("topics", "create", file, *two).code == 0
    assert windows_of(motet("run", file, *LOCAL, *two, "--set", f"fusion.head={folder}")) == 36
    code, out, err = motet("evaluate", file, *two, "--labels", labels, "--json")
    assert code == 0, err
    online = valid(out)["labels"]
    assert online["accuracy"] == pytest.approx(offline["accuracy"])
    assert online["confusion"] == offline["confusion"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--labels, --features: neither is given; give one of the two"),
        (("--features", "{folder}"), "the file names no head; name one"),
        (("--labels", "{labels}", "--stage", "sound"), "no result has text of it; name one of c"),
        (("--labels", "{labels}", "--from", "2001-01-01T00:00:00Z", "--to",
          "2001-01-02T00:00:00Z"), "none of 0 results has a label or a text"),
        (("--labels", "{labels}", "--normalizer", "swiss"), "there is no such normaliser; take"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_says_why(motet, ran, tmp_path, flags, said):
    file, labels = ran
    given = [flag.format(labels=labels, folder=tmp_path) for flag in flags]
    code, out, err = motet("evaluate", file, *given)
    assert (code, out) == (2, "")
    assert said in err
