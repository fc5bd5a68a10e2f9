"""Loudness, the high-pass and the gate: the standard's own figures, and what each leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.features.gate import Frames, Gate, high_pass, high_pass_half
from pipeline.features.loudness import integrated_lufs, k_weighted, weighting_filters


def sine(hertz: float, seconds: float, rate: int, amplitude: float = 1.0) -> torch.Tensor:
    times = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return amplitude * torch.sin(2 * torch.pi * hertz * times)


def noise(seed: int, count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(count))


# -- ITU-R BS.1770-4 ------------------------------------------------------------------------


def test_the_filters_are_the_standards_at_48_khz():
    """Tables 1 and 2 of the recommendation."""
    (shelf_b, shelf_a), (pass_b, pass_a) = weighting_filters(48_000)
    table = pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-12)
    assert shelf_b == table
    assert shelf_a == pytest.approx([1.0, -1.69065929318241, 0.73248077421585], abs=1e-12)
    assert pass_b == [1.0, -2.0, 1.0]
    assert pass_a == pytest.approx([1.0, -1.99004745483398, 0.99007225036621], abs=1e-12)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_a_full_scale_sine_of_997_hz_is_minus_3_01(rate: int):
    assert integrated_lufs(sine(997, 3, rate), rate) == pytest.approx(-3.01, abs=0.05)
    assert integrated_lufs(sine(997, 3, rate, 0.1), rate) == pytest.approx(-23.01, abs=0.05)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_the_weighting_is_that_of_the_recursive_filters(rate: int):
    line = noise(1, rate).numpy()
    expected = line
    for b, a in weighting_filters(rate):
        expected = scipy.signal.lfilter(b, a, expected)
    np.testing.assert_allclose(k_weighted(torch.from_numpy(line), rate), expected, atol=1e-9)


def test_pauses_and_far_quieter_parts_do_not_count():
    """As in EBU Tech 3341, case 3: 36 dB of quiet around what is heard change nothing."""
    heard, quiet = sine(1000, 20, 16_000, 10 ** (-23 / 20)), sine(1000, 5, 16_000, 10 ** (-36 / 20))
    alone = integrated_lufs(heard, 16_000)
    assert integrated_lufs(torch.cat([quiet, heard, quiet]), 16_000) == pytest.approx(
        alone, abs=0.1
    )
    silence = torch.zeros(16_000 * 30, dtype=torch.float64)
    assert integrated_lufs(torch.cat([heard, silence]), 16_000) == pytest.approx(alone, abs=0.1)


@pytest.mark.parametrize("line", [torch.zeros(0), torch.zeros(16_000), sine(1000, 1, 16_000, 1e-4)])
def test_nothing_to_be_heard_has_no_loudness(line: torch.Tensor):
    assert integrated_lufs(line, 16_000) is None


# -- high-pass ------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "cut_hz"), [(16_000, 80.0), (8_000, 200.0), (44_100, 40.0)])
def test_the_high_pass_passes_and_stops_and_moves_nothing(rate: int, cut_hz: float):
    middle = slice(rate, 2 * rate)
    passed = sine(3 * cut_hz, 3, rate)
    torch.testing.assert_close(high_pass(passed, rate, cut_hz)[middle], passed[middle], atol=0.01,
                               rtol=0)  # fmt: skip
    stopped = high_pass(sine(cut_hz / 3, 3, rate), rate, cut_hz)[middle]
    assert stopped.abs().max() < 0.01
    halved = high_pass(sine(cut_hz, 3, rate), rate, cut_hz)[middle]
    assert halved.abs().max() == pytest.approx(0.5, abs=0.02)


def test_an_offset_makes_no_thump_at_the_ends():
    line = torch.full((5_000,), 0.7)
    assert high_pass(line, 16_000, 80.0).abs().max() < 1e-9


@settings(deadline=None)
@given(st.integers(0, 900), st.integers(0, 2**32 - 1))
def test_a_sample_hangs_on_its_neighbours_alone(count: int, seed: int):
    """Any part of a line with half a filter around it gives what the whole line gives there."""
    rate, cut_hz = 16_000, 400.0
    half = high_pass_half(rate, cut_hz)
    whole = noise(seed, 2 * half + count)
    part = whole[: half + count]
    found, expected = high_pass(part, rate, cut_hz), high_pass(whole, rate, cut_hz)
    assert len(found) == len(part)
    torch.testing.assert_close(found[:count], expected[:count], atol=1e-9, rtol=0)


# -- gate -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 3_000), st.integers(0, 10_000), st.integers(0, 2**32 - 1), st.data())
def test_without_noise_the_frames_add_up_to_the_signal(count: int, first: int, seed: int, data):
    gate = Gate(8_000, gate_db=6, reduce_db=12)
    line = noise(seed, count)
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    nothing = torch.zeros(gate.n_fft // 2 + 1, dtype=torch.float64)
    kept = Frames(line, first, gate).gated(start, end, nothing, nothing)
    torch.testing.assert_close(kept, line[start:end], atol=1e-9, rtol=0)


def test_what_is_all_noise_is_held_down_to_the_floor():
    gate = Gate(16_000, gate_db=30, reduce_db=20)
    line = noise(3, 48_000)
    frames = Frames(line, 0, gate)
    level = frames.noise(0, len(line))
    kept = frames.gated(16_000, 32_000, level, level)
    assert 20 * torch.log10(kept.std()) == pytest.approx(-20, abs=0.5)


def test_the_noise_is_that_of_the_pauses_and_samples_that_are_missing_do_not_count():
    gate = Gate(16_000, gate_db=6, reduce_db=12)
    line = 0.01 * noise(4, 64_000)
    level = Frames(line, 0, gate).noise(0, 64_000)
    line[16_000:48_000] += sine(1000, 2, 16_000)
    with_tone = Frames(line, 0, gate).noise(0, 64_000)
    assert 10 * torch.log10(with_tone.mean() / level.mean()).abs() < 4
    half_missing = torch.cat([torch.zeros(64_000, dtype=torch.float64), line])
    found = Frames(half_missing, 0, gate).noise(0, 128_000)
    torch.testing.assert_close(found, with_tone, rtol=0.3, atol=0)
    assert Frames(half_missing, 0, gate).noise(0, 50_000) is None


def test_clips_that_share_samples_share_frames():
    """Frames lie on the grid of the stream, so a noise measured from two clips is one number."""
    gate = Gate(16_000, gate_db=6, reduce_db=12)
    line = noise(5, 40_000)
    early = Frames(line[:30_000], 7, gate).noise(12_000, 25_000)
    late = Frames(line[9_001:], 7 + 9_001, gate).noise(2_999, 15_999)
    torch.testing.assert_close(early, late, rtol=1e-12, atol=0)
