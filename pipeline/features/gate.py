"""High-pass and spectral gate: what the ear would call the rumble and the hiss, taken out.

Both are about one signal, float64 and clip by clip, so no clip's samples hang on its batch mates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from pipeline.features.loudness import fast_size

_HIGH_PASS_WIDTH = 3.3  # main lobe of a Hamming window: transition in Hz times its length in s
_FRAME_S = 0.032
_OVERLAP = 4
_SMOOTH_FRAMES, _SMOOTH_BINS = 5, 3
_NOTHING = 1e-14  # mean square of a frame of rounding errors; one 16-bit step is 1e-9


def high_pass_half(rate: int, cut_hz: float) -> int:
    """Samples on each side that the high-pass looks at."""
    return math.ceil(_HIGH_PASS_WIDTH * rate / cut_hz / 2)


@lru_cache(maxsize=16)
def _high_pass_response(rate: int, cut_hz: float, size: int, device: torch.device) -> torch.Tensor:
    """Of a windowed sinc, odd and symmetric: -6 dB at ``cut_hz``, under -40 dB at half of it."""
    half = high_pass_half(rate, cut_hz)
    times = torch.arange(-half, half + 1, dtype=torch.float64)
    low = torch.sinc(2 * cut_hz / rate * times) * torch.hamming_window(
        2 * half + 1, periodic=False, dtype=torch.float64
    )
    taps = -low / low.sum()
    taps[half] += 1.0
    response: torch.Tensor = torch.fft.rfft(taps, size)
    return response.to(device)


def high_pass(samples: torch.Tensor, rate: int, cut_hz: float) -> torch.Tensor:
    """The samples (n,) without what is under ``cut_hz``, float64, of the same length.

    Zero phase: nothing moves in time, so words and pictures stay together, and what a sample
    becomes hangs on ``high_pass_half`` samples on each side and on no other: a recursive filter
    would remember where a clip began. Beyond its ends a clip is taken to be mirrored through its
    last sample, so an offset makes no thump there.
    """
    n, half = samples.numel(), high_pass_half(rate, cut_hz)
    if n == 0:
        return samples.double()
    line = samples.double()
    padded = torch.cat([_mirrored(line.flip(0), half).flip(0), line, _mirrored(line, half)])
    # what wraps round falls on the first 2 · half samples, which are not wanted
    size = fast_size(padded.numel())
    spectrum = torch.fft.rfft(padded, size)
    spectrum *= _high_pass_response(rate, cut_hz, size, samples.device)
    passed: torch.Tensor = torch.fft.irfft(spectrum, size)[2 * half : 2 * half + n]
    return passed


def _mirrored(line: torch.Tensor, count: int) -> torch.Tensor:
    """``count`` samples to follow the line: its odd mirror image, then its last sample again."""
    mirror = 2 * line[-1] - line[:-1].flip(0)[:count]
    return torch.cat([mirror, line[-1:].expand(count - mirror.numel())])


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate does. All in dB.

    gate_db: how far over the noise a bin is halfway open. reduce_db: how far it is closed at most.
    quantile: of a bin's smoothed power over time, which is taken to be its noise.
    """

    rate: int
    gate_db: float
    reduce_db: float
    quantile: float = 0.15

    @property
    def n_fft(self) -> int:
        """Samples of a frame: the power of two nearest to 32 ms."""
        return max(16, int(2 ** round(math.log2(_FRAME_S * self.rate))))

    @property
    def hop(self) -> int:
        return self.n_fft // _OVERLAP

    @property
    def reach(self) -> int:
        """Samples on each side that a sample's smoothed power and overlapping frames hang on."""
        return self.n_fft + (_SMOOTH_FRAMES // 2) * self.hop


class Frames:
    """A signal's overlapping frames on a grid of its stream, and what is done to them.

    ``first``: the number of the signal's first sample in its stream. Frames begin at multiples of
    the hop counted in the stream, so two clips that share samples share frames.
    """

    def __init__(self, samples: torch.Tensor, first: int, gate: Gate) -> None:
        self._gate = gate
        self._n = samples.numel()
        n_fft, hop = gate.n_fft, gate.hop
        self._lead = n_fft - hop + first % hop  # zeros before the signal, so each sample is in 4
        count = -(-(self._lead + self._n) // hop)
        tail = (count - 1) * hop + n_fft - self._lead - self._n
        framed = F.pad(samples.double(), (self._lead, tail)).unfold(0, n_fft, hop)
        window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64, device=samples.device)
        self._window = window.sqrt()
        self._heard = framed.square().mean(dim=1) > _NOTHING
        self._spectrum = torch.fft.rfft(framed * self._window)
        parts = torch.view_as_real(self._spectrum)
        power = parts[..., 0].square() + parts[..., 1].square()
        self._power = _smoothed(power)

    def noise(self, start: int, end: int) -> torch.Tensor | None:
        """The noise power of each bin, (bins,), from the frames inside samples ``[start, end)``.

        A low quantile over time: a voice leaves every frequency alone for some of it. Frames of
        nothing (samples that are not there are zeros) do not count; None where no other is.
        """
        hop, n_fft = self._gate.hop, self._gate.n_fft
        low = -(-(start + self._lead) // hop)
        high = (end + self._lead - n_fft) // hop + 1
        inside = slice(max(0, low), max(0, high))
        found = self._power[inside][self._heard[inside]]
        if not len(found):
            return None
        place = round(self._gate.quantile * (len(found) - 1)) + 1
        return found.kthvalue(place, dim=0).values

    def gated(
        self, start: int, end: int, at_start: torch.Tensor, at_end: torch.Tensor
    ) -> torch.Tensor:
        """Samples ``[start, end)`` with their noise held down, float64.

        The noise goes from ``at_start`` to ``at_end`` along that way, in dB. A bin of smoothed
        power P over noise N is held to ``r + (1 - r) P / (P + g N)`` of its size, with r and g
        ``reduce_db`` and ``gate_db`` as ratios (a Wiener gain with a floor).
        """
        hop, n_fft = self._gate.hop, self._gate.n_fft
        low = max(0, (start + self._lead - n_fft) // hop + 1)
        high = (end + self._lead - 1) // hop + 1
        places = torch.arange(low, high, dtype=torch.float64, device=self._power.device)
        centres = places * hop + n_fft / 2 - self._lead
        share = ((centres - start) / (end - start)).clamp(0, 1)[:, None]
        tiny = torch.finfo(torch.float64).tiny
        first, last = at_start.clamp(min=tiny).log(), at_end.clamp(min=tiny).log()
        noise = torch.exp(first + share * (last - first)) * 10 ** (self._gate.gate_db / 10)
        power = self._power[low:high].clamp(min=tiny)
        floor = 10 ** (-self._gate.reduce_db / 20)
        mask = floor + (1 - floor) * power / (power + noise)
        pieces = torch.fft.irfft(self._spectrum[low:high] * mask, n_fft) * self._window
        line = _overlapped(pieces, hop)
        begin = start + self._lead - low * hop
        return line[begin : begin + end - start] / (_OVERLAP / 2)


def _smoothed(power: torch.Tensor) -> torch.Tensor:
    """The mean of each bin (frames, bins) and its neighbours in time and frequency."""
    size = (_SMOOTH_FRAMES, _SMOOTH_BINS)
    return F.avg_pool2d(
        power[None, None], size, 1, (size[0] // 2, size[1] // 2), count_include_pad=False
    )[0, 0]


def _overlapped(pieces: torch.Tensor, hop: int) -> torch.Tensor:
    """Frames (count, n_fft) added up at their places, by shifted sums: always in one order."""
    count = pieces.size(0)
    parts = pieces.reshape(count, _OVERLAP, hop)
    line = torch.zeros((count + _OVERLAP - 1, hop), dtype=pieces.dtype, device=pieces.device)
    for part in range(_OVERLAP):
        line[part : part + count] += parts[:, part]
    return line.reshape(-1)
