"""Loudness as broadcasting measures it: ITU-R BS.1770-4, integrated, of one channel."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

SILENT_LUFS = -70.0  # the absolute gate: quieter blocks count as nothing
_RELATIVE_GATE_LU = 10.0
_BLOCK_S, _STEP_S = 0.4, 0.1
_OFFSET_LU = -0.691  # so that a full-scale sine of 997 Hz in one channel is -3.01 LUFS
_TAIL_S = 0.5  # after which the weighting's answer to anything is below 1e-20 of it

# The two filters of the standard are given as coefficients at 48 kHz; these are the analogue
# prototypes that yield them there to 1e-12, and at any other rate the same weighting (De Man,
# "Evaluation of Implementations of the EBU R128 Loudness Measurement", 2018; so do libebur128 and
# others). Hz, dB and quality.
_SHELF_HZ, _SHELF_DB, _SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
_HIGH_PASS_HZ, _HIGH_PASS_Q = 38.13547087602444, 0.5003270373238773
_SHELF_SLOPE = 0.4996667741545416


def weighting_filters(rate: int) -> tuple[tuple[list[float], list[float]], ...]:
    """The head's shelf and the high-pass at ``rate`` Hz, each as (b, a), three numbers each."""
    k = math.tan(math.pi * _SHELF_HZ / rate)
    high = 10 ** (_SHELF_DB / 20)
    band = high**_SHELF_SLOPE
    a0 = 1 + k / _SHELF_Q + k * k
    shelf_b = [
        (high + band * k / _SHELF_Q + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - band * k / _SHELF_Q + k * k) / a0,
    ]
    shelf_a = [1.0, 2 * (k * k - 1) / a0, (1 - k / _SHELF_Q + k * k) / a0]
    k = math.tan(math.pi * _HIGH_PASS_HZ / rate)
    a0 = 1 + k / _HIGH_PASS_Q + k * k
    pass_a = [1.0, 2 * (k * k - 1) / a0, (1 - k / _HIGH_PASS_Q + k * k) / a0]
    return (shelf_b, shelf_a), ([1.0, -2.0, 1.0], pass_a)


def k_weighted(samples: torch.Tensor, rate: int) -> torch.Tensor:
    """The samples (n,) through both filters from rest, float64.

    By their exact response on a spectrum with room for the tail, since a recursion of samples
    is slow in torch.
    """
    n = samples.numel()
    size = fast_size(n + int(_TAIL_S * rate))
    spectrum = torch.fft.rfft(samples.double(), size) * _response(rate, size, samples.device)
    weighted: torch.Tensor = torch.fft.irfft(spectrum, size)[:n]
    return weighted


@lru_cache(maxsize=16)
def _response(rate: int, size: int, device: torch.device) -> torch.Tensor:
    """Both filters' answer to each frequency of a spectrum of ``size`` samples."""
    angles = torch.arange(size // 2 + 1, dtype=torch.float64, device=device)
    late = torch.exp(-2j * math.pi / size * angles)  # one sample later
    both = torch.ones_like(late)
    for b, a in weighting_filters(rate):
        both *= (b[0] + late * (b[1] + late * b[2])) / (a[0] + late * (a[1] + late * a[2]))
    return both


def fast_size(least: int) -> int:
    """A length of spectrum that is quick to make: the next of 2, 3, 4, 6, 8, 12, 16, ..."""
    power = 1 << max(1, (least - 1).bit_length())
    return power * 3 // 4 if power * 3 // 4 >= least else power


def integrated_lufs(samples: torch.Tensor, rate: int) -> float | None:
    """Integrated loudness of mono samples (n,) in LUFS; None where no block passes the gates.

    Blocks of 400 ms every 100 ms (one shorter block where there is less); those under -70 LUFS
    are left out, then those more than 10 LU under the rest's loudness.
    """
    n = samples.numel()
    block, step = min(n, round(_BLOCK_S * rate)), max(1, round(_STEP_S * rate))
    if block == 0:
        return None
    squares = k_weighted(samples, rate).square_()
    powers = squares.unfold(0, block, step).mean(dim=1)
    for under in (SILENT_LUFS, None):
        gate = _power(under) if under is not None else _power(_lufs(powers) - _RELATIVE_GATE_LU)
        powers = powers[powers > gate]
        if not len(powers):
            return None
    return _lufs(powers)


def _lufs(powers: torch.Tensor) -> float:
    return _OFFSET_LU + 10 * math.log10(float(powers.mean()))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LU) / 10))
