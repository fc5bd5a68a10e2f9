"""The zoo: which of 65 animals it is, without any training, by picture, speech and Spanish.

Of Tux Paint's animals with an English voice: the picture's five likeliest labels (by score), what
the voice says (Whisper), and the Spanish caption put into English (Debian's apertium), as vectors
of MiniLM; nearest of the 65 English captions. Together: the sum of the cosines, each modality's
standardised over the 65. The encoders are those of a pipeline, called on whole clips; the
translator is Debian's own program.

    python tests/bench/eval_zoo.py       # a minute on one core; ``make eval-stamps`` runs it too
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "support"))

import eval_data
from apertium import translated
from eval_stamps import WHEEL, WHEEL_SHA256
from held_out import interval
from readings import RATE, whole_clip
from stamps import Stamp, drawn, stamps, svg_reader

from pipeline.encoders.base import Clip
from pipeline.encoders.loading import load_encoder
from pipeline.evaluation.served import area_under_curve

CPU = torch.device("cpu")
Matrix = NDArray[np.float64]


def animals() -> list[Stamp]:
    root = eval_data.debian("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    return [s for s in stamps(root) if s.category == "animals" and {"en"} <= set(s.spoken)]


def seen(zoo: Sequence[Stamp]) -> Matrix:
    """The five likeliest labels of each picture as vectors, their sum by score."""
    svg = svg_reader(eval_data.wheel(WHEEL, WHEEL_SHA256))
    frames = [np.asarray(Image.open(io.BytesIO(drawn(stamp, svg)))) for stamp in zoo]
    clips = [Clip("s", 0, 1, frames=[frame], times_us=[0], ends_us=[1]) for frame in frames]
    found = load_encoder("image_labels", {"top": 5}, CPU).encode(clips)
    labels = [label for data in found for label in data["labels"]]
    scores = np.array([[label["score"]] for label in labels])
    rows = scores * vectors([label["label"] for label in labels])
    summed: Matrix = rows.reshape(len(zoo), 5, -1).sum(axis=1)
    return summed


def heard(zoo: Sequence[Stamp]) -> list[str]:
    clips = []
    for stamp in zoo:
        samples, rate = soundfile.read(stamp.spoken["en"], dtype="float32", always_2d=True)
        clips.append(whole_clip(soxr.resample(samples.mean(axis=1), rate, RATE)))
    return [str(said) for said in load_encoder("speech_to_text", {"vad": False}, CPU).encode(clips)]


def read(zoo: Sequence[Stamp]) -> list[str]:
    share = eval_data.debian("apertium-eng-spa") / "usr/share/apertium"
    environ = eval_data.environment(eval_data.APERTIUM)
    return translated([stamp.captions["es"] for stamp in zoo], "spa-eng", share, environ)


def vectors(texts: Sequence[str]) -> Matrix:
    clips = [Clip("s", 0, 1, text=text) for text in texts]
    return np.stack(load_encoder("text_embedding", {}, CPU).encode(clips)).astype(np.float64)


def main() -> None:
    torch.set_num_threads(1)
    zoo = animals()
    names = vectors([stamp.captions["en"] for stamp in zoo])
    given = {"image": seen(zoo), "speech": vectors(heard(zoo)), "text": vectors(read(zoo))}
    cosines = {modality: rows @ names.T for modality, rows in given.items()}
    print(f"{len(zoo)} animals, chance {1 / len(zoo):.3f}; [95 % of resampled animals]")
    for size in (1, 2, 3):
        for some in combinations(given, size):
            total = sum(standardised(cosines[modality]) for modality in some)
            right = total.argmax(axis=1) == np.arange(len(zoo))
            print(f"  {' + '.join(some):24s} {right.mean():.3f} {interval(right)}")
    image = given["image"] / np.linalg.norm(given["image"], axis=1, keepdims=True)
    pairs = image @ given["speech"].T
    told = np.concatenate([np.diag(pairs), pairs[~np.eye(len(zoo), dtype=bool)]])
    same = (np.arange(len(told)) < len(zoo)).astype(np.intp)
    auc = area_under_curve(same, np.stack([-told, told], axis=1))
    print(f"  does the picture belong to the voice, by their cosine: AUC {auc:.3f}")


def standardised(cosines: Matrix) -> Matrix:
    """Each row over its candidates; one that tells none apart (nothing was said) says nothing."""
    centred = cosines - cosines.mean(axis=1, keepdims=True)
    spread = cosines.std(axis=1, keepdims=True)
    found: Matrix = centred / np.where(spread > 0, spread, 1.0)
    return found


if __name__ == "__main__":
    sys.exit(eval_data.skipping(main))
