"""Networks saved by torch.export, in a process of their own: run by test_models_image_own.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from documents import ROOT, block_with
from model_media import clip_of, photo

from pipeline.encoders.loading import load_encoder
from pipeline.encoders.models.image_pixels import Pixels
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")
SEEN = {"size": 64, "crop": 1.0, "mean": 0.5, "std": [0.5, 0.5, 0.25]}
PIXELS = Pixels(64, 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.25))


def small_network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 10),
    ).eval()


def check_own(net: torch.nn.Module, path: Path) -> None:
    batch = torch.export.Dim("batch")
    pictures = torch.zeros(2, 3, 64, 64)
    torch.export.save(torch.export.export(net, (pictures,), dynamic_shapes=({0: batch},)), path)
    frames = [photo("china.jpg"), photo("flower.jpg")]
    with torch.inference_mode():
        expected = net(PIXELS.tensor(frames, CPU)).numpy()
    for size in (1, 3):
        encoder = load_encoder("image_embedding", {"model": str(path), "batch": size, **SEEN}, CPU)
        found = encoder.encode([clip_of(frame) for frame in frames])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert encoder.length == 10


def check_another_size(path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"it fails on float32 \(1, 3, 65, 65\)") as found:
        load_encoder("image_embedding", {"model": str(path), "size": 65}, CPU)
    assert "options batch and size" in str(found.value)


def check_documents(folder: Path) -> None:
    exec(block_with(ROOT / "docs" / "MODELS.md", "torch.export.save("), {})
    options = {"model": str(folder / "net.pt2"), "size": 64, "mean": 0.5, "std": 0.5}
    [vector] = load_encoder("image_embedding", options, CPU).encode([clip_of(photo("china.jpg"))])
    assert vector.shape == (10,)
    assert vector.any()


if __name__ == "__main__":
    own = Path("own.pt2").resolve()
    check_own(small_network(), own)
    check_another_size(own)
    check_documents(Path.cwd())
    print("all agree")
