"""``motet try``: one encoder on files, with the outputs that a pipeline would have."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from films import film
from PIL import Image

from pipeline.cli import main
from pipeline.cli.trying import place
from pipeline.cli.trying_windows import windows_of
from pipeline.connectors.files import expand
from pipeline.encoders.audio import LogMel
from pipeline.encoders.base import Clip

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "try.schema.json"
MINE = """
import numpy as np

class Mine:
    takes, gives, length = "audio", "vector", 2
    def __init__(self, device, *, how="well"):
        if how == "unbuilt":
            raise ValueError("not built")
        self.how = how
    def encode(self, batch):
        return [self.one(clip) for clip in batch]
    def one(self, clip):
        if self.how == "badly":
            raise KeyError("not\\nhere")
        if self.how == "long":
            return np.zeros(3, np.float32)
        return np.array([len(clip.samples), clip.rate], np.float32)

class Lengthless(Mine):
    length = None
    def one(self, clip):
        return np.zeros(len(clip.samples), np.float32)

class Says(Mine):
    takes, gives, length = ("text", "image"), "data", None
    def one(self, clip):
        return {"text": clip.text, "frames": len(clip.frames or ())}

class Tells(Says):
    def one(self, clip):
        items = [{"label": f"thing {n}", "score": n / 8} for n in range(int(self.how))]
        return {"labels": items, "frames": len(clip.frames or ()), "heard": "\x1b[2J\u00e9"}

class Both(Mine):
    gives, length = "text", None
    def one(self, clip):
        from pipeline.encoders.base import Said
        return Said("two words", {"words": [{"word": "two", "start_us": 0}]})

class Glances(Says):
    takes, frames_max, frame_size = "video", 2, 20
    def one(self, clip):
        return {"frames": [list(frame.shape) for frame in clip.frames]}

