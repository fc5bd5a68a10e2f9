"""Sentence pairs that are learned in seconds: digits in words, and what is open or closed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.training.translate.fit import TranslateOptions
from pipeline.training.translate.pairs import Pair

WORDS = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
SMALL = TranslateOptions(epochs=15, width=48, learning_rate=1e-2)
FLAGS = ("--epochs", SMALL.epochs, "--hidden", SMALL.width, "--learning-rate", SMALL.learning_rate)
PHRASES = replace(SMALL, batch=16)  # for phrase_pairs
COUNT = 800
THINGS = {
    "door": "die Tür",
    "window": "das Fenster",
    "bridge": "die Brücke",
    "kitchen": "die Küche",
    "garden": "der Garten",
    "school": "die Schule",
    "station": "der Bahnhof",
    "hotel": "das Hotel",
    "street": "die Straße",
    "library": "die Bücherei",
}
STATES = {"open": "offen", "closed": "zu", "empty": "leer", "blocked": "gesperrt", "full": "voll"}
TIMES = {"today": "heute", "again": "wieder", "now": "jetzt", "tonight": "heute Abend"}


def digit_pairs(count: int = COUNT, seed: int = 0) -> list[Pair]:
    """``3 1 4`` and ``drei eins vier``: one to four digits, each pair once."""
    rng = np.random.default_rng(seed)
    found: dict[Pair, None] = {}
    while len(found) < count:
        digits = rng.integers(10, size=rng.integers(1, 5)).tolist()
        source = " ".join(map(str, digits))
        found[Pair(source, " ".join(WORDS[digit] for digit in digits))] = None
    return list(found)


def phrase_pairs() -> list[Pair]:
    """``the door is open today`` as it is said, and with the stop that a recogniser writes."""
    return [
        Pair(f"the {thing} is {state} {time}{stop}", f"{german} ist {when} {how}")
        for thing, german in THINGS.items()
        for state, how in STATES.items()
        for time, when in TIMES.items()
        for stop in ("", ".")
    ]


def write_pairs(path: Path, count: int = COUNT) -> Path:
    lines = [json.dumps(pair._asdict(), ensure_ascii=False) for pair in digit_pairs(count)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
