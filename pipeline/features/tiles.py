"""The arithmetic of frame-wise features, tile by tile, each function one operation to Python."""

from __future__ import annotations

import torch

from pipeline.features.one_call import one_call

# By what they are made of: POWER needs the spectrum, MAGNITUDE also its root; rms only samples.
MAGNITUDE = frozenset({"centroid", "bandwidth", "rolloff"})
POWER = MAGNITUDE | {"log_mel", "chroma", "flatness"}


@one_call
def _power(frames: torch.Tensor) -> torch.Tensor:
    # librosa rounds its spectrum to complex64 as well, before the power
    spectrum = torch.view_as_real(torch.fft.rfft(frames).to(torch.complex64))
    spectrum.mul_(spectrum)
    return spectrum.select(-1, 0) + spectrum.select(-1, 1)


@one_call
def _fill_log_mel(
    power: torch.Tensor, ranges: list[list[int]], matrices: list[torch.Tensor], out: torch.Tensor
) -> None:
    """dB re 1 of the bank's bands."""
    for r, matrix in zip(ranges, matrices):  # noqa: B905 (TorchScript has no strict)
        out[:, r[0] : r[1]] = torch.mm(power.to(matrix.dtype)[:, r[2] : r[3]], matrix)
    # the logarithm is taken tile by tile too: its vector and scalar kernels differ in the last
    # bit, and a tile's size leaves no scalar tail
    out.clamp_(min=1e-10).log10_().mul_(10.0)  # librosa.power_to_db: amin


@one_call
def _fill_chroma(power: torch.Tensor, bank: torch.Tensor, out: torch.Tensor) -> None:
    """Each frame's strongest class is 1."""
    tiny = 1.17549435e-38  # librosa.util.normalize: what is smaller is left as it is
    classes = torch.mm(power.to(bank.dtype), bank)[:, : out.size(1)]
    peak = classes.amax(dim=1, keepdim=True)
    out.copy_(classes / torch.where(peak < tiny, 1.0, peak))


@one_call
def _fill_flatness(power: torch.Tensor, out: torch.Tensor) -> None:
    """The geometric mean over the arithmetic one; librosa.spectral_flatness: amin."""
    floored = power.clamp(min=1e-10)
    arithmetic = floored.mean(dim=1)
    out[:, 0] = floored.log_().mean(dim=1).exp_() / arithmetic


@one_call
def _fill_moments(
    magnitude: torch.Tensor,
    bins_hz: torch.Tensor,
    roll_percent: float,
    rows: dict[str, torch.Tensor],
) -> None:
    """Centroid, bandwidth and rolloff, what of them is wanted, in Hz."""
    tiny = 1.17549435e-38  # librosa.util.normalize
    whole = torch.mv(magnitude, torch.ones_like(bins_hz))
    divisor = torch.where(whole < tiny, 1.0, whole)
    mean_hz = torch.mv(magnitude, bins_hz) / divisor
    if "centroid" in rows:
        rows["centroid"][:, 0] = mean_hz
    if "bandwidth" in rows:
        # in float64 the difference of squares is good to 1e-3 Hz in the worst case
        square = torch.mv(magnitude, bins_hz * bins_hz) / divisor
        rows["bandwidth"][:, 0] = (square - mean_hz * mean_hz).clamp_(min=0).sqrt_()
    if "rolloff" in rows:
        sums = magnitude.cumsum(dim=1)
        wanted = roll_percent * sums[:, -1:]
        place = torch.searchsorted(sums, wanted).squeeze(1).clamp_(max=bins_hz.size(0) - 1)
        # a NaN has no place: the difference makes it one
        nothing = wanted.squeeze(1) - wanted.squeeze(1)
        rows["rolloff"][:, 0] = bins_hz[place] + nothing


@one_call
def fill_tiles(
    signal: torch.Tensor,
    window: torch.Tensor,
    hop: int,
    tile: int,
    powers: torch.Tensor,
    transform: bool,
    ranges: list[list[int]],
    matrices: list[torch.Tensor],
    chroma: torch.Tensor,
    bins_hz: torch.Tensor,
    roll_percent: float,
    with_magnitude: bool,
    into: dict[str, torch.Tensor],
) -> None:
    """Fills the arrays of ``into``, each (total, width), by the name of the feature.

    ``powers`` are the spectra of all frames; with ``transform`` they are computed here. Block i of
    the mel bank, ``matrices[i]``, makes the bands ``[r[0], r[1])`` of the bins ``[r[2], r[3])``,
    with r = ``ranges[i]``; ``chroma`` may have more columns than are wanted.
    """
    n_fft = window.size(0)
    reach = (tile - 1) * hop + n_fft  # samples under a tile
    total = (signal.size(0) - n_fft) // hop + 1
    for first in range(0, total, tile):
        rows = {name: array[first : first + tile] for name, array in into.items()}
        power = powers[first : first + tile]
        if transform or "rms" in into:
            piece = signal[first * hop : first * hop + reach].double().unfold(0, n_fft, hop)
            if "rms" in into:
                rows["rms"][:, 0] = torch.linalg.vector_norm(piece, dim=-1) / n_fft**0.5
            if transform:
                power = _power(piece * window)
        if "log_mel" in into:
            _fill_log_mel(power, ranges, matrices, rows["log_mel"])
        if "chroma" in into:
            _fill_chroma(power, chroma, rows["chroma"])
        if "flatness" in into:
            _fill_flatness(power, rows["flatness"])
        if with_magnitude:
            _fill_moments(power.sqrt().double(), bins_hz, roll_percent, rows)


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
