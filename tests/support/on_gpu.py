"""What tests on a CUDA device share: the device, clips of real media, and what counts as alike.

``MOTET_GPU_DEVICE=cpu`` runs them where there is none, the CPU against itself: that holds the
tests, not the device.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from pipeline.demo.assets import MEDIA
from pipeline.encoders.base import Audio, Clip

RATE = 16_000
SHADE = 4  # levels from one of 256 shades to the next, in the steepest of the colours
CPU = torch.device("cpu")
GPU = torch.device(os.environ.get("MOTET_GPU_DEVICE", "cuda"))
NEEDS_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        GPU.type == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"
    ),
]


def noise(seed: int, count: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def clips(count: int, seconds: int = 1) -> list[Clip]:
    """Windows with speech, a frame and a line of text in each: as many as are asked for."""
    parts = [soundfile.read(path, dtype="float32")[0] for path in _files("speech")]
    line = np.concatenate(parts)
    step = (len(line) - seconds * RATE) // max(1, count - 1)
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in _files("frames")]
    texts = [text for path in _files("captions") for text in path.read_text("utf-8").splitlines()]
    made = []
    for number in range(count):
        samples = line[number * step : number * step + seconds * RATE].copy()
        clip = Clip("s", 0, seconds * 1_000_000, samples, RATE, 0)
        clip.frames, clip.times_us, clip.ends_us = [frames[number % len(frames)]], [0], [1_000_000]
        clip.text = texts[number % len(texts)]
        made.append(clip)
    return made


def _files(folder: str) -> list[Any]:
    return sorted((MEDIA / folder).iterdir())


def assert_alike(here: Any, there: Any, tolerance: float) -> None:
    """Outputs of an encoder: numbers within the tolerance, pixels within a shade, else equal."""
    if isinstance(here, Audio):
        assert here.rate == there.rate
        assert_alike(here.samples, there.samples, tolerance)
    elif isinstance(here, np.ndarray):
        assert here.dtype == there.dtype
        if here.dtype == np.uint8:
            assert np.abs(here.astype(int) - there).max() <= SHADE
        else:
            np.testing.assert_allclose(here, there, rtol=tolerance, atol=tolerance)
    elif isinstance(here, dict):
        assert here.keys() == there.keys()
        for key in here:
            assert_alike(here[key], there[key], tolerance)
    elif isinstance(here, Sequence) and not isinstance(here, str):
        assert len(here) == len(there)
        for one, other in zip(here, there, strict=True):
            assert_alike(one, other, tolerance)
    elif isinstance(here, float):
        assert here == pytest.approx(there, rel=tolerance, abs=tolerance)
    else:
        assert here == there
