"""What the tables of real media stand on: fetching, reading, drawing, folds, and sets that stay."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from apertium import translated
from debian_speech import transcripts
from exported_sets import LANES, kept_set
from held_out import fitted_head, folds, interval, measured, of_stages, spread, subset_accuracy
from PIL import Image
from pipelines import CHAT, SECOND_US, load, sent
from spoken_words import RATE, trimmed, within_a_second
from stamps import captions_of, drawn, of_large_categories, stamps

from pipeline.training.feature_set import Row, set_of
from pipeline.training.labels import Label
from pipeline.training.options import TrainOptions

BENCH = Path(__file__).parents[1] / "bench"


# -- fetching --------------------------------------------------------------------------------


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def fetched(tmp_path: Path, package: str = "alsa-utils") -> subprocess.CompletedProcess[str]:
    """The fetcher with the programs of ``tmp_path / bin`` before all others."""
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return subprocess.run([sys.executable, BENCH / "eval_data.py", package], env=environ,
                          capture_output=True, text=True, timeout=60)  # fmt: skip


def test_what_cannot_be_fetched_is_skipped_with_the_reason(tmp_path):
    said = "E: Unable to locate package alsa-utils"
    program(tmp_path / "bin", "apt-get", f"echo '{said}' >&2; exit 100")
    done = fetched(tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        f"skipped: alsa-utils: apt-get said: {said}\n",
    )


def test_another_version_is_not_taken_for_the_one_of_the_tables(tmp_path):
    program(tmp_path / "bin", "apt-get", "printf other > alsa-utils_9_all.deb")
    done = fetched(tmp_path)
    sha256 = hashlib.sha256(b"other").hexdigest()
    assert done.returncode == 0
    assert f"skipped: alsa-utils: apt has alsa-utils_9_all.deb, sha256 {sha256[:12]}" in done.stdout
    assert not list((tmp_path / "cache").rglob("usr"))


def test_an_unknown_package_is_an_error(tmp_path):
    done = fetched(tmp_path, "alsa-utilz")
    assert done.returncode == 2
    assert "no such package: alsa-utilz" in done.stderr


def test_a_package_is_fetched_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import eval_data

    program(
        tmp_path / "bin", "apt-get", f"echo call >> {tmp_path}/calls; printf deb > one_1_all.deb"
    )
    program(tmp_path / "bin", "dpkg-deb", "mkdir -p $3/usr/bin $3/usr/lib/x86_64-linux-gnu")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(eval_data.SHA256, "one", hashlib.sha256(b"deb").hexdigest())
    folder = eval_data.debian("one")
    assert folder == eval_data.debian("one")
    assert (tmp_path / "calls").read_text() == "call\n"
    environ = eval_data.environment(["one"])
    assert environ["PATH"].startswith(str(folder / "usr/bin"))
    assert environ["LD_LIBRARY_PATH"] == str(folder / "usr/lib/x86_64-linux-gnu")
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]


# -- reading ---------------------------------------------------------------------------------


def test_captions_by_language():
    content = (
        "A frog.\nde.utf8=Ein Frosch.\nca@valencia.utf8=Una granota. \nfi.utf8=\nno language\n"
    )
    assert captions_of(content) == {
        "en": "A frog.",
        "de": "Ein Frosch.",
        "ca@valencia": "Una granota.",
    }
    assert captions_of("") == {}


def test_stamps_have_a_picture_and_a_caption(tmp_path):
    for name in ("animals/birds/crow", "animals/owl", "food/pear", "food/nothing-drawn"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(f"A {name}.\nfr.utf8=Le {name}.\n")
    for name in ("animals/birds/crow.png", "animals/owl.svg", "animals/owl_mirror.png",
                 "food/pear.svg", "food/pear.png", "animals/owl_desc.ogg",
                 "animals/owl_desc_fr.ogg", "animals/owl.ogg"):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "food/pip.txt").touch()  # without a caption
    (tmp_path / "food/pip.png").touch()
    crow, owl, pear = stamps(tmp_path)
    assert (crow.name, crow.category, crow.spoken) == ("animals/birds/crow", "animals", {})
    assert owl.captions == {"en": "A animals/owl.", "fr": "Le animals/owl."}
    assert {language: file.name for language, file in owl.spoken.items()} == {
        "en": "owl_desc.ogg",
        "fr": "owl_desc_fr.ogg",
    }
    assert pear.picture.name == "pear.png"
    assert of_large_categories([crow, owl, pear], 2) == [crow, owl]


def test_a_stamp_is_drawn_on_white_paper(tmp_path):
    (tmp_path / "a.txt").write_text("Half of it.\n")
    picture = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (10, 0, 20, 10))
    picture.save(tmp_path / "a.png")
    [stamp] = stamps(tmp_path)
    paper = np.asarray(Image.open(io.BytesIO(drawn(stamp, None))))
    side = len(paper)
    assert paper.shape == (side, side, 3)
    np.testing.assert_array_equal(paper[0], np.full((side, 3), 255))
    assert paper[side // 2, side // 4].tolist() == [255, 0, 0]
    assert paper[side // 2, 3 * side // 4].tolist() == [255, 255, 255]


def test_transcripts_have_a_name_each():
    content = "<s> he had met\tthem </s> (sense-0001)\n<s> no pause</s> (sense-0002)\n"
    assert transcripts(content) == [("sense-0001", "he had met\tthem"), ("sense-0002", "no pause")]
    with pytest.raises(AssertionError, match="he had met"):
        transcripts("he had met them (sense-0001)\n")


def test_each_text_has_its_translation(tmp_path):
    for name in ("apertium-destxt", "apertium-retxt"):
        program(tmp_path / "bin", name, "cat")
    (tmp_path / "share/modes").mkdir(parents=True)
    chain = (
        """sh -c 'test "$0" = -n && exec sed "s/una vaca/a cow/"' $1 $2"""
        " | cat - /usr/share/apertium/empty"
    )
    (tmp_path / "share/modes/spa-eng.mode").write_text(chain)
    (tmp_path / "share/empty").touch()
    environ = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    found = translated(["una vaca", "dos\nlineas"], "spa-eng", tmp_path / "share", environ)
    assert found == ["a cow", "dos lineas"]
    (tmp_path / "share/empty").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        translated(["una vaca"], "spa-eng", tmp_path / "share", environ)


# -- words in noise --------------------------------------------------------------------------


def test_a_word_in_noise_is_as_loud_beside_it_as_was_asked():
    tone = np.sin(np.arange(RATE // 2) / 3).astype(np.float32)
    for decibels in (10.0, 0.0):
        second = within_a_second(tone, decibels, np.random.default_rng(0))
        assert second.shape == (RATE,)
        power = 0.1**2 * (10 ** (-decibels / 10) + 0.5)  # half of the second is the word
        assert np.mean(second**2) == pytest.approx(power, rel=0.03)
    quiet = within_a_second(tone, np.inf, np.random.default_rng(0))
    assert np.mean(quiet**2) == pytest.approx(0.1**2 / 2, rel=0.01)
    assert np.median(np.abs(quiet)) > 1e-4  # a floor all over it


def test_silence_around_a_word_goes():
    word = np.concatenate([np.zeros(500), np.ones(800), np.full(300, 0.01)])
    assert len(trimmed(word, RATE)) == 800
    assert len(trimmed(np.repeat(word, 2), 2 * RATE)) == pytest.approx(800, abs=20)


def test_voices_of_the_test_are_never_learned(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(BENCH))
    import eval_digits

    word = np.sin(np.arange(2_000) / 3).astype(np.float32)
    voices = (*eval_digits.LEARNED, *eval_digits.HELD)
    monkeypatch.setattr(eval_digits, "TRAIN_PICTURES", 1_700)
    found = eval_digits.windows({(v, d): [word] for v in voices for d in range(10)}, 1, 90)
    learned = [each for each in found if each.stream in eval_digits.LEARNED]
    held = {condition: [] for condition in eval_digits.CONDITIONS}
    for each in found:
        voice, _, condition = each.stream.partition("/")
        if condition:
            assert voice in eval_digits.HELD
            held[condition].append(each.digit)
    assert len(learned) == 1_700
    assert list(map(len, held.values())) == [90] * 4
    assert len({tuple(digits) for digits in held.values()}) == 1  # the same pictures in each


# -- folds, heads and sets -------------------------------------------------------------------


def test_a_stamp_is_in_one_fold_and_labels_are_in_all():
    groups = [f"stamp-{number // 2}" for number in range(60)]
    labels = ["animals" if number < 40 else "food" for number in range(60)]
    parts = folds(groups, labels, 5, seed=0)
    assert sorted(np.concatenate(parts)) == list(range(60))
    held = [{groups[row] for row in part} for part in parts]
    assert sum(map(len, held)) == len(set.union(*held)) == 30
    assert [[labels[row] for row in part].count("animals") for part in parts] == [8] * 5
    again, other = (folds(groups, labels, 5, seed) for seed in (0, 1))
    np.testing.assert_equal(parts, again)
    assert not all(np.array_equal(one, two) for one, two in zip(parts, other, strict=True))


def test_a_head_is_measured_on_rows_that_it_has_not_seen():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(150):
        sure, noise = np.eye(3, dtype=np.float32)[number % 3], rng.standard_normal(2)
        vectors = {"sure": sure, "noise": noise.astype(np.float32)}
        rows.append(Row(f"s{number:03}", 0, 1, "abc"[number % 3], None, vectors))
    data = set_of(rows, {"sure": 3, "noise": 2}, {})
    train, validation, test = np.split(np.arange(150), [90, 120])
    head = fitted_head(data, train, validation, TrainOptions("late"))
    found = subset_accuracy(measured(head, data, test))
    assert found["noise", "sure"] == found["sure",] == 1.0
    assert found["noise",] < 0.7
    alone = of_stages(data, ["noise"])
    assert list(alone.vectors) == list(alone.there) == ["noise"]
    assert fitted_head(alone, train, validation, TrainOptions("late")).spec.lengths == {"noise": 2}


def test_a_set_is_made_once(tmp_path):
    calls = []

    def publish(broker):
        calls.append(1)
        for number, stream in enumerate(("one", "two")):
            place = {"stream": stream, "lane": number % LANES}
            broker.append(sent("in.chat", b"a word", 0, **place))
        return [Label(stream, 0, SECOND_US, stream, None) for stream in ("one", "two")]

    made, kept = (kept_set(load(CHAT), publish, "two streams", tmp_path) for _ in range(2))
    assert (made.labels, made.streams) == (("one", "two"),) * 2
    assert made.sha256() == kept.sha256()
    assert len(calls) == 1
    kept_set(load(CHAT, {"stages.words.options.dim": 16}), publish, "two streams", tmp_path)
    assert len(calls) == 2


def test_figures_are_told_with_their_spread():
    assert spread([0.9, 0.92]) == ".910 ± .014"
    assert spread([0.25]) == ".250"
    assert interval(np.ones(5, np.bool_)) == "[1.000, 1.000]"
