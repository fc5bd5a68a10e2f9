"""The standard job as the peers' own programs need it: features, event time, results.

Each program runs in an environment that has its system's packages in front of motet's
(``environments.py``), reads the topic that the environment variable ``BENCH_INPUT`` names
(``bench.audio``), writes ``{name}.results`` and prints one JSON line ``{windows, seconds}``.
``seconds`` begin with the first record that is handed to it (so without imports, connecting and
joining a group) and end when all of its output is written for good.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

RATE, STREAMS = 16_000, 32
WINDOW_MS, GRACE_MS = 1_000, 200
INPUT = os.environ.get("BENCH_INPUT", "bench.audio")
Samples = NDArray[np.float32]


class Features:
    """A record's mean log-mel vector by librosa, or by motet's own features in batches.

    ``first_s`` is when the first record came in, on the monotonic clock.
    """

    def __init__(self, kind: str) -> None:
        self.first_s: float | None = None
        self._ours = _motets() if kind == "torch" else None
        self._of([np.zeros(RATE, np.float32)])  # what is compiled at the first call

    def of(self, payloads: Sequence[bytes]) -> list[list[float]]:
        if self.first_s is None:
            self.first_s = time.monotonic()
        return self._of(
            [np.frombuffer(each, ">i2").astype(np.float32) / 32768 for each in payloads]
        )

    def _of(self, sounds: list[Samples]) -> list[list[float]]:
        if self._ours is not None:
            return [vector.tolist() for vector in self._ours(sounds)]
        import librosa

        vectors = []
        for samples in sounds:
            mel = librosa.feature.melspectrogram(
                y=samples, sr=RATE, n_fft=400, hop_length=160, n_mels=64
            )
            vectors.append(librosa.power_to_db(mel, top_db=None).mean(axis=1).tolist())
        return vectors

    def report(self, windows: int) -> None:
        """Prints the line that the bench reads; to be called when the output is written."""
        assert self.first_s is not None
        print(json.dumps({"windows": windows, "seconds": time.monotonic() - self.first_s}))


def _motets():
    import torch

    from pipeline.encoders.audio import LogMel
    from pipeline.encoders.base import Clip

    torch.set_num_threads(1)
    encoder = LogMel(torch.device("cpu"))
    return lambda sounds: encoder.encode([Clip("", 0, 1_000_000, s, RATE, 0) for s in sounds])


def event_time(headers) -> datetime:
    """``ce_time`` of a record, which every record of the job carries."""
    return datetime.fromisoformat(dict(headers)["ce_time"].decode())


def result(stream: str, start_us: int, vectors: Sequence[Sequence[float]]) -> dict[str, object]:
    """What a window comes to: the mean of its records' vectors (here always one)."""
    return {
        "stream": stream,
        "start_us": start_us,
        "vector": [float(x) for x in np.mean(np.asarray(vectors), axis=0)],
    }
