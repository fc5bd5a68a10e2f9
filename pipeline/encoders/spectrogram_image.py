"""spectrogram_image: sound as a picture that image encoders read; audio to image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipeline.encoders.base import Clip
from pipeline.encoders.options import one_of, real, whole, wrong_option
from pipeline.encoders.over_time import feature_config, window_samples
from pipeline.features.log_mel import log_mel
from pipeline.spec.catalog import AUDIO_RATE

SIDE_MAX = 4096
_COLORS = ("grey", "cubehelix")
_SCALES = ("fixed", "peak")


class SpectrogramImage:
    """The log-mel spectrogram of a window as a uint8 picture (height, width, 3).

    Time runs to the right, low notes are at the bottom, and loud is bright. ``log_mel``'s dB (with
    ``n_fft``, ``hop_length`` and ``n_mels`` as given) from ``db_min`` to ``db_max`` are the shades
    from 0 to 255; the picture is brought to its size by linear interpolation, with smoothing
    where it shrinks.

    The scale is fixed, so one shade is one level in every window, silence is black and the
    background does not brighten when a voice stops. ``scale: peak`` puts ``db_max`` at the
    window's own peak instead (db_min .. db_max then say only how wide the range is): what a
    network sees no longer hangs on the microphone's gain, nor tells it.
    A clip's picture has the same bytes in every batch.
    """

    takes = "audio"
    gives = "image"

    def __init__(
        self,
        device: torch.device,
        *,
        rate: int = AUDIO_RATE,
        n_fft: int = 512,
        hop_length: int = 160,
        n_mels: int = 80,
        height: int = 224,
        width: int = 224,
        db_min: float = -60.0,
        db_max: float = 20.0,
        scale: str = "fixed",
        color: str = "grey",
    ) -> None:
        self._device = torch.device(device)
        self._config = feature_config(
            rate=rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels, n_mfcc=1
        )
        self.rate = self._config.rate
        self._size = (
            whole("height", height, 1, SIDE_MAX, "pixels"),
            whole("width", width, 1, SIDE_MAX, "pixels"),
        )
        self._db_min = real("db_min", db_min, -200, 200, "dB")
        self._db_max = real("db_max", db_max, -200, 200, "dB")
        if self._db_max <= self._db_min:
            raise wrong_option("db_max", db_max, "leaves no range over db_min", "write more")
        self._to_peak = one_of("scale", scale, _SCALES) == "peak"
        self._shades = color_map(one_of("color", color, _COLORS))

    def encode(self, batch: Sequence[Clip]) -> list[NDArray[np.uint8]]:
        clips = [window_samples(clip, self.rate) for clip in batch]
        with torch.inference_mode():
            rows = log_mel(clips, self._config, self._device)
            return [self._picture(each) for each in rows]

    def _picture(self, db: torch.Tensor) -> NDArray[np.uint8]:
        """One clip's dB (frames, n_mels), alone, so its picture hangs on no other."""
        if not db.size(0):
            return np.broadcast_to(self._shades[0], (*self._size, 3)).copy()
        top = float(db.amax()) if self._to_peak else self._db_max
        level = (db - (top - (self._db_max - self._db_min))) / (self._db_max - self._db_min)
        upright = level.clamp(0.0, 1.0).T.flip(0)[None, None].contiguous()
        scaled = F.interpolate(
            upright, size=self._size, mode="bilinear", align_corners=False, antialias=True
        )[0, 0]
        shade = scaled.mul(255).round_().clamp_(0, 255).to(torch.uint8)
        picture: NDArray[np.uint8] = self._shades[shade.cpu().numpy()]
        return picture


@lru_cache(maxsize=8)
def color_map(name: str) -> NDArray[np.uint8]:
    """A colour for each shade, uint8 (256, 3).

    ``cubehelix`` turns through the colours once and a half while its perceived brightness goes
    up evenly (Green, "A colour scheme for the display of astronomical intensity images", 2011;
    start 0.5, rotations -1.5, hue 1, gamma 1), so it prints in grey as ``grey`` does.
    """
    shades = np.arange(256) / 255
    if name == "grey":
        colors = np.repeat(shades[:, None], 3, axis=1)
    else:
        angle = 2 * np.pi * (0.5 / 3 + 1.0 - 1.5 * shades)
        swing = shades * (1 - shades) / 2
        turns = np.array([[-0.14861, 1.78277], [-0.29227, -0.90649], [1.97294, 0.0]])
        circle = np.stack([np.cos(angle), np.sin(angle)])
        colors = shades[:, None] + swing[:, None] * (turns @ circle).T
    result: NDArray[np.uint8] = np.rint(colors.clip(0, 1) * 255).astype(np.uint8)
    result.flags.writeable = False
    return result
