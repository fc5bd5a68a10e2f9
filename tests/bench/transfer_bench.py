"""An image network that hears and reads: its accuracy beside that of encoders made for it.

A frozen EfficientNet-Lite0, trained on photographs (``image_embedding``), sees sound as
``spectrogram_image`` and text as ``text_image``; a logistic regression on its 1,280 numbers is all
that is trained. The same regression on other encoders' vectors stands beside it, and on the
picture's own pixels (32 x 32), which tells what the network adds to the picture.

- *spoken digits*, synthetic: zero to nine by eSpeak NG, three speeds and two pitches; trained on
  eight voices, tested on five others. One second each, the word at a random place.
- *number words*: a digit in words inside a phrase; the phrases of the test are not in the
  training. For ``hash_text`` this is the easiest case there can be: the word is a number of it.
- *whose sentence*: real English, the first sentences of docstrings in five installed libraries,
  told apart by library; files of the test are not in the training.

    python tests/bench/transfer_bench.py          # some minutes on one core; needs motet[models]
"""

from __future__ import annotations

import argparse
import ast
import json
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import load_encoder

RATE, SECOND_US = 16_000, 1_000_000
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAIN_VOICES = ("en-us", "en", "en-us+m1", "en-us+m3", "en+m7", "en-us+f2", "en+f4",
                "en-gb-scotland")  # fmt: skip
TEST_VOICES = ("en-us+f5", "en+f1", "en-us+m5", "en-029", "en+m2")
TRAIN_PHRASES = ("{}", "door {}", "{} lifts", "gate {} is open", "room {}", "take {} steps",
                 "line {} ends here", "up to {}", "{} more", "platform {}", "only {} left",
                 "it is {} now")  # fmt: skip
TEST_PHRASES = ("floor {}", "{} people wait", "number {} please", "at {} sharp", "bus {}",
                "{} or less")  # fmt: skip
LIBRARIES = ("librosa", "sklearn", "kafka", "PIL", "ray")
Case = tuple[list[Clip], NDArray[np.int64]]


def encoded(stages: Sequence[tuple[str, dict[str, Any]]], clips: list[Clip]) -> list[Any]:
    """What a chain of built-in encoders gives for the clips, each reading the one before it.

    Of a picture that no encoder reads, its pixels.
    """
    outputs: list[Any] = []
    for number, (name, options) in enumerate(stages):
        if number:
            clips = [
                Clip(c.stream, c.start_us, c.end_us, frames=[o], times_us=[c.start_us])
                for c, o in zip(clips, outputs, strict=True)
            ]
        outputs = list(load_encoder(name, options, torch.device("cpu")).encode(clips))
    return [_grey(output) if output.ndim == 3 else output for output in outputs]


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """224 x 224 as the means of 32 x 32 squares."""
    squares = picture[..., 0].reshape(32, 7, 32, 7)
    return squares.mean(axis=(1, 3), dtype=np.float32).ravel()


def spoken(voices: Sequence[str], seed: int) -> Case:
    """Every digit by every voice at three speeds and two pitches, in a second of 16 kHz."""
    from pipeline.encoders.models.speech_synthesis import TextToSpeech

    rng = np.random.default_rng(seed)
    texts = [Clip("s", 0, 1, text=word) for word in DIGITS]
    clips, labels = [], []
    for voice in voices:
        for words_per_minute in (140, 175, 210):
            for pitch in (40, 60):
                options = {"voice": voice, "rate": words_per_minute, "pitch": pitch}
                speaker = TextToSpeech(torch.device("cpu"), **options)
                for digit, audio in enumerate(speaker.encode(texts)):
                    line = soxr.resample(audio.samples, audio.rate, RATE)
                    loud = np.flatnonzero(np.abs(line) > 0.01)
                    line = line[loud[0] : loud[-1] + 1][:RATE]
                    second = np.zeros(RATE, np.float32)
                    at = int(rng.integers(0, RATE - len(line) + 1))
                    second[at : at + len(line)] = line
                    second += 0.001 * rng.standard_normal(RATE).astype(np.float32)
                    clips.append(Clip("s", 0, SECOND_US, second, RATE, 0))
                    labels.append(digit)
    return clips, np.array(labels)


