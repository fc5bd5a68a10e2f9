"""``motet bench encode``: what it measures, with what, and how it says what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
import torch
from films import film, tone
from PIL import Image

from pipeline.cli import main
from pipeline.cli.bench import _measured
from pipeline.cli.bench_asked import Span, Wishes, asked_for, parted
from pipeline.cli.bench_windows import bench_windows, demo_files
from pipeline.connectors.files import expand
from pipeline.errors import InvalidInput, MotetError
from pipeline.spec.catalog import AVAILABLE

ROOT = Path(__file__).parents[2]
LOBBY = (Path(__file__).parent / "spec" / "lobby.yaml").read_text("utf-8")
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "bench-encode.schema.json").read_text("utf-8"))
QUICK = ["--device", "cpu", "--seconds", "0.1", "--batch-max", "4"]
WISHES = Wishes("{}", None, None, None)
MINE = """
import numpy as np

class Mine:
    takes, gives, length = "audio", "vector", 2
    def __init__(self, device, *, fail_at=None):
        self.fail_at = fail_at
    def encode(self, batch):
        for clip in batch:
            if self.fail_at is not None and clip.start_us >= self.fail_at:
                raise KeyError("not here")
        return [np.array([len(clip.samples), clip.rate], np.float32) for clip in batch]

