"""Frames through an image network: which network, in what steps, and numbers back on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.encoders.base import Clip
from pipeline.encoders.image import evenly_spread, window_frames
from pipeline.encoders.models.choices import own_file, three
from pipeline.encoders.models.image_pixels import Frame, Pixels
from pipeline.encoders.models.lite0 import PIXELS, Lite0
from pipeline.encoders.models.own_network import SUFFIXES, Network, own_network
from pipeline.encoders.options import real, whole, wrong_option
from pipeline.spec.user_class import one_line

_BATCH_CUDA = 16
_SHAPE_MAX = 4  # longest by shortest side up to which a film's frame is never scaled up again
# What most networks for pictures were trained with: the mean and deviation of ImageNet.
_OWN = Pixels(size=224, crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class ImageNetwork:
    """A row of numbers for each frame, float32; one frame's row hangs on that frame alone.

    Every forward pass holds exactly ``batch`` frames, zeros where there are fewer: another count
    of mates could pick another algorithm, and other last digits. The default is 1 on the CPU,
    where more gain nothing, and 16 on a GPU.

    ``weights``: a state dict of EfficientNet-Lite0 (.pth, .safetensors). ``model``: another
    network (.onnx, .pt2, .ts). ``size``, ``crop``, ``mean`` and ``std`` say what it was trained
    to see (``Pixels``). ``left_out``: as ``Lite0`` has it. The network is loaded and has run once
    when the constructor returns.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        logits: bool,
        weights: Any = None,
        model: Any = None,
        size: Any = None,
        crop: Any = None,
        mean: Any = None,
        std: Any = None,
        batch: Any = None,
        left_out: int = 0,
    ) -> None:
        if weights is not None and model is not None:
            why = "and options.model are two networks"
            raise wrong_option("weights", weights, why, "write one of them")
        self._device = torch.device(device)
        self._pixels = _pixels(_OWN if model is not None else PIXELS, size, crop, mean, std)
        standard = _BATCH_CUDA if self._device.type == "cuda" else 1
        self._batch = standard if batch is None else whole("batch", batch, 1, 1024, "frames")
        self._run: Network
        if model is None:
            file = weights and own_file("weights", weights, (".pth", ".pt", ".safetensors"))
            net = Lite0(file, self._pixels.size, logits, left_out)
            self._run = net.to(self._device).to(memory_format=torch.channels_last)
            self.length = self._measured()
        else:
            path = own_file("model", model, SUFFIXES)
            self._run = own_network(path, self._device)
            self.length = self._tried(path)

    @property
    def frame_size(self) -> int:
        """Longest side (pixels) at which a frame still has what the network looks at.

        The square that is cut out of it is no smaller than what the network gets, up to frames
        that are _SHAPE_MAX times as long as wide.
        """
        return math.ceil(_SHAPE_MAX * self._pixels.size / self._pixels.crop)

    def _tried(self, path: Path) -> int:
        try:
            return self._measured()
        except Exception as error:
            shape = f"float32 ({self._batch}, 3, {self._pixels.size}, {self._pixels.size})"
            why = f"it fails on {shape}: {one_line(error)}"
            remedy = "write the batch and the size that it takes as options batch and size"
            raise wrong_option("model", str(path), why, remedy) from error

    def _measured(self) -> int:
        """Numbers in a row, from a grey frame."""
        return int(self.rows([np.full((8, 8, 3), 127, np.uint8)]).shape[1])

    def rows(self, frames: Sequence[Frame]) -> NDArray[np.float32]:
        """(n, d) for n frames, n at least 1; a map (n, d, h, w) is averaged over its places."""
        found = []
        with torch.inference_mode(), _full_precision(self._device):
            for first in range(0, len(frames), self._batch):
                some = frames[first : first + self._batch]
                found.append(self._forward(some)[: len(some)])
            return torch.cat(found).float().cpu().numpy()

    def _forward(self, frames: Sequence[Frame]) -> torch.Tensor:
        pictures = self._pixels.tensor(frames, self._device)
        if lacking := self._batch - len(frames):
            pad = pictures.new_zeros((lacking, *pictures.shape[1:]))
            pictures = torch.cat([pictures, pad]).contiguous(memory_format=torch.channels_last)
        out = self._run(pictures)
        if not isinstance(out, torch.Tensor) or out.ndim not in (2, 4) or len(out) != self._batch:
            shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise TypeError(f"gives {shape} for {self._batch} frames, not one row for each")
        return out if out.ndim == 2 else out.mean(dim=(2, 3))

    def windows(self, batch: Sequence[Clip], frames_max: int) -> list[NDArray[np.float32]]:
        """For each window the rows of at most ``frames_max`` of its frames, evenly spread."""
        shown = [evenly_spread(shown_frames(clip), frames_max) for clip in batch]
        frames = [frame for frames in shown for frame in frames]
        rows = self.rows(frames) if frames else np.zeros((0, self.length), np.float32)
        ends = np.cumsum([len(each) for each in shown])
        return [rows[end - len(each) : end] for each, end in zip(shown, ends, strict=True)]


def shown_frames(clip: Clip) -> list[Frame]:
    """The window's own frames that have any pixels."""
    return [frame for frame in window_frames(clip) if frame.size]


def timed_frames(clip: Clip) -> list[tuple[int, Frame]]:
    """``shown_frames``, each with the event time at which it begins (us)."""
    frames = list(clip.frames or ())
    times_us = [clip.start_us] * len(frames) if clip.times_us is None else clip.times_us
    kept: list[Any] = window_frames(replace(clip, frames=range(len(frames))))  # type: ignore[arg-type]
    return [(times_us[place], frames[place]) for place in kept if frames[place].size]


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions in float32: TF32, cuDNN's default, keeps three digits of the answer."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _pixels(given: Pixels, size: Any, crop: Any, mean: Any, std: Any) -> Pixels:
    changed: dict[str, Any] = {}
    if size is not None:
        changed["size"] = whole("size", size, 32, 2048, "pixels")
    if crop is not None:
        changed["crop"] = real("crop", crop, 0.01, 1.0)
    if mean is not None:
        changed["mean"] = three("mean", mean, -1.0, 1.0)
    if std is not None:
        changed["std"] = three("std", std, 1e-3, 1.0)
    return replace(given, **changed)