def phrases(templates: Sequence[str]) -> Case:
    pairs = [(template.format(word), d) for template in templates for d, word in enumerate(DIGITS)]
    return [Clip("s", 0, 1, text=text) for text, _ in pairs], np.array([d for _, d in pairs])


def sentences(library: str) -> tuple[list[str], list[str]]:
    """First sentences of the docstrings of a library's files: of one half, and of the other."""
    spec = find_spec(library)
    assert spec is not None
    assert spec.submodule_search_locations
    halves: tuple[list[str], list[str]] = ([], [])
    seen = set()
    files = sorted(Path(spec.submodule_search_locations[0]).rglob("*.py"))
    for number, file in enumerate(f for f in files if "test" not in str(f).lower()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of old escapes in others' code
            tree = ast.parse(file.read_text("utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
            if 30 <= len(first) <= 160 and first.isascii() and first not in seen:
                seen.add(first)
                halves[number % 2].append(first)
    return halves


def libraries(train: int, test: int, seed: int) -> tuple[Case, Case]:
    """As many sentences of every library: clips and labels of the training and of the test."""
    rng = np.random.default_rng(seed)
    sides: tuple[list[tuple[str, int]], list[tuple[str, int]]] = ([], [])
    for label, library in enumerate(LIBRARIES):
        for side, half, count in zip(sides, sentences(library), (train, test), strict=True):
            assert len(half) >= count, f"{library} has only {len(half)} sentences"
            side += [(half[i], label) for i in rng.permutation(len(half))[:count]]
    return tuple(  # type: ignore[return-value]
        ([Clip("s", 0, 1, text=text) for text, _ in side], np.array([n for _, n in side]))
        for side in sides
    )


def accuracy(train: NDArray[Any], given: NDArray[Any], test: NDArray[Any], truth: Any) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2_000))
    head.fit(train, given)
    return float(np.mean(head.predict(test) == truth))


SEES = ("image_embedding", {})
HEARD = {
    "spectrogram_image -> image_embedding": [("spectrogram_image", {}), SEES],
    "  the same, scale: peak": [("spectrogram_image", {"scale": "peak"}), SEES],
    "spectrogram_image's pixels, scale: peak": [("spectrogram_image", {"scale": "peak"})],
    "mfcc (mean)": [("mfcc", {})],
    "librosa_feature mfcc (mean, deviation)": [("librosa_feature", {"name": "mfcc"})],
    "log_mel (mean)": [("log_mel", {})],
}


def read(font_size: int) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Encoders of text, and pictures of it: a sentence needs room, a phrase may be large."""
    drawn = ("text_image", {"font_size": font_size})
    return {
        "text_image -> image_embedding": [drawn, SEES],
        "text_image's pixels": [drawn],
        "hash_text, dim 1024": [("hash_text", {"dim": 1024})],
        "text_embedding (MiniLM)": [("text_embedding", {})],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    tasks: dict[str, tuple[Callable[[], tuple[Case, Case]], dict[str, Any]]] = {
        "spoken digits (synthetic)": (lambda: (spoken(TRAIN_VOICES, 0), spoken(TEST_VOICES, 1)),
                                      HEARD),
        "number words": (lambda: (phrases(TRAIN_PHRASES), phrases(TEST_PHRASES)), read(36)),
        "whose sentence": (lambda: libraries(100, 40, 0), read(20)),
    }  # fmt: skip
    rows = []
    for task, (cases, chains) in tasks.items():
        (train, known), (test, truth) = cases()
        chance = float(np.bincount(truth).max() / len(truth))
        print(f"\n{task}: {len(train)} to learn from, {len(test)} to tell, chance {chance:.3f}")
        for name, chain in chains.items():
            began = time.monotonic()
            vectors = np.stack(encoded(chain, [*train, *test]))
            found = accuracy(vectors[: len(train)], known, vectors[len(train) :], truth)
            error = np.sqrt(found * (1 - found) / len(test))
            seconds = time.monotonic() - began
            print(f"  {name:42s} {found:.3f} ± {error:.3f}   {seconds:5.1f} s", flush=True)
            rows.append({"task": task, "encoder": name.strip(), "accuracy": found,
                         "test": len(test), "chance": chance})  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