class Sums:
    takes, gives, length = "vector", "vector", 1
    def __init__(self, device):
        pass
    def encode(self, batch):
        assert all(len(clip.vector) == 64 + 64 for clip in batch)
        return [clip.vector.sum(keepdims=True) for clip in batch]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of media with a module of the user's, which is where the command is called."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MINE)
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(40_000) / 16_000)
    soundfile.write(tmp_path / "talk.wav", wave, 16_000)
    Image.new("RGB", (16, 12), (200, 10, 10)).save(tmp_path / "red.png")
    (tmp_path / "notes.txt").write_text("one\ntwo\n\nthree\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def answer(capsys, *arguments: str):
    assert main(["bench", "encode", *arguments, *QUICK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert set(found) == set(SCHEMA["properties"])
    for each in found["encoders"]:
        assert set(each) == set(SCHEMA["$defs"]["encoder"]["properties"])
        assert set(each["card"]) == set(SCHEMA["$defs"]["card"]["properties"])
    return found


# -- what is measured -------------------------------------------------------------------------


def test_encoders_are_measured_with_the_demos_media(capsys):
    found = answer(capsys, "log_mel", "hash_text", "color_histogram", "--target", "24h")
    assert found["device"] == "cpu"
    names = [each["name"] for each in found["encoders"]]
    assert names == ["log_mel", "hash_text", "color_histogram"]
    for each in found["encoders"]:
        assert each["windows_distinct"] == 4
        sizes = [point["batch"] for point in each["curve"]]
        assert sizes == [1, 2, 4][: len(sizes)]
        assert each["batch"] == sizes[-1]  # it keeps any target that is a day
        seconds = each["curve"][-1]["seconds"]
        assert each["windows_per_second"] == pytest.approx(each["batch"] / seconds)
        assert each["speedup"] == pytest.approx(
            each["windows_per_second"] / each["loop_windows_per_second"]
        )
        assert 0 < each["encode_seconds"] < each["batch"] * each["card"]["seconds"]
    assert found["encoders"][0]["card"]["flops"] > 5e5
    assert found["encoders"][1]["card"]["why"] != []


def test_a_target_that_no_batch_keeps_leaves_one_window_at_a_time(capsys):
    [each] = answer(capsys, "color_histogram", "--target", "1ms")["encoders"]
    assert (each["batch"], each["latency_target_seconds"]) == (1, 0.001)


def test_a_class_of_the_users_is_measured_with_files_of_the_users(capsys, folder):
    [each] = answer(capsys, f"{folder}:Mine", ".", "--size", "500ms")["encoders"]
    assert (each["takes"], each["gives"]) == (["audio"], "vector")
    assert (each["window_seconds"], each["windows_distinct"]) == (0.5, 4)
    assert each["card"]["parameters"] == 0


def test_the_stages_of_a_file_are_measured_as_it_has_them(capsys, tmp_path):
    file = tmp_path / "lobby.yaml"
    text = LOBBY.replace("of: chat}", "of: chat, latency_target: 5s}")
    file.write_text(text.replace("options: {n_mels: 64}", "options: {n_mels: 32}"))
    asked = {each.title: each for each in asked_for([str(file)], WISHES)}
    assert list(asked) == ["sound (log_mel)", "colour (color_histogram)", "words (hash_text)"]
    sound, colour, words = asked.values()
    assert sound.options == {"n_mels": 32}
    assert [each.batch_max for each in (sound, colour, words)] == [64, 32, 64]
    assert [each.target_us for each in (sound, colour, words)] == [None, None, 5_000_000]
    found = answer(capsys, str(file))
    assert [each["name"] for each in found["encoders"]] == list(asked)


def test_a_stages_context_is_in_its_windows(tmp_path):
    file = tmp_path / "lobby.yaml"
    context = "context: {before: 2s, after: 1s}"
    file.write_text(LOBBY.replace("options: {n_mels: 64}", context))
    sound = next(each for each in asked_for([str(file)], WISHES) if each.encoder == "log_mel")
    assert sound.span == Span(1_000_000, 2_000_000, 1_000_000)
    windows = bench_windows(demo_files(("audio",)), sound.span, 3)
    heard = [sum(r.end_us - r.ts_us for r in job.records) for job in windows.jobs]
    assert heard[2] >= 4_000_000


def test_a_stage_that_reads_vectors_gets_those_of_the_right_length(capsys, folder, tmp_path):
    file = tmp_path / "lobby.yaml"
    further = f"  sums:   {{encoder: '{folder}:Sums', of: [sound, words]}}\nfusion:"
    file.write_text(LOBBY.replace("fusion:", further).replace("words: 0.3}", "sums: 0.3}"))
    *_, sums = answer(capsys, str(file))["encoders"]
    assert (sums["name"], sums["takes"]) == (f"sums ({folder}:Sums)", ["vector"])
    assert sums["windows_distinct"] == 4
    assert main(["bench", "encode", f"{folder}:Sums", *QUICK]) == 2
    said = f"ENCODER = {folder}:Sums: it takes vectors, which no file of media holds; measure it as"
    assert said in capsys.readouterr().err


def test_without_an_encoder_all_that_are_here_are_asked_for():
    asked = asked_for([], WISHES)
    assert [each.encoder for each in asked] == list(AVAILABLE)
    assert not any(each.named for each in asked)
    needed = next(each for each in asked if each.encoder == "librosa_feature")
    assert needed.options == {"name": "spectral_contrast"}


def test_of_all_encoders_those_that_cannot_be_built_here_are_left_out(capsys):
    [words] = [each for each in asked_for([], WISHES) if each.encoder == "hash_text"]
    [other] = [each for each in asked_for([], WISHES) if each.encoder == "librosa_feature"]
    nameless = other._replace(options={})
    words = words._replace(batch_max=100)
    device = torch.device("cpu")
    [done] = _measured([nameless, words], [], device, 300_000)
    assert done.asked is words
    _, err = capsys.readouterr()
    assert "motet: warning: librosa_feature is left out: encoder = librosa_feature: " in err
    again = f"motet: hash_text: {done.windows.distinct} different windows, then these again"
    assert (again in err) == (done.windows.distinct < max(done.curve.times_us))
    with pytest.raises(MotetError, match="none of the encoders could be measured"):
        _measured([nameless], [], device, 300_000)
    with pytest.raises(InvalidInput, match="librosa_feature"):
        _measured([nameless._replace(named=True)], [], device, 300_000)


# -- the windows ------------------------------------------------------------------------------


def test_windows_of_sound_are_distinct_and_filled():
    windows = bench_windows(demo_files(("audio",)), Span(1_000_000), 100)
    assert (len(windows.jobs), windows.distinct) == (100, 100)
    places = {(job.stream, job.start_us) for job in windows.jobs}
    assert len(places) == 100
    for job in windows.jobs:
        assert job.end_us - job.start_us == 1_000_000
        assert max(record.end_us for record in job.records) >= job.end_us


def test_where_windows_are_too_few_they_come_again_as_records_of_their_own():
    """Else the record that several windows hold would be decoded once for all of them."""
    windows = bench_windows(demo_files(("image",)), Span(1_000_000), 64)
    assert (len(windows.jobs), windows.distinct) == (64, 25)
    records = [record for job in windows.jobs for record in job.records]
    ids = {(r.log.topic, r.log.partition, r.log.offset) for r in records}
    assert len(ids) == len(records)
    assert len({bytes(r.payload) for r in records}) == 25


def test_a_sound_that_is_shorter_than_a_window_is_one(folder):
    [[file], _] = expand(["talk.wav"])
    windows = bench_windows([file], Span(10_000_000), 2)
    assert [(job.start_us, job.end_us) for job in windows.jobs] == [(0, 2_500_000)] * 2
    assert windows.distinct == 1


def test_a_film_is_measured_by_its_sound_and_by_its_pictures(capsys, tmp_path):
    film(tmp_path / "film.mp4", seconds=3.0, sound=tone(3.0))
    found = answer(capsys, "log_mel", "color_histogram", str(tmp_path / "film.mp4"))
    heard, seen = found["encoders"]
    assert (heard["windows_distinct"], seen["windows_distinct"]) == (4, 3)


# -- what is shown ----------------------------------------------------------------------------


def test_two_tables_are_on_stdout_and_the_picture_is_drawn(capsys, tmp_path):
    path = tmp_path / "curves.png"
    line = ["bench", "encode", "hash_text", "mfcc", *QUICK, "--picture", str(path)]
    assert main(line) == 0
    out, err = capsys.readouterr()
    head, words, cepstra, why, *rest = out.splitlines()
    assert head.split()[:3] == ["encoder", "loop", "batch"]
    assert words.split()[0] == "hash_text"
    assert words.endswith("MiB")
    assert cepstra.split()[0] == "mfcc"
    assert why.startswith("hash_text: FLOPs not counted: ")
    curves = [
        line.split() for line in rest if line.startswith(("ms a batch", "hash_text  ", "mfcc "))
    ]
    assert curves[0][:5] == ["ms", "a", "batch", "of", "1"]
    assert [curve[0] for curve in curves[1:]] == ["hash_text", "mfcc"]
    assert "motet: mfcc (2 of 2) on cpu" in err
    with Image.open(path) as drawn:
        assert drawn.format == "PNG"


def test_the_number_of_threads_is_what_it_was(capsys):
    before = torch.get_num_threads()
    answer(capsys, "hash_text")
    assert torch.get_num_threads() == before


# -- what is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["log_mell"], 2, "ENCODER = log_mell: is no encoder; did you mean 'log_mel'?"),
        (["log_mel", "none.wav"], 2, "SOURCE = none.wav: there is no such file"),
        (["log_mel", "talk.wav", "mfcc"], 2, "SOURCE = mfcc: an encoder stands before the"),
        (["log_mel", "red.png"], 2, "SOURCE = red.png: it holds pictures, and log_mel takes audio"),
        (["log_mel", "--options", "{"], 2, "--options = {: it is not JSON"),
        (["log_mel", "--options", "[]"], 2, "--options = []: it is no JSON object"),
        (["log_mel", "mfcc", "--options", '{"rate": 8000}'], 2, "--options = {\"rate\": 8000}: "
         "there are 2 encoders; name one encoder with it"),
        (["--options", '{"rate": 8000}'], 2, "--options = {\"rate\": 8000}: there are all enc"),
        (["log_mel", "--options", '{"x": 1}'], 2, "options.x: is no option of log_mel"),
        (["log_mel", "--size", "1"], 2, "--size = 1: is a number without its unit"),
        (["log_mel", "--target", "soon"], 2, "--target = soon: is not a duration"),
        (["missing.yaml"], 2, "file = missing.yaml: cannot be read"),
        (["log_mel", "--picture", "curves.bmp"], 2, "--picture = curves.bmp: is no kind of"),
        (["MINE", "--options", '{"fail_at": 0}'], 1, "MINE: a window fails ("),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(capsys, folder, arguments, code, said):
    named = [argument.replace("MINE", f"{folder}:Mine") for argument in arguments]
    assert main(["bench", "encode", *named, *QUICK]) == code
    out, err = capsys.readouterr()
    assert out == ""
    [line] = [line for line in err.splitlines() if line.startswith("motet: error: ")]
    assert line.removeprefix("motet: error: ").startswith(said.replace("MINE", f"{folder}:Mine"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_told(capsys):
    assert main(["bench", "encode", "hash_text", "--device", "cuda"]) == 2
    assert "--device = cuda: torch finds no CUDA device here" in capsys.readouterr().err


def test_files_and_encoders_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sounds").mkdir()
    assert parted(["log_mel", "my.code:Mine", "sounds"]) == (
        ["log_mel", "my.code:Mine"],
        ["sounds"],
    )
    assert parted(["lobby.yaml", "sounds"]) == (["lobby.yaml"], ["sounds"])
    assert parted(["sounds"]) == ([], ["sounds"])
    assert parted([]) == ([], [])
    with pytest.raises(InvalidInput, match="is no encoder"):
        parted(["log_mel", "sound"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_bench_of_the_gpu_says_in_one_line_that_there_is_none():
    script = ROOT / "tests" / "bench" / "gpu_bench.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    said = "bench-gpu: not measured: torch finds no CUDA device here\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
