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

SLOW_S = 0.15  # a text, of which 32 come a second; where it is told to be slow


class Words:
    """Texts to vectors of 4 numbers, a pure function of the text."""

    takes, gives, length = "text", "vector", 4

    def __init__(self, device, folder: str) -> None:
        self._folder = Path(folder)

    def encode(self, batch):
        self._say_which_process()
        if (self._folder / "slow").exists():
            time.sleep(SLOW_S * len(batch))
        return [self._vector(clip.text) for clip in batch]

    def _say_which_process(self) -> None:
        """Whole at each moment: it may be read while it is written."""
        beside = self._folder / f"process.{os.getpid()}"
        beside.write_text(str(os.getpid()))
        beside.replace(self._folder / "process")

    def _vector(self, text: str) -> np.ndarray:
        if (self._folder / "armed").exists():
            if "deadly" in text:
                os.kill(os.getpid(), signal.SIGKILL)
            if "endless" in text:
                threading.Event().wait()
        seed = zlib.crc32(text.encode())
        return np.random.default_rng(seed).standard_normal(4).astype(np.float32)
