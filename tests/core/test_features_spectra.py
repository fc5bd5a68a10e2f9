"""Spectra by lanes, against numpy's, and against the same features by torch's operations."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.features import bundle as bundle_module
from pipeline.features import spectra as spectra_module
from pipeline.features.bundle import NAMES, FeatureConfig, bundle
from pipeline.features.framing import Framing
from pipeline.features.lanes import LANES
from pipeline.features.mel import MelConfig, mel_bands, mel_filters
from pipeline.features.spectra import spectra, tables

CPU = torch.device("cpu")


def is_made(n_fft: int) -> bool:
    half = n_fft // 2
    for factor in (2, 3, 5):
        while half and half % factor == 0:
            half //= factor
    return n_fft % 2 == 0 and n_fft >= LANES and half == 1


MADE = [n_fft for n_fft in range(LANES, 1_300) if is_made(n_fft)] + [2_048, 4_096, 6_000]


def noise(seed: int, count: int):
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def both(signal, config: MelConfig, frames: int):
    """The powers and the levels of that many frames."""
    made = tables(config, CPU)
    assert made is not None
    powers = np.full((frames, config.bins), np.nan, np.float32)
    levels = np.full((frames, config.n_mels), np.nan, np.float32)
    spectra(signal, config.hop_length, made, mel_bands(config), powers, levels)
    return powers, levels


def reference(signal, config: MelConfig, frames: int):
    """The powers in float64."""
    made = tables(config, CPU)
    assert made is not None
    starts = np.arange(frames) * config.hop_length
    framed = np.stack([signal[start : start + config.n_fft] for start in starts])
    return np.abs(np.fft.rfft(framed.astype(np.float64) * made.window)) ** 2


@pytest.mark.parametrize("n_fft", range(1, 200))
def test_which_frames_are_made(n_fft: int):
    assert (tables(Framing(n_fft=n_fft), CPU) is not None) == is_made(n_fft)
    assert tables(Framing(n_fft=n_fft), torch.device("cuda")) is None


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(MADE),
    st.integers(1, 700),
    st.sampled_from(["hann", "hamming", "blackman", "bartlett"]),
    st.sampled_from([1e-6, 1.0, 3e4]),
    st.integers(0, 99),
)
def test_powers_are_numpys(n_fft: int, hop: int, window: str, level: float, seed: int):
    """The error of an amplitude is some 1e-16 of the frame's largest: float32 hides all others."""
    config = MelConfig(16_000, n_fft, hop, 8, window=window)
    signal = noise(seed, (LANES * 2 - 1) * hop + n_fft) * np.float32(level)
    powers, _ = both(signal, config, LANES * 2)
    exact = reference(signal, config, LANES * 2)
    most = exact.max(axis=1, keepdims=True)
    allowed = 6e-8 * exact + 1e-14 * np.sqrt(exact * most) + 1e-28 * most
    assert (np.abs(powers - exact) <= allowed).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(MADE), st.integers(1, 90), st.integers(-12, 12), st.integers(0, 99))
def test_levels_are_ten_times_the_logarithm(n_fft: int, n_mels: int, decade: int, seed: int):
    """From far below the floor to far above full scale; a band without bins is at the floor."""
    config = MelConfig(16_000, n_fft, 160, n_mels)
    signal = noise(seed, (LANES - 1) * 160 + n_fft) * np.float32(10.0**decade)
    _, levels = both(signal, config, LANES)
    bands = reference(signal, config, LANES) @ mel_filters(config).T.astype(np.float64)
    expected = 10 * np.log10(np.maximum(bands, 1e-10))
    np.testing.assert_allclose(levels, expected, rtol=1e-7, atol=2e-8)


@pytest.mark.parametrize("lane", range(LANES))
@pytest.mark.parametrize("mate", [0.0, 3e38, np.inf, np.nan])
@pytest.mark.parametrize("n_fft", [400, 1_200, 50])
def test_a_lane_knows_nothing_of_its_neighbours(n_fft: int, mate: float, lane: int):
    config = MelConfig(16_000, n_fft, n_fft, 13)
    own = noise(5, n_fft)
    alone = both(np.tile(own, LANES), config, LANES)
    signal = np.full((LANES, n_fft), mate, np.float32)
    signal[lane] = own
    together = both(signal.reshape(-1), config, LANES)
    for ours, theirs in zip(together, alone, strict=True):
        assert ours[lane].tobytes() == theirs[0].tobytes()
        if not np.isfinite(mate):
            assert not np.isfinite(np.delete(ours, lane, axis=0)).any()


@pytest.mark.parametrize(
    "config", [FeatureConfig(), FeatureConfig(22_050, 2048, 512, 128), FeatureConfig(48_000, 1200)]
)
def test_torchs_operations_give_the_same_and_the_same_bits_in_every_batch(monkeypatch, config):
    """What a GPU runs, and a CPU where frames have another length: here at these lengths too."""
    clips = [noise(seed, 3_000 + 777 * seed) * np.float32(0.1) for seed in range(5)]
    by_lanes = bundle(clips, NAMES, config)
    monkeypatch.setattr(bundle_module, "tables", lambda *_: None)
    together = bundle(clips, NAMES, config)
    for rows, samples, lanes in zip(together, clips, by_lanes, strict=True):
        assert torch.equal(rows, bundle([samples], NAMES, config)[0])
        levels = slice(0, config.n_mels)
        assert (rows[:, levels] - lanes[:, levels]).abs().max() < 1e-4
    for tile in (64, 8_192):
        monkeypatch.setattr(bundle_module, "tile_frames", lambda *_, tile=tile: tile)
        for rows, again in zip(together, bundle(clips, NAMES, config), strict=True):
            assert torch.equal(rows, again)


def test_no_folder_to_keep_machine_code_in(monkeypatch):
    """A read-only image: numba refuses to keep it, so it is made in memory."""
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "IPythonCacheLocator")
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(spectra_module._spectra)
    monkeypatch.setattr(spectra_module, "_fill", spectra_module._compiled(spectra_module._spectra))
    config = MelConfig()
    signal = noise(1, (LANES - 1) * config.hop_length + config.n_fft)
    in_memory = both(signal, config, LANES)
    monkeypatch.undo()
    for ours, kept in zip(in_memory, both(signal, config, LANES), strict=True):
        assert ours.tobytes() == kept.tobytes()
