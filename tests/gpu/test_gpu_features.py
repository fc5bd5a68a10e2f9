"""Features on a CUDA device: the CPU's numbers, and the same bits in every batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.encoders.audio import LogMel, Mfcc
from pipeline.encoders.base import Clip
from pipeline.features.log_mel import log_mel
from pipeline.features.mel import MelConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def noise(seed: int, count: int):
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


@pytest.fixture
def tf32_allowed():
    """Some other encoder of the process has let products be inexact."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("tf32_allowed")
@pytest.mark.parametrize("config", [MelConfig(), MelConfig(16_000, 2048, 512, 128)], ids=str)
def test_log_mel_is_the_cpus_and_its_own_in_every_batch(config: MelConfig):
    clips = [noise(seed, 16_000 - 97 * seed) for seed in range(150)]
    together = log_mel(clips, config, "cuda")
    for place in range(0, 150, 7):
        here = together[place].cpu()
        assert torch.equal(here, log_mel([clips[place]], config, "cuda")[0].cpu())
        assert (here - log_mel([clips[place]], config)[0]).abs().max() < 1e-3


@pytest.mark.usefixtures("tf32_allowed")
@pytest.mark.parametrize("cls", [LogMel, Mfcc])
def test_the_encoders_are_the_cpus_and_their_own_in_every_batch(cls):
    clips = [Clip("s", 0, 1_000_000, noise(seed, 16_000), 16_000, 0) for seed in range(20)]
    on_gpu, on_cpu = cls(torch.device("cuda")), cls(torch.device("cpu"))
    together = on_gpu.encode(clips)
    for vector, clip, expected in zip(together, clips, on_cpu.encode(clips), strict=True):
        assert vector.tobytes() == on_gpu.encode([clip])[0].tobytes()
        np.testing.assert_allclose(vector, expected, atol=1e-3)
