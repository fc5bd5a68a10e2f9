"""Training from plain files: what is trained on is what is served, without a broker."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import yaml
from pipelines import connector_for, load, values

from pipeline.cli import main
from pipeline.cli.files_option import Files, labels_with_files
from pipeline.encoders.base import Clip
from pipeline.encoders.text import TextTokens
from pipeline.fusion.head_files import load_head
from pipeline.local import run_local
from pipeline.tasks.host import RunControl
from pipeline.training.feature_set import read_set

RATE, SECOND_US = 16_000, 1_000_000
FILE = {
    "version": 1,
    "name": "sounds",
    "inputs": {
        "mic": {"topic": "in.mic", "type": f"audio/L16;rate={RATE};channels=1"},
        "chat": {"topic": "in.chat", "type": "text/plain", "gating": False},
    },
    "windows": {"size": "1s"},
    "stages": {
        "sound": {"encoder": "log_mel", "of": "mic",
                  "options": {"n_mels": 8, "pooling": "frames", "steps": 10}},
        "words": {"encoder": "text_tokens", "of": "chat", "options": {"steps": 4}},
    },
    "fusion": {"rule": "concat", "of": {"sound": 1, "words": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
}  # fmt: skip
STREAMS, SECONDS = 8, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rising and falling tones, one a second, in a file a stream; half of the streams say which."""
    made = tmp_path_factory.mktemp("files")
    (made / "sounds.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    rng, lines = np.random.default_rng(0), ["stream,start_us,end_us,label"]
    (made / "media").mkdir()
    for stream in range(STREAMS):
        sound, said = [], []
        for second in range(SECONDS):
            label = "up" if (stream + second) % 2 else "down"
            hz = np.linspace(300, 3000, RATE) * rng.uniform(0.9, 1.1)
            tone = np.sin(2 * np.pi * np.cumsum(hz if label == "up" else hz[::-1]) / RATE)
            sound.append(0.3 * tone + 0.01 * rng.standard_normal(RATE))
            said.append(f"it goes {label}")
            at_us = second * SECOND_US
            lines.append(f"s{stream},{at_us},{at_us + SECOND_US},{label}")
        soundfile.write(made / "media" / f"s{stream}.wav", np.concatenate(sound), RATE)
        if stream % 2:
            (made / "media" / f"s{stream}.txt").write_text("\n".join(said))
    (made / "labels.csv").write_text("\n".join(lines))
    return made


def command(capsys, name, folder, *more) -> tuple[int, str, str]:
    given = ["--labels", folder / "labels.csv", "--files", folder / "media", *more]
    code = main([name, str(folder / "sounds.yaml"), *map(str, given)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def exported(folder):
    given = ["--labels", folder / "labels.csv", "--files", folder / "media", "-o", folder / "set"]
    assert main(["export", str(folder / "sounds.yaml"), *map(str, given)]) == 0
    return read_set(folder / "set")


def test_the_rows_are_the_windows_of_the_files(folder, exported):
    assert len(exported) == STREAMS * SECONDS
    assert exported.sequences == {"sound": (10, 8, False), "words": (4, 4096, True)}
    shown, _ = soundfile.read(folder / "media" / "s1.wav")
    kept, _ = soundfile.read(folder / "set" / "media" / "s1" / "2000000" / "mic.wav")
    np.testing.assert_allclose(kept, shown[2 * RATE : 3 * RATE], atol=1e-4)
    tokens = TextTokens(None, steps=4)
    texts = [Clip("s", 0, 1, text=f"it goes {label}") for label in exported.labels]
    for at, expected in enumerate(tokens.encode(texts)):
        if exported.there["words"][at]:
            np.testing.assert_array_equal(exported.vectors["words"][at], expected)


@pytest.mark.parametrize("head", ["lstm", "cnn"])
def test_a_head_of_files_is_what_a_run_serves(folder, exported, capsys, head):
    """Trained by one command; a run of the same records gives each window the set's own answer."""
    out = folder / "heads" / head
    more = ("--head", head, "-o", out, "--hidden", 16, "--learning-rate", 0.01, "--epochs", 40)
    code, told, said = command(capsys, "train", folder, *more, "--json")
    assert code == 0, said
    assert json.loads(told)["kind"] == head
    assert load_head(out).spec.sequences.keys() == {"sound", "words"}
    spec = load(FILE, {"fusion.head": f"heads/{head}"}, folder)
    labels = str(folder / "labels.csv")
    _, connector = labels_with_files(labels, spec, Files([str(folder / "media")], None, 1 << 30))
    run_local(spec, connector_for(connector.broker), RunControl(until_end=True))
    results = values(connector.broker, "out.results")
    assert len(results) == len(exported)
    truth = dict(zip(zip(exported.streams, exported.start_us.tolist(), strict=True),
                     exported.labels, strict=True))  # fmt: skip
    right = [
        result["output"]["label"] == truth[result["stream"], result["window"]["start_us"]]
        for result in results
    ]
    assert np.mean(right) > 0.9


def test_streams_are_named_as_publish_names_them(folder, capsys, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text((folder / "labels.csv").read_text().replace("\ns", "\nmedia-s"))
    out = tmp_path / "set"
    given = ["--labels", labels, "--files", folder / "media", "--stream", "{folder}-{stem}"]
    file = str(folder / "sounds.yaml")
    assert main(["export", file, *map(str, given), "-o", str(out), "--no-media"]) == 0
    assert set(read_set(out).streams) == {f"media-s{n}" for n in range(STREAMS)}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--files-memory", "100KiB"), "the files make more than 100KiB of records"),
        (("--files-memory", "many"), "--files-memory = many: "),
        (("--files", "none"), "SOURCE = none: there is no such file"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_line(folder, capsys, more, why):
    code, out, said = command(capsys, "train", folder, "-o", folder / "no", *more)
    assert (code in (1, 2), out) == (True, "")
    assert why in said
    assert "Traceback" not in said


def test_a_stream_without_files_and_files_beside_a_set_are_refused(folder, capsys):
    file, labels = str(folder / "sounds.yaml"), str(folder / "labels.csv")
    assert main(["train", file, "--labels", labels, "--stream", "x", "-o", "h"]) == 2
    assert "--stream = x: the streams of topics have their names" in capsys.readouterr().err
    assert main(["train", file, "--features", "set", "--files", "x", "-o", "h"]) == 2
    assert "--files: a set holds its vectors already" in capsys.readouterr().err


def test_a_head_begins_with_another_or_says_why_not(folder, exported, capsys):
    file, start = str(folder / "sounds.yaml"), folder / "heads" / "start"
    base = ["train", file, "--features", str(folder / "set")]
    few = ["--hidden", "16", "--epochs", "3"]
    assert main([*base, "-o", str(start), "--head", "cnn", *few]) == 0
    out = str(folder / "heads" / "next")
    assert main([*base, "-o", out, "--init", str(start), *few]) == 0  # and of its kind
    card = json.loads((folder / "heads" / "next" / "card.json").read_text())
    assert card["head"]["kind"] == "cnn"
    assert card["training"]["init"] == load_head(start).sha256
    for more, why in [
        (["--head", "auto"], f"--init = {start}: it is of one kind, and auto trains all"),
        (["--head", "svm"], f"--init = {start}: it is cnn, and svm is trained; take --head cnn"),
        (["--hidden", "8"], "--init: its layers have other widths than are asked for"),
        (
            ["--kernel", "rbf"],
            "--kernel = rbf: it does nothing for --head cnn; leave it out, or take",
        ),
    ]:
        capsys.readouterr()
        assert main([*base, "-o", out, "--init", str(start), *more]) == 2
        assert why in capsys.readouterr().err
