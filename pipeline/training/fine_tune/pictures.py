"""``image_embedding``, parted before its last blocks: what is frozen, and what is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.encoders.base import Clip, Vector
from pipeline.encoders.image import FRAMES_MAX
from pipeline.encoders.models.checkpoint import SUFFIXES
from pipeline.encoders.models.choices import own_file
from pipeline.encoders.models.image_network import ImageNetwork
from pipeline.encoders.models.lite0 import LENGTH, PIXELS, Lite0
from pipeline.encoders.options import whole, wrong_option
from pipeline.training.fine_tune.blocks import Blocks, demand_blocks

BLOCKS_MAX = 15  # all but the first
WEIGHTS = "weights.safetensors"


class Before:
    """What the last ``blocks`` would read of each frame, side by side, and how many frames.

    Stands in the stage's place while a set is made: float32, shape (max_frames · d + 1,).
    """

    takes = ("image", "video")
    gives = "vector"

    def __init__(
        self, device: torch.device, *, blocks: int, max_frames: int = FRAMES_MAX, **options: Any
    ) -> None:
        self.frames_max = whole("max_frames", max_frames, 1, 100_000)
        self._network = ImageNetwork(device, logits=False, left_out=blocks, **options)
        self.frame_size = self._network.frame_size
        self._each = self._network.length
        self.length = self.frames_max * self._each + 1

    def encode(self, batch: Sequence[Clip]) -> list[Vector]:
        found = []
        for rows in self._network.windows(batch, self.frames_max):
            vector = np.zeros(self.length, np.float32)
            vector[: rows.size] = rows.ravel()
            vector[-1] = len(rows)
            found.append(vector)
        return found


class LastBlocks(Blocks):
    """The last blocks of EfficientNet-Lite0: from what ``Before`` gives, (n, d), to (n, 1280)."""

    length = LENGTH
    encoder = "pipeline.training.fine_tune.pictures:Before"

    def __init__(self, options: Mapping[str, Any], blocks: int) -> None:
        super().__init__(options, blocks)
        if options.get("model") is not None:
            why = "its computation is in a file that cannot be trained further"
            remedy = "take it out, or train it where it was made"
            raise wrong_option("model", options["model"], why, remedy)
        demand_blocks(blocks, BLOCKS_MAX, "EfficientNet-Lite0")
        size = int(options.get("size") or PIXELS.size)
        given = options.get("weights")
        file = given and own_file("weights", given, SUFFIXES)
        self._net = Lite0(file, size, logits=False)
        self._blocks = blocks
        with torch.inference_mode():
            self._shape = self._net.maps(torch.zeros(1, 3, size, size), blocks).shape[1:]
        for parameter in self._net.parameters():
            parameter.requires_grad_(False)
        net = self._net.net
        for part in (*net._blocks[len(net._blocks) - blocks :], net._conv_head, net._bn1):
            for parameter in part.parameters():
                parameter.requires_grad_(True)

    def forward(self, rows: Tensor) -> Tensor:
        """Frames' vectors, averaged over the frames of a window; zeros where it has none."""
        each = math.prod(self._shape)
        counts = rows[:, -1].long()
        maps = rows[:, :-1].reshape(len(rows), -1, each)
        there = torch.arange(maps.shape[1], device=rows.device) < counts[:, None]
        vectors = self._net.last(maps[there].reshape(-1, *self._shape), self._blocks)
        sums = torch.zeros(len(rows), vectors.shape[1], device=rows.device)
        sums = sums.index_add(0, there.nonzero()[:, 0], vectors)
        return sums / counts.clamp_min(1)[:, None]

    def save(self, folder: Path) -> tuple[str, Path]:
        from safetensors.torch import save

        tensors = {name: each.contiguous() for name, each in self._net.net.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save(tensors))
        return "weights", folder / WEIGHTS
