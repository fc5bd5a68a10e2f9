"""The arithmetic of frame-wise features, tile by tile, each function one operation to Python."""

from __future__ import annotations

import torch

from pipeline.features.one_call import one_call

# By what they are made of: POWER needs the spectrum, MAGNITUDE also its root; rms only samples.
POWER = frozenset({"log_mel", "chroma", "flatness", "centroid", "bandwidth", "rolloff"})
MAGNITUDE = frozenset({"centroid", "bandwidth", "rolloff"})


@one_call
def fill_tiles(
    signal: torch.Tensor,
    window: torch.Tensor,
    hop: int,
    tile: int,
    ranges: list[list[int]],
    matrices: list[torch.Tensor],
    chroma: torch.Tensor,
    bins_hz: torch.Tensor,
    roll_percent: float,
    with_power: bool,
    with_magnitude: bool,
    into: dict[str, torch.Tensor],
) -> None:
    """Fills the arrays of ``into``, each (total, width), by the name of the feature.

    Block i of the mel bank, ``matrices[i]``, makes the bands ``[r[0], r[1])`` of the bins
    ``[r[2], r[3])``, with r = ``ranges[i]``; ``chroma`` may have more columns than are wanted.
    """
    n_fft = window.size(0)
    amin = 1e-10  # librosa.power_to_db and spectral_flatness: the floor of a power
    tiny = 1.17549435e-38  # librosa.util.normalize: what is smaller is left as it is
    reach = (tile - 1) * hop + n_fft  # samples under a tile
    ones = torch.ones_like(bins_hz)
    total = (signal.size(0) - n_fft) // hop + 1
    for first in range(0, total, tile):
        last = first + tile
        piece = signal[first * hop : first * hop + reach].double().unfold(0, n_fft, hop)
        if "rms" in into:
            norm = torch.linalg.vector_norm(piece, dim=-1)
            into["rms"][first:last, 0] = norm / n_fft**0.5
        if not with_power:
            continue
        # librosa rounds its spectrum to complex64 as well, before the power
        spectrum = torch.view_as_real(torch.fft.rfft(piece * window).to(torch.complex64))
        spectrum.mul_(spectrum)
        power = spectrum.select(-1, 0) + spectrum.select(-1, 1)
        if "log_mel" in into:
            rows = into["log_mel"][first:last]
            banded = power.to(matrices[0].dtype)
            for r, matrix in zip(ranges, matrices):  # noqa: B905 (TorchScript has no strict)
                rows[:, r[0] : r[1]] = torch.mm(banded[:, r[2] : r[3]], matrix)
            # the logarithm is taken tile by tile too: its vector and scalar kernels differ in the
            # last bit, and a tile's size leaves no scalar tail
            rows.clamp_(min=amin).log10_().mul_(10.0)
        if "chroma" in into:
            classes = torch.mm(power.to(chroma.dtype), chroma)[:, : into["chroma"].size(1)]
            peak = classes.amax(dim=1, keepdim=True)
            into["chroma"][first:last] = classes / torch.where(peak < tiny, 1.0, peak)
        if "flatness" in into:
            floored = power.clamp(min=amin)
            arithmetic = floored.mean(dim=1)
            geometric = floored.log_().mean(dim=1).exp_()
            into["flatness"][first:last, 0] = geometric / arithmetic
        if with_magnitude:
            magnitude = power.sqrt_().double()
            whole = torch.mv(magnitude, ones)
            divisor = torch.where(whole < tiny, 1.0, whole)
            mean_hz = torch.mv(magnitude, bins_hz) / divisor
            if "centroid" in into:
                into["centroid"][first:last, 0] = mean_hz
            if "bandwidth" in into:
                # in float64 the difference of squares is good to 1e-3 Hz in the worst case
                square = torch.mv(magnitude, bins_hz * bins_hz) / divisor
                into["bandwidth"][first:last, 0] = (
                    (square - mean_hz * mean_hz).clamp_(min=0).sqrt_()
                )
            if "rolloff" in into:
                sums = magnitude.cumsum(dim=1)
                wanted = roll_percent * sums[:, -1:]
                place = torch.searchsorted(sums, wanted).squeeze(1)
                # a NaN has no place: the difference makes it one
                nothing = wanted.squeeze(1) - wanted.squeeze(1)
                into["rolloff"][first:last, 0] = bins_hz[place.clamp_(max=n_fft // 2)] + nothing


@one_call
def zero_crossings(
    signal: torch.Tensor,
    starts: list[int],
    ends: list[int],
    n_fft: int,
    hop: int,
    out: torch.Tensor,
) -> None:
    """Fills ``out`` (frames, 1) with the share of samples whose sign differs from the one before.

    Values within 1e-10 count as zero and zero as positive; a clip's outer samples go on beyond
    it, so neither its first sample nor what follows its last is a crossing. Counts are
    differences of whole numbers, so no bit depends on where a stretch of frames begins.
    """
    if out.size(0) == 0:
        return
    negative = signal < -1e-10
    crossing = torch.zeros_like(negative)
    crossing[1:] = negative[1:] != negative[:-1]
    edges = torch.tensor(starts + ends, dtype=torch.long)
    edges = edges[edges < signal.size(0)].to(signal.device)
    crossing.index_fill_(0, edges, False)
    stretch = 1 << 16  # samples whose running sum stays in a CPU's cache
    frames = max(1, stretch // hop)
    for first in range(0, out.size(0), frames):
        last = min(first + frames, out.size(0))
        piece = crossing[first * hop : (last - 1) * hop + n_fft]
        so_far = piece.cumsum(0, dtype=torch.int32)
        counts = so_far[n_fft - 1 :: hop] - so_far[: piece.size(0) - n_fft + 1 : hop]
        out[first:last, 0] = counts.to(torch.float32) / n_fft


@one_call
def cepstra(
    log_mel: torch.Tensor, firsts: list[int], frames: list[int], matrix: torch.Tensor, tile: int
) -> torch.Tensor:
    """The cosine transform of dB that are raised to 80 under the clip's peak, float32."""
    top_db = 80.0  # librosa.feature.mfcc
    floored = log_mel.clone()
    for i in range(len(firsts)):
        if frames[i] > 0:
            own = floored[firsts[i] : firsts[i] + frames[i]]
            own.copy_(torch.maximum(own, own.amax() - top_db))
    out = torch.empty((log_mel.size(0), matrix.size(1)), dtype=torch.float32, device=log_mel.device)
    for first in range(0, log_mel.size(0), tile):
        out[first : first + tile] = torch.mm(floored[first : first + tile].double(), matrix)
    return out
