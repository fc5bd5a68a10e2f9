"""``motet explain``: why a committed result of a real run says what it says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from kafka_user import BEGIN_US, LOCAL, noise
from pipelines import jpeg

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "explain.schema.json"
S = 1_000_000


@pytest.fixture
def recorded(user, motet, prefix, make_file):
    """Sound in pieces off the windows with context around them, pictures and texts; committed."""
    inputs = {
        "mic": {"topic": f"{prefix}.audio", "type": "audio/L16;rate=16000;channels=1"},
        "cam": {"topic": f"{prefix}.video", "type": "image/jpeg", "gating": False},
        "chat": {"topic": f"{prefix}.text", "type": "text/plain", "gating": False},
    }
    stages = {
        "sound": {
            "encoder": "log_mel", "of": "mic", "options": {"n_mels": 8, "rate": 8_000},
            "context": {"before": "300ms", "after": "200ms"},
        },
        "colour": {"encoder": "color_histogram", "of": "cam"},
        "clean": {"encoder": "text_clean", "of": "chat"},
        "words": {"encoder": "hash_text", "of": "clean", "options": {"dim": 16}},
    }  # fmt: skip
    fusion = {"rule": "weighted_sum", "dim": 6, "of": {"sound": 1, "colour": 1, "words": 1}}
    file = make_file(prefix, inputs=inputs, stages=stages, fusion=fusion)
    for part in range(5):
        user.send(f"{prefix}.audio", "s/0", noise(part), BEGIN_US + S // 2 + part * S)
    user.send(f"{prefix}.video", "s/0", jpeg((255, 0, 0)), BEGIN_US + S + 100_000)
    user.send(f"{prefix}.video", "s/0", jpeg((0, 0, 255)), BEGIN_US + S + 600_000)
    user.send(f"{prefix}.text", "s/0", b"a dog barks", BEGIN_US + S + 200_000)
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert answer.code == 0, answer.err
    return file


def test_a_committed_answer_is_found_again_and_explained(motet, recorded, tmp_path):
    out = tmp_path / "why"
    result_id = f"s/0/{BEGIN_US + S}"
    code, said, err = motet("explain", result_id, recorded, "-o", out, "--json")
    assert code == 0, err
    assert "warning" not in err
    found = json.loads(said)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert found["check"]["same"]
    assert found["check"]["same_model"]
    assert found["result_id"] == result_id
    attributions = {stage["stage"]: stage["attribution"] for stage in found["stages"]}
    assert sum(attributions.values()) == pytest.approx(1, abs=1e-5)
    for stage in found["stages"]:
        assert sum(stage["features"]) == pytest.approx(stage["attribution"], abs=1e-9)
    assert {told["name"]: told["stages"] for told in found["media"]} == {
        "mic": ["sound"], "cam": ["colour"], "chat": ["clean"], "clean": ["words"],
    }  # fmt: skip
    words = {told["name"]: told["parts"] for told in found["media"]}
    assert [part["text"] for part in words["chat"]] == ["a", "dog", "barks"]
    pictures = {told["picture"] for told in found["media"]}
    assert pictures == {"mic.png", "cam.png", "chat.png", "clean.png"}
    assert {path.name for path in out.iterdir()} == {"explain.json", "explain.html", *pictures}
    assert json.loads((out / "explain.json").read_text()) == found
    page = (out / "explain.html").read_text()
    assert page.count("data:image/png;base64,") == len(pictures)

    code, said, err = motet("explain", result_id, recorded)
    assert (code, err) == (0, "")
    assert said.startswith(f"{result_id}: share of the fused vector\nstage ")
    assert "'barks'" in said

    answer = motet("explain", result_id, recorded, "-o", out)
    assert (answer.code, answer.out) == (2, "")
    assert "it is there, and is no empty folder" in answer.err


def test_an_answer_of_other_options_is_told(motet, recorded):
    text = recorded.read_text()
    recorded.write_text(text.replace("n_mels: 8", "n_mels: 9"))
    code, said, err = motet("explain", f"s/0/{BEGIN_US + S}", recorded)
    assert code == 0
    assert "motet: warning: this is not the committed answer (" in err
    assert "another head, encoder or option" in err
    assert said


@pytest.mark.parametrize(
    ("result_id", "more", "line"),
    [
        ("s/0", [], "RESULT_ID = s/0: "),
        (f"s9/{BEGIN_US}", [], f"RESULT_ID = s9/{BEGIN_US}: "),
        ("s/0/later", [], "RESULT_ID = s/0/later: it does not end in /START_US"),
        (f"s/0/{BEGIN_US + S}", ["--label", "x"], "--label = x: the pipeline has no head; leave"),
    ],
)
def test_what_cannot_be_explained_is_told_in_one_line(motet, recorded, result_id, more, line):
    code, said, err = motet("explain", result_id, recorded, *more)
    assert (code, said) == (2, "")
    assert err.startswith(f"motet: error: {line}"), err
    assert err.count("\n") == 1
