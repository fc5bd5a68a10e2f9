"""Features on a CUDA device: the CPU's numbers, and the same bits in every batch."""

from __future__ import annotations

import pytest
import torch
from on_gpu import CPU, GPU, NEEDS_GPU, RATE, clips, noise

from pipeline.features.bundle import NAMES, FeatureConfig, bundle
from pipeline.features.delta import delta
from pipeline.features.gate import Frames, Gate, high_pass
from pipeline.features.log_mel import log_mel, mfcc
from pipeline.features.loudness import integrated_lufs, k_weighted
from pipeline.features.mel import MelConfig

pytestmark = [*NEEDS_GPU, pytest.mark.usefixtures("tf32_allowed")]

SHORT = FeatureConfig(RATE, 400, 160, 64)
LONG = FeatureConfig(RATE, 2048, 512, 128)
LIFTERED = FeatureConfig(RATE, 512, 128, 40, n_mfcc=13, lifter=22, center=False)
# What ``bundle`` promises of librosa's numbers holds between devices too: (absolute, relative).
WITHIN = {
    "log_mel": (1e-3, 0), "mfcc": (1e-3, 0), "mfcc_delta": (1e-3, 0), "mfcc_delta2": (1e-3, 0),
    "chroma": (1e-5, 0), "centroid": (1e-7 * RATE, 0), "bandwidth": (1e-7 * RATE, 0),
    "flatness": (1e-5, 0), "zero_crossing_rate": (0, 0), "rms": (0, 1e-6),
}  # fmt: skip


def signals(count: int) -> list:
    """Speech and noise of unequal lengths, silence, and nothing."""
    spoken = [clip.samples[: RATE - 97 * number] for number, clip in enumerate(clips(count))]
    return [*spoken, *(noise(seed, RATE + 31 * seed) for seed in range(count)), 0 * noise(0, RATE),
            noise(0, 0)]  # fmt: skip


@pytest.mark.parametrize("config", [SHORT, LONG, LIFTERED], ids=["short", "long", "liftered"])
@pytest.mark.parametrize("name", NAMES)
def test_a_feature_is_the_cpus(name: str, config: FeatureConfig):
    heard = signals(6)
    on_gpu = bundle(heard, (name,), config, GPU)
    for here, there in zip(on_gpu, bundle(heard, (name,), config, CPU), strict=True):
        assert here.device.type == GPU.type
        assert here.shape == there.shape
        here, there = here.cpu().double(), there.double()
        if name == "rolloff":
            # a sum that meets the threshold within a rounding may fall on the next bin
            assert ((here - there).abs() <= 1.001 * config.rate / config.n_fft).all()
            continue
        absolute, relative = WITHIN[name]
        near = there >= there.amax() - 80 if name == "log_mel" and len(there) else there == there
        assert ((here - there).abs()[near] <= absolute + relative * there.abs()[near]).all()


@pytest.mark.parametrize("config", [SHORT, LONG], ids=["short", "long"])
def test_a_clips_frames_have_the_same_bits_in_every_batch(config: FeatureConfig):
    heard = signals(60)
    together = bundle(heard, NAMES, config, GPU)
    for place in range(0, len(heard), 7):
        [alone] = bundle([heard[place]], NAMES, config, GPU)
        assert torch.equal(together[place], alone)


@pytest.mark.parametrize("config", [MelConfig(), MelConfig(RATE, 2048, 512, 128)], ids=str)
def test_more_clips_than_a_tile_holds_are_the_cpus(config: MelConfig):
    heard = [noise(seed, RATE - 97 * seed) for seed in range(150)]
    for function in (log_mel, mfcc):
        together = function(heard, config, GPU)
        for place in range(0, 150, 7):
            [expected] = function([heard[place]], config, CPU)
            assert (together[place].cpu() - expected).abs().max() < 1e-3


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_the_cpus(order: int):
    rows = [torch.from_numpy(noise(seed, 20 * seed)).reshape(-1, 20) for seed in (0, 5, 9, 300)]
    on_gpu = delta([each.to(GPU) for each in rows], order)
    for here, there in zip(on_gpu, delta(rows, order), strict=True):
        torch.testing.assert_close(here.cpu(), there, rtol=0, atol=1e-7)


def test_high_pass_weighting_and_loudness_are_the_cpus():
    for clip in clips(4, seconds=3):
        there = torch.from_numpy(clip.samples)
        here = there.to(GPU)
        for function in (lambda x: high_pass(x, RATE, 80.0), lambda x: k_weighted(x, RATE)):
            torch.testing.assert_close(function(here).cpu(), function(there), rtol=0, atol=1e-12)
        assert integrated_lufs(here, RATE) == pytest.approx(integrated_lufs(there, RATE), abs=1e-9)


def test_the_gate_is_the_cpus():
    gate = Gate(RATE, gate_db=6.0, reduce_db=12.0)
    samples = torch.from_numpy(clips(1, seconds=3)[0].samples)
    gated = []
    for device in (GPU, CPU):
        frames = Frames(samples.to(device), 0, gate)
        quiet = frames.noise(0, len(samples))
        gated.append(frames.gated(RATE, 2 * RATE, quiet, quiet).cpu())
    torch.testing.assert_close(*gated, rtol=0, atol=1e-10)
