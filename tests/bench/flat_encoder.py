"""An encoder that costs next to nothing, so that what is measured is the way to it."""

from __future__ import annotations

import numpy as np


class Ends:
    """The first and the last sample of a window."""

    takes, gives, length = "audio", "vector", 2

    def __init__(self, device, *, rate):
        self.rate = rate

    def encode(self, batch):
        return [np.array([clip.samples[0], clip.samples[-1]], np.float32) for clip in batch]
