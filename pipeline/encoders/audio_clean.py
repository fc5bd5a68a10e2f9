"""audio_clean: sound without rumble and with less noise, at one loudness; audio to audio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.encoders.base import Audio, Clip
from pipeline.encoders.options import real, whole, wrong_option
from pipeline.encoders.over_time import samples_start_us, window_samples
from pipeline.encoders.to_device import to_device
from pipeline.features.gate import Frames, Gate, high_pass, high_pass_half
from pipeline.features.loudness import integrated_lufs
from pipeline.media.clips import nearest_sample
from pipeline.spec.catalog import AUDIO_RATE
from pipeline.spec.media_type import RATE_MAX

_PEAK_DB = -1.0  # what the gain may raise the loudest sample of its stretch to
_STRETCH_S = 0.5  # a shorter context says too little: then the whole clip is measured


class AudioClean:
    """A window's sound after a high-pass, a spectral gate and a gain; as many samples, same rate.

    The gain brings the loudness (ITU-R BS.1770, of what comes out of the high-pass) to
    ``level_db`` LUFS, but raises it by ``gain_db_max`` at most, takes no peak over -1 dBFS, and
    leaves silence alone. Samples stay within [-1, 1].

    Gain and noise are measured at the window's two edges, each over the stretch from
    ``context.before`` in front of the edge to ``context.after`` behind it, and go from one to the
    other in dB. Neighbouring windows see the same stretch at the edge that they share: so with a
    context, windows in a row (hop = size) join without a step, and nothing is remembered. Where
    the context is under half a second the whole clip is measured: then the gain is constant in a
    window, and may jump between two.
    """

    takes = "audio"
    gives = "audio"

    def __init__(
        self,
        device: torch.device,
        *,
        rate: int = AUDIO_RATE,
        highpass_hz: float | None = 80.0,
        level_db: float | None = -23.0,
        gain_db_max: float = 20.0,
        gate_db: float = 6.0,
        reduce_db: float = 12.0,
    ) -> None:
        self._device = torch.device(device)
        self.rate = whole("rate", rate, 1000, RATE_MAX, "Hz")
        self._cut_hz = _or_none("highpass_hz", highpass_hz, 10, self.rate / 4, "Hz")
        self._level_db = _or_none("level_db", level_db, -60, 0, "LUFS")
        self._gain_db_max = real("gain_db_max", gain_db_max, 0, 60, "dB")
        self._gate = Gate(
            self.rate,
            gate_db=real("gate_db", gate_db, -20, 40, "dB"),
            reduce_db=real("reduce_db", reduce_db, 0, 80, "dB"),
        )

    def encode(self, batch: Sequence[Clip]) -> list[Audio]:
        with torch.inference_mode():
            return [Audio(self._clean(clip), self.rate) for clip in batch]

    def _clean(self, clip: Clip) -> NDArray[np.float32]:
        window = window_samples(clip, self.rate)
        count = len(window)
        if clip.samples is None or not window.any():
            return np.zeros(count, np.float32)
        begin_us = samples_start_us(clip)
        start = max(0, nearest_sample(clip.start_us - begin_us, self.rate))
        end = start + count
        line = to_device(np.array(clip.samples, np.float32), self._device).double()
        if self._cut_hz is not None:
            line = high_pass(line, self.rate, self._cut_hz)
        edges = self._stretches(start, end, len(clip.samples))
        first = begin_us * self.rate // 1_000_000
        cleaned = self._gated(line, first, start, end, edges)
        cleaned = (cleaned * self._gain(line, edges, count)).clamp_(-1.0, 1.0)
        result: NDArray[np.float32] = cleaned.to(torch.float32).cpu().numpy()
        return result

    def _stretches(self, start: int, end: int, count: int) -> tuple[tuple[int, int], ...]:
        """What is measured for each edge, in samples of the clip.

        Without the ends of the clip, which a neighbour that reaches further hears otherwise.
        """
        margin = self._gate.reach
        margin += high_pass_half(self.rate, self._cut_hz) if self._cut_hz is not None else 0
        before, after = start - margin, count - end - margin
        if before + after < _STRETCH_S * self.rate:
            return ((0, count), (0, count))
        return ((start - before, start + after), (end - before, end + after))

    def _gated(
        self,
        line: torch.Tensor,
        first: int,
        start: int,
        end: int,
        edges: tuple[tuple[int, int], ...],
    ) -> torch.Tensor:
        if self._gate.reduce_db == 0:
            return line[start:end]
        frames = Frames(line, first, self._gate)
        noise = [frames.noise(*edge) for edge in edges]
        known = next((each for each in noise if each is not None), None)
        if known is None:
            return line[start:end]
        at_start, at_end = (known if each is None else each for each in noise)
        return frames.gated(start, end, at_start, at_end)

    def _gain(
        self, line: torch.Tensor, edges: tuple[tuple[int, int], ...], count: int
    ) -> torch.Tensor:
        """A ratio for each sample of the window."""
        gains = [self._gain_db(line[low:high]) for low, high in edges]
        known = next((each for each in gains if each is not None), 0.0)
        at_start, at_end = (known if each is None else each for each in gains)
        places = (torch.arange(count, dtype=torch.float64, device=line.device) + 0.5) / count
        return torch.pow(10.0, (at_start + places * (at_end - at_start)) / 20)

    def _gain_db(self, stretch: torch.Tensor) -> float | None:
        """The gain that a stretch asks for; None where there is nothing to be heard in it."""
        if self._level_db is None:
            return 0.0
        lufs = integrated_lufs(stretch, self.rate)
        if lufs is None:
            return None
        room_db = _PEAK_DB - 20 * math.log10(float(stretch.abs().max()))
        return min(self._level_db - lufs, self._gain_db_max, max(room_db, 0.0))


def _or_none(name: str, value: Any, least: float, most: float, unit: str) -> float | None:
    """A number, or None (``null`` in the file), which leaves this step out."""
    if value is None:
        return None
    if isinstance(value, str):
        raise wrong_option(name, value, "is no number", f"write a number of {unit}, or null")
    return real(name, value, least, most, unit)
