"""The encoder of the texts in the fault runs: slow, deadly or endless where a file says so.

The files lie in ``folder``. Without them it is an ordinary encoder, so a calm run over the same
records gives what a faulty one must have given. It writes there which process it is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import zlib
from pathlib import Path

import numpy as np


class Words:
    """Texts to vectors of 4 numbers, a pure function of the text."""

    takes, gives, length = "text", "vector", 4

    def __init__(self, device, folder: str) -> None:
        self._folder = Path(folder)

    def encode(self, batch):
        (self._folder / "process").write_text(str(os.getpid()))
        if (slow := self._folder / "slow").exists():
            time.sleep(float(slow.read_text()) * len(batch))
        return [self._vector(clip.text) for clip in batch]

    def _vector(self, text: str) -> np.ndarray:
        if (self._folder / "armed").exists():
            if "deadly" in text:
                os.kill(os.getpid(), signal.SIGKILL)
            if "endless" in text:
                threading.Event().wait()
        seed = zlib.crc32(text.encode())
        return np.random.default_rng(seed).standard_normal(4).astype(np.float32)