class Vectors(Mine):
    takes = "vector"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of media with a module of the user's, which is where the command is called."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MINE)
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(40_000) / 16_000)
    soundfile.write(tmp_path / "talk.wav", wave, 16_000)
    Image.new("RGB", (16, 12), (200, 10, 10)).save(tmp_path / "red.png")
    Image.new("RGB", (16, 12), (200, 10, 10)).save(tmp_path / "red.webp")
    (tmp_path / "notes.txt").write_text("one\ntwo\n\nthree\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def answer(capsys, *arguments: str):
    assert main(["try", *arguments, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(found, schema)
    assert set(found) == set(schema["properties"])
    return found


def test_sound_is_cut_to_windows_and_encoded_as_a_pipeline_does(capsys, folder):
    found = answer(capsys, "log_mel", "talk.wav", "--options", '{"n_mels": 8}')
    assert (found["takes"], found["gives"], found["length"]) == (["audio"], "vector", 8)
    assert [w["start_us"] for w in found["windows"]] == [0, 1_000_000, 2_000_000]
    samples, _ = soundfile.read("talk.wav", dtype="float32")
    padded = np.pad(samples, (0, 8_000))
    encoder = LogMel("cpu", n_mels=8)
    for number, window in enumerate(found["windows"]):
        part = padded[number * 16_000 : (number + 1) * 16_000]
        clip = Clip("talk", 0, 1_000_000, samples=part, rate=16_000, samples_start_us=0)
        [expected] = encoder.encode([clip])
        assert window["output"]["vector"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert found["summary"]["windows"] == 3
    assert found["summary"]["media_seconds"] == pytest.approx(2.5)


def test_sound_of_another_rate_is_resampled_without_a_seam(folder, tmp_path):
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(110_250) / 44_100)
    soundfile.write("other.wav", wave, 44_100)
    [[file], _] = expand(["other.wav"])
    windows = list(windows_of(file, 1_000_000, False))
    assert [len(w.records) for w in windows] == [2, 3, 2]  # the neighbours are needed too
    [whole] = windows_of(file, 1_000_000, True)
    assert (whole.start_us, whole.end_us, len(whole.records)) == (0, 2_500_000, 3)


def test_the_whole_file_is_one_window_where_that_is_asked(capsys, folder):
    found = answer(capsys, f"{folder}:Mine", "talk.wav", "--whole")
    [window] = found["windows"]
    assert window["output"]["vector"] == [40_000, 16_000]
    found = answer(capsys, f"{folder}:Says", "notes.txt", "--whole")
    assert found["windows"][0]["output"]["data"]["text"] == "one\ntwo\nthree"


def test_pictures_and_lines_are_a_window_each_and_max_ends_it(capsys, folder):
    found = answer(capsys, f"{folder}:Says", "red.png", "red.webp", "notes.txt", "--max", "4")
    said = [window["output"]["data"] for window in found["windows"]]
    assert [each["frames"] for each in said] == [1, 1, 0, 0]
    assert [each["text"] for each in said] == [None, None, "one", "two"]


def test_of_a_folder_the_files_that_it_takes_are_tried(capsys, folder):
    assert main(["try", "hash_text", ".", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["notes.txt"] * 3
    assert "motet: 3 files of other kinds left out" in err
    Path("notes.txt").unlink()
    assert main(["try", "hash_text", ".", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("and hash_text takes text; give txt files") == 3


def test_without_json_each_window_is_a_line_and_the_rest_is_on_stderr(capsys, folder):
    assert main(["try", f"{folder}:Mine", "talk.wav", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    first, *others = out.splitlines()
    assert first.startswith("talk.wav  0-1 s  vector (2,) [1.6e+04 1.6e+04] norm 2.263e+04  ")
    assert len(others) == 2
    head, summary = err.splitlines()
    assert head == f"{folder}:Mine: takes audio, gives vectors of 2 numbers, on cpu"
    assert summary.startswith("3 windows in ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["MINE", "red.png"], 2, "SOURCE = red.png: it holds pictures, and MINE takes audio; "),
        (["hash_text", "talk.wav"], 2, "SOURCE = talk.wav: it holds audio, and hash_text takes"),
        (["log_mell", "talk.wav"], 2, "encoder = log_mell: is no encoder; did you mean 'log_mel'"),
        (["log_mel", "none.wav"], 2, "SOURCE = none.wav: there is no such file"),
        (["log_mel", "talk.wav", "--options", "{"], 2, "--options = {: it is not JSON"),
        (["log_mel", "talk.wav", "--options", "[]"], 2, "--options = []: it is no JSON object"),
        (["log_mel", "talk.wav", "--options", '{"x": 1}'], 2, "options.x: is no option of log_mel"),
        (["log_mel", "talk.wav", "--size", "1"], 2, "--size = 1: is a number without its unit"),
        (["log_mel", "talk.wav", "--device", "tpu"], 2,
         "invalid value for '--device': 'tpu' is not one of 'auto', 'cpu', 'cuda'; `motet try"),
        (["MINE", "talk.wav", "--options", '{"how": "unbuilt"}'], 2,
         "encoder = MINE: building it fails with ValueError: not built in FILE line 8;"),
        (["MINE", "talk.wav", "--options", '{"how": "badly"}'], 1,
         "MINE: KeyError: 'not\\nhere' in FILE line 14 (talk.wav at 0 s); correct encode"),
        (["MINE", "talk.wav", "--options", '{"how": "long"}'], 1,
         "MINE: ValueError: gives a vector of 3 numbers where its length is 2 (talk.wav at 0 s)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(capsys, folder, arguments, code, said):
    given = [f"{folder}:Mine" if each == "MINE" else each for each in arguments]
    said = said.replace("MINE", f"{folder}:Mine").replace("FILE", f"{folder}.py")
    assert main(["try", *given]) == code
    out, err = capsys.readouterr()
    assert out == ""
    *_, last = err.splitlines()
    assert last.startswith(f"motet: error: {said}")
    assert err.count("motet: error") == 1


def test_a_class_whose_vectors_have_no_one_length_is_warned_of(capsys, folder):
    assert main(["try", f"{folder}:Lengthless", "talk.wav", "--max", "1"]) == 0
    err = capsys.readouterr().err
    assert "motet: warning: a pipeline would refuse it: encoder = " in err


def test_an_encoder_of_vectors_is_tried_in_a_pipeline(capsys, folder):
    assert main(["try", f"{folder}:Vectors", "talk.wav"]) == 2
    assert "try it in a pipeline" in capsys.readouterr().err


def test_with_debug_the_whole_trace_is_shown(capsys, folder, monkeypatch):
    monkeypatch.setenv("MOTET_DEBUG", "1")
    assert main(["try", f"{folder}:Mine", "talk.wav", "--options", '{"how": "badly"}']) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_damaged_file_is_named(capsys, folder):
    Path("cut.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    assert main(["try", "color_histogram", "cut.jpg"]) == 2
    assert "SOURCE = cut.jpg: jpeg: no " in capsys.readouterr().err


def test_an_error_outside_the_users_files_has_no_place_in_them(tmp_path):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        json.loads("{")
    assert place(caught.value, tmp_path.parent / "elsewhere") is None
    assert place(None, tmp_path) is None


def test_data_are_lines_that_can_be_read_and_json_has_all_of_them(capsys, folder):
    options = ("--options", json.dumps({"how": "3"}))
    assert main(["try", f"{folder}:Tells", "red.png", "--device", "cpu", *options]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("red.png  0-1 s  data  ")
    assert lines == [
        "    labels:",
        "    - {label: thing 0, score: 0.0}",
        "    - {label: thing 1, score: 0.125}",
        "    - {label: thing 2, score: 0.25}",
        "    frames: 1",
        '    heard: "\\e[2J\xe9"',
    ]
    many = ("--options", json.dumps({"how": "90"}))
    assert main(["try", f"{folder}:Tells", "red.png", "--device", "cpu", *many]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 24
    assert lines[-1] == "    ... and 70 lines more; --json gives all of it"
    found = answer(capsys, f"{folder}:Tells", "red.png", *many)
    assert len(found["windows"][0]["output"]["data"]["labels"]) == 90


def test_what_comes_with_a_text_is_shown_with_it(capsys, folder):
    assert main(["try", f"{folder}:Both", "talk.wav", "--max", "1", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  text 'two words'  " in lines[0]
    assert lines[1:] == ["    words:", "    - {word: two, start_us: 0}"]
    [window] = answer(capsys, f"{folder}:Both", "talk.wav", "--max", "1")["windows"]
    assert window["output"] == {"text": "two words"}
    assert window["said"] == {"words": [{"word": "two", "start_us": 0}]}


def test_of_a_film_it_gets_the_frames_that_it_asks_for_as_in_a_pipeline(capsys, folder):
    film(Path("film.mp4"), seconds=2, size=(64, 48))
    found = answer(capsys, f"{folder}:Glances", "film.mp4")
    assert [window["output"]["data"]["frames"] for window in found["windows"]] == [
        [[48, 64, 3], [48, 64, 3]]  # `motet publish` sends a film's pictures as such
    ] * 2
