"""How well speech_to_text hears: the word error rate of clips, and of a stream cut into windows.

1. Clips: the five vendored LibriVox sentences, and with ``--debian`` the 20 clips of
   pocketsphinx-testdata and alsa-utils (fetched by apt-get into a cache outside the repository;
   left out with a line where that cannot be done).
2. Joined stream: the five sentences without a pause between them, as half-second records through
   ``run_local`` on the in-memory log, in windows with context; the words of all results joined by
   time, against what was read and against one transcription of the whole.
3. Voice activity: how far the probabilities of a window lie from those of the whole stream, by
   the context before the window.

WER by jiwer with the English normaliser of Whisper (transformers). Smoke-level sets, not a
benchmark: 71 and 117 words. Everything is deterministic but the times.

    python tests/bench/quality_speech.py --debian     # some minutes on one core
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "support"))

import eval_data
from eval_speech import debian_clips
from readings import (
    RATE,
    Line,
    Reading,
    joined,
    run_stream,
    sentences,
    speech_pipeline,
    whole_clip,
    window_clips,
    word_errors,
)

from pipeline.encoders.models.speech import SpeechToText
from pipeline.encoders.models.voice import VoiceActivity

CONTEXTS = (("1s", 2, 1), ("1s", 5, 1), ("1s", 9, 3), ("2s", 10, 3), ("5s", 10, 1))
CPU = torch.device("cpu")


def debian() -> list[Reading]:
    """The 20 clips, fetched once; empty, with a line that says why, where they cannot be had."""
    try:
        found = debian_clips()
    except eval_data.Unreachable as reason:
        print(f"Debian's clips are left out: {reason}")
        return []
    return found


def clips(encoder: SpeechToText, name: str, readings: Sequence[Reading]) -> dict[str, object]:
    began = time.perf_counter()  # a benchmark's own time
    said = encoder.encode([whole_clip(reading.samples) for reading in readings])
    took_s = time.perf_counter() - began
    errors = word_errors([reading.text for reading in readings], said)
    seconds = sum(len(reading.samples) for reading in readings) / RATE
    print(f"clips   {name:24s} WER {errors}; {1000 * took_s / seconds:.0f} ms a second of sound")
    return {"set": name, "wer": errors.rate, "words": errors.words}


def streams(encoder: SpeechToText, contexts: Sequence[tuple[str, int, int]]) -> list[dict]:
    line: Line = np.concatenate([reading.samples for reading in sentences()])
    read = " ".join(reading.text for reading in sentences())
    [once] = encoder.encode([whole_clip(line)])
    print(f"stream  in one piece             WER {word_errors([read], [once])}")
    rows = []
    for size, before, after in contexts:
        began = time.perf_counter()
        context = {"before": f"{before}s", "after": f"{after}s"}
        text = joined(run_stream(speech_pipeline(context, size), line))
        took_s = time.perf_counter() - began
        errors, apart = word_errors([read], [text]), word_errors([once], [text])
        print(f"stream  {size} windows, {before:2d}s and {after}s   WER {errors}; to one piece "
              f"{apart.rate:.3f}; {took_s:.0f} s")  # fmt: skip
        rows.append({"size": size, "before_s": before, "after_s": after, "wer": errors.rate,
                     "wer_to_one_piece": apart.rate})  # fmt: skip
    return rows


def voice_activity() -> list[dict[str, float]]:
    line: Line = np.concatenate([reading.samples for reading in sentences()])
    line = line[: len(line) // RATE * RATE]
    encoder = VoiceActivity(CPU)
    whole = np.concatenate([c["probabilities"] for c in encoder.encode(window_clips(line, 30, 0))])
    rows = []
    for before_s in (0, 0.25, 0.5, 1, 2, 4):
        found = encoder.encode(window_clips(line, before_s, 0))
        apart = np.abs(np.concatenate([each["probabilities"] for each in found]) - whole)
        other = float(np.mean(apart > 0.1))
        print(f"voice   {before_s:4g}s before               largest difference {apart.max():.3f}, "
              f"over 0.1 in {100 * other:.1f} % of the frames")  # fmt: skip
        rows.append({"before_s": before_s, "max": float(apart.max()), "over_0.1": other})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--debian", action="store_true", help="fetch and score Debian's clips too")
    parser.add_argument("--no-stream", action="store_true", help="clips and voice activity only")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    encoder = SpeechToText(CPU)
    figures: dict[str, object] = {"clips": [clips(encoder, "LibriVox", sentences())]}
    wer_max = 0.0
    if given.debian and (found := debian()):
        row = clips(encoder, "pocketsphinx and alsa", found)
        figures["clips"] = [figures["clips"], row]
        wer_max = float(row["wer"])  # type: ignore[arg-type]
    figures["voice"] = voice_activity()
    if not given.no_stream:
        figures["stream"] = streams(encoder, CONTEXTS)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if wer_max > 0.12 else 0


if __name__ == "__main__":
    sys.exit(main())
