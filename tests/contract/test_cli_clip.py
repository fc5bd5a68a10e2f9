"""``motet clip``: what a result was made of, from the topics of a real run."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from kafka_user import BEGIN_US, LOCAL, RATE, noise
from pipelines import jpeg

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "clip.schema.json"
HALF_US = 500_000
RED, BLUE = jpeg((255, 0, 0)), jpeg((0, 0, 255))


def samples(value: bytes) -> np.ndarray:
    return np.frombuffer(value, ">i2")


@pytest.fixture
def recorded(user, motet, prefix, make_file):
    """A stream whose sound lies across windows, with two pictures, a text and a late record."""
    inputs = {
        "mic": {"topic": f"{prefix}.audio", "type": "audio/L16;rate=16000;channels=1"},
        "cam": {"topic": f"{prefix}.video", "type": "image/jpeg", "gating": False},
        "chat": {"topic": f"{prefix}.text", "type": "text/plain", "gating": False},
    }
    stages = {
        "sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8}},
        "colour": {"encoder": "color_histogram", "of": "cam"},
        "words": {"encoder": "hash_text", "of": "chat", "options": {"dim": 4}},
    }
    fusion = {"rule": "concat", "of": {"sound": 1, "colour": 1, "words": 1}}
    file = make_file(prefix, inputs=inputs, stages=stages, fusion=fusion)
    for part in range(4):  # one second each, half a second off the windows
        user.send(f"{prefix}.audio", "s/0", noise(part), BEGIN_US + HALF_US + part * 1_000_000)
    user.send(f"{prefix}.video", "s/0", RED, BEGIN_US + 1_100_000)
    user.send(f"{prefix}.video", "s/0", BLUE, BEGIN_US + 1_900_000)
    user.send(f"{prefix}.video", "s1", RED, BEGIN_US + 1_500_000)
    user.send(f"{prefix}.text", "s/0", "grüße".encode(), BEGIN_US + 1_200_000)
    user.send(f"{prefix}.audio", "s/0", noise(9), BEGIN_US + 1_000_000)  # late for its window
    user.producer.flush()
    answer = motet("run", file, *LOCAL)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["late"] == 1
    return file


def test_a_result_is_cut_out_of_the_topics_to_the_sample(motet, recorded, tmp_path):
    out = tmp_path / "cut"
    start_us = BEGIN_US + 1_000_000
    code, said, err = motet("clip", f"s/0/{start_us}", recorded, "-o", out, "--json")
    assert (code, err) == (0, "")
    found = json.loads(said)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert sorted(path.name for path in out.iterdir()) == [
        "cam-1.jpg",
        "cam-2.jpg",
        "chat.txt",
        "mic.wav",
        "result.json",
    ]
    sound, rate = soundfile.read(out / "mic.wav", dtype="int16")
    whole = np.concatenate([samples(noise(0)), samples(noise(1))])
    assert rate == RATE
    assert (sound == whole[RATE // 2 : RATE // 2 + RATE]).all()
    assert (out / "cam-1.jpg").read_bytes() == RED
    assert (out / "cam-2.jpg").read_bytes() == BLUE
    assert (out / "chat.txt").read_text() == "grüße\n"
    value = json.loads((out / "result.json").read_text())
    assert (value["stream"], value["window"]["start_us"]) == ("s/0", start_us)
    times = {(file["input"], file["start_us"] - BEGIN_US) for file in found["files"]}
    assert times == {
        ("mic", 1_000_000),
        ("cam", 1_100_000),
        ("cam", 1_900_000),
        ("chat", 1_000_000),
    }


def test_one_file_alone_and_a_window_that_is_covered_in_part(motet, recorded, tmp_path):
    out = tmp_path / "first.wav"
    code, said, err = motet("clip", f"s/0/{BEGIN_US}", recorded, "-o", out)
    assert (code, err) == (0, "")
    assert said == f"{out}  mic  audio  1000 ms\n"
    sound, _ = soundfile.read(out, dtype="int16")
    assert (sound[: RATE // 2] == 0).all()
    assert (sound[RATE // 2 :] == samples(noise(0))[: RATE // 2]).all()
    assert list(tmp_path.glob("tmp*")) == []

    two = tmp_path / "two.jpg"
    code, said, err = motet("clip", f"s/0/{BEGIN_US + 1_000_000}", recorded, "-o", two)
    assert (code, said) == (2, "")
    assert "the window has 2 files of that kind; name a folder" in err
    assert not two.exists()


@pytest.mark.parametrize(
    ("result_id", "why"),
    [
        ("s/0", "holds no such result"),
        (f"s9/{BEGIN_US}", "holds no such result"),
        ("s/0/later", "it does not end in /START_US"),
        (f"s/{1 << 63}", "its START_US has more than 64 bits"),
    ],
)
def test_a_result_that_is_not_there_says_what_to_write(motet, recorded, tmp_path, result_id, why):
    out = tmp_path / "none"
    code, said, err = motet("clip", result_id, recorded, "-o", out)
    assert (code, said) == (2, "")
    assert err.startswith(f"motet: error: RESULT_ID = {result_id}: ")
    assert f"{why}; write STREAM/START_US" in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_a_folder_with_something_in_it_is_left_alone(motet, recorded, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    code, _, err = motet("clip", f"s/0/{BEGIN_US}", recorded, "-o", tmp_path / "mine")
    assert code == 2
    assert "it is there, and is no empty folder" in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
