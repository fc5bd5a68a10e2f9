"""Real digits, seen and heard: scikit-learn's handwriting and eSpeak's voices.

Each stream is a voice with a pitch of its own that says digits, one a second, while a written
one is shown. Which handwriting goes with which voice is drawn: a synthetic pairing.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import soxr
from PIL import Image
from pipelines import SECOND_US, sent

RATE = 16_000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES = ("en", "en+f3", "en+m3", "en-us", "en-us+f5", "en-us+m7", "en+m1", "en-us+f2")

# An encoder of the user's own, beside the pipeline file: the mean frame, 8 x 8, from 0 to 1.
PIXELS = """
import numpy as np


class Pixels:
    takes, gives, length = "image", "vector", 64

    def __init__(self, device, noise=0.0):
        self.noise = noise

    def encode(self, batch):
        return [np.mean([f[:, :, 0] for f in c.frames], axis=0).ravel().astype(np.float32) / 255
                for c in batch]
"""

FILE: dict[str, Any] = {
    "name": "digits",
    "inputs": {
        "mic": {"topic": "in.mic", "type": f"audio/L16;rate={RATE};channels=1"},
        "pen": {"topic": "in.pen", "type": "image/png"},
    },
    "windows": {"size": "1s"},
    "stages": {
        "heard": {"encoder": "mfcc", "of": "mic"},
        "seen": {"encoder": "pixels:Pixels", "of": "pen"},
    },
    "fusion": {"rule": "concat", "of": {"heard": 1, "seen": 1}},
    "outputs": {"results": "out.results", "late": "out.late", "dead_letter": "out.dead"},
    "commit_interval": "20ms",
    "slots": 2,
}


class Said(NamedTuple):
    """One second of a stream; ``picture`` or ``speech`` may be missing."""

    stream: str
    start_us: int
    digit: int
    speech: np.ndarray | None
    picture: bytes | None


@cache
def digits(rounds: int = 2, seed: int = 0) -> tuple[Said, ...]:
    """``rounds`` times all ten digits a voice, in a drawn order; a tenth lack one modality."""
    from sklearn.datasets import load_digits

    written = load_digits()
    rng = np.random.default_rng(seed)
    found = []
    for number, voice in enumerate(VOICES):
        order = np.concatenate([rng.permutation(10) for _ in range(rounds)])
        for second, digit in enumerate(order.tolist()):
            chosen = rng.choice(np.flatnonzero(written.target == digit))
            pixels = written.images[chosen] * 16 + 40 * rng.standard_normal((8, 8))
            fate = rng.random()
            found.append(
                Said(
                    f"{voice}-{seed}",
                    second * SECOND_US,
                    digit,
                    None if fate < 0.05 else _spoken(digit, voice, 40 + 5 * number, rng),
                    None if fate > 0.95 else png(pixels),
                )
            )
    return tuple(found)


def _spoken(digit: int, voice: str, pitch: int, rng: np.random.Generator) -> np.ndarray:
    """int16, one second at 16 kHz, with some noise; the word begins at a drawn place."""
    from pipeline.encoders.models.speech_synthesis import espeak

    speaker = espeak()
    raw = speaker.say(WORDS[digit], voice, 175, pitch)
    word = soxr.resample(raw, speaker.rate, RATE)[: RATE - 1]
    samples = 0.01 * rng.standard_normal(RATE)
    first = rng.integers(0, RATE - len(word))
    samples[first : first + len(word)] += word
    return np.clip(samples * 32768, -32768, 32767).astype(np.int16)


def png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    grey = np.clip(pixels, 0, 255).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").save(sink, "PNG")
    return sink.getvalue()


def publish(broker, said: tuple[Said, ...], lanes: int) -> None:
    """As a producer would send them: in time order, each stream on one lane."""
    names = sorted({each.stream for each in said})
    for each in sorted(said, key=lambda one: one.start_us):
        place = {"stream": each.stream, "lane": names.index(each.stream) % lanes}
        if each.speech is not None:
            payload = each.speech.astype(">i2").tobytes()
            broker.append(sent("in.mic", payload, each.start_us, **place))
        if each.picture is not None:
            broker.append(sent("in.pen", each.picture, each.start_us, length_us=SECOND_US, **place))


def labels_csv(said: tuple[Said, ...]) -> str:
    rows = [f"{s.stream},{s.start_us},{s.start_us + SECOND_US},{WORDS[s.digit]}" for s in said]
    return "\n".join(["stream,start_us,end_us,label", *rows]) + "\n"
