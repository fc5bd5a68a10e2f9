"""Encoders as a user writes them, named by import path from the folder of a pipeline file."""

from __future__ import annotations

import sys
import threading

import numpy as np

gate, at_gate = threading.Event(), threading.Event()  # what Hangs waits for, and that it does
batches: list[list[tuple[str, int]]] = []  # what Upper was given, call by call


class Upper:
    """Text to text; raises for a text that holds "poison", with a message that is hard to write."""

    takes = "text"
    gives = "text"

    def __init__(self, device, mark="!"):
        self.mark = mark

    def encode(self, batch):
        batches.append([(clip.stream, clip.start_us) for clip in batch])
        if any("poison" in clip.text for clip in batch):
            raise ValueError("poison:\n half a pair \ud800")
        return [clip.text.upper() + self.mark for clip in batch]


class Lengths:
    """Text to data."""

    takes = "text"
    gives = "data"

    def __init__(self, device):
        pass

    def encode(self, batch):
        return [{"words": len(clip.text.split()), "chars": len(clip.text)} for clip in batch]


class Sizes:
    """Pictures to text: how large each frame is, and when it was taken."""

    takes = "image"
    gives = "text"

    def __init__(self, device):
        pass

    def encode(self, batch):
        return [
            " ".join(
                f"{t}:{f.shape[1]}x{f.shape[0]}"
                for t, f in zip(clip.times_us, clip.frames, strict=True)
            )
            for clip in batch
        ]


class Heard:
    """Audio to audio: what the window holds, at half the level."""

    takes = "audio"
    gives = "audio"

    def __init__(self, device):
        pass

    def encode(self, batch):
        return [(clip.samples / 2, clip.rate) for clip in batch]


class Grey:
    """Text to image."""

    takes = "text"
    gives = "image"

    def __init__(self, device):
        pass

    def encode(self, batch):
        return [np.full((2, 3, 3), len(clip.text), np.uint8) for clip in batch]


class Hangs:
    """Text to text; a text that holds "hang" is not done before the gate is opened."""

    takes = "text"
    gives = "text"

    def __init__(self, device):
        pass

    def encode(self, batch):
        if any("hang" in clip.text for clip in batch):
            at_gate.set()
            gate.wait()
        return [clip.text for clip in batch]


class Exits:
    """Text to text; ends its process, or tries to, on "exit"."""

    takes = "text"
    gives = "text"

    def __init__(self, device):
        pass

    def encode(self, batch):
        if any("exit" in clip.text for clip in batch):
            sys.exit("enough")
        return [clip.text for clip in batch]


class Broken:
    """Text to a vector that is none where the text says so."""

    takes = "text"
    gives = "vector"
    length = 2

    def __init__(self, device):
        pass

    def encode(self, batch):
        return [
            np.array([1.0, np.nan if "nan" in clip.text else 2.0], np.float32) for clip in batch
        ]
