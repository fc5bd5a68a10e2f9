"""Words by three kinds of voices: eSpeak's and flite's, made here, and one that was recorded.

All give float32, mono, 16 kHz, without the silence around the word.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

RATE = 16_000
Word = NDArray[np.float32]


@cache
def espeak_word(text: str, voice: str, words_per_minute: int, pitch: int) -> Word:
    from pipeline.encoders.models.speech_synthesis import espeak

    speaker = espeak()
    return trimmed(speaker.say(text, voice, words_per_minute, pitch), speaker.rate)


def flite_word(text: str, voice: str, stretch: float, environ: Mapping[str, str]) -> Word:
    """By the program flite of that environment; ``stretch`` above 1 is slower."""
    with TemporaryDirectory() as place:
        file = Path(place) / "word.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch}"]
        subprocess.run([*command, "-t", text, "-o", file], env=dict(environ), check=True,
                       timeout=60)  # fmt: skip
        samples, rate = soundfile.read(file, dtype="float32")
    return trimmed(samples, rate)


def g722_word(file: Path) -> Word:
    """A recording in G.722, as Asterisk's prompts are."""
    with av.open(str(file), format="g722") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.concatenate(frames, axis=1).mean(axis=0) / 32768
    return trimmed(samples.astype(np.float32), rate)


def trimmed(samples: NDArray[Any], rate: int) -> Word:
    """At 16 kHz, from the first sample to the last that is louder than a fiftieth of the peak."""
    line = samples if rate == RATE else soxr.resample(samples, rate, RATE)
    loud = np.flatnonzero(np.abs(line) > np.abs(line).max() / 50)
    return np.asarray(line[loud[0] : loud[-1] + 1], np.float32)


def within_a_second(word: Word, signal_to_noise_db: float, rng: np.random.Generator) -> Word:
    """The word at a drawn place of a second, white noise all over it.

    Speech at 0.1 of full scale (root mean square over the word). A floor 40 dB below it is
    always there, as with a microphone; ``inf``: nothing else.
    """
    word = word[:RATE]
    level = 0.1 / max(1e-9, float(np.sqrt(np.mean(word**2))))
    second = 1e-3 * rng.standard_normal(RATE)
    if np.isfinite(signal_to_noise_db):
        second += 0.1 * 10 ** (-signal_to_noise_db / 20) * rng.standard_normal(RATE)
    first = rng.integers(0, RATE - len(word) + 1)
    second[first : first + len(word)] += level * word
    return second.astype(np.float32)
