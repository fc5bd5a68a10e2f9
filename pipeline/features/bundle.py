"""Any of the frame-wise features of clips from one shared spectrum: librosa's numbers.

Two promises (contract section 2, design section 6):

- *librosa's numbers*, on samples of any length, within what ``bundle`` states for each. So the
  transform runs in float64, as librosa's does: in float32 its rounding noise under a pure
  tone is worth 0.01 dB at 80 dB down (test_features_log_mel.py, pure tones).
- *the same bits whatever the batch*: a clip's frames depend neither on what else is computed in
  the same call, nor on which other features are asked for, nor on the records that its samples
  came in. Kernels choose their way by shape, so every shape here is fixed: frames go through in
  tiles of one size, the last one filled up with zeros (test_features_batches.py).

On a CPU spectra and log-mel are made eight frames at a time (spectra.py); elsewhere, and where
frames have a length that is not made there, torch makes them, tile by tile (tiles.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache

import torch

from pipeline.features.chroma import chroma_bank
from pipeline.features.delta import delta
from pipeline.features.framing import Layout, Samples, frame_window, tile_frames
from pipeline.features.lanes import LANES
from pipeline.features.mel import MelConfig, dct_matrix, mel_bands, mel_bank
from pipeline.features.spectra import spectra, tables
from pipeline.features.tiles import MAGNITUDE, POWER, cepstra, fill_tiles, zero_crossings

NAMES = (
    "log_mel", "mfcc", "mfcc_delta", "mfcc_delta2", "chroma", "centroid", "bandwidth", "rolloff",
    "flatness", "zero_crossing_rate", "rms",
)  # fmt: skip
_CEPSTRAL = {"mfcc": 0, "mfcc_delta": 1, "mfcc_delta2": 2}  # and the order of the derivative

_TILES = 4  # whose spectra are kept for the features that read them


@dataclass(frozen=True, slots=True)
class FeatureConfig(MelConfig):
    """What a bundle's features are; the names and the defaults are librosa's.

    ``tuning`` is fixed, in pitch classes: librosa estimates it from each clip where it is not
    given, so that two windows of one sound would have other classes.
    """

    n_mfcc: int = field(default=20, kw_only=True)
    lifter: int = field(default=0, kw_only=True)
    n_chroma: int = field(default=12, kw_only=True)
    tuning: float = field(default=0.0, kw_only=True)
    roll_percent: float = field(default=0.85, kw_only=True)

    def width(self, name: str) -> int:
        """Numbers a frame of a feature."""
        widths = {"log_mel": self.n_mels, "chroma": self.n_chroma}
        return self.n_mfcc if name in _CEPSTRAL else widths.get(name, 1)


@lru_cache(maxsize=64)
def of_mel(config: MelConfig, n_mfcc: int = 20, lifter: int = 0) -> FeatureConfig:
    """A mel configuration with the rest of a bundle's."""
    shared = {each.name: getattr(config, each.name) for each in fields(MelConfig)}
    return FeatureConfig(**shared, n_mfcc=n_mfcc, lifter=lifter)


def columns(names: Sequence[str], config: FeatureConfig) -> list[str]:
    """The name of each number of a frame, in order: ``rms``, but ``chroma_0`` to ``chroma_11``."""
    named = []
    for name in names:
        single = name not in _CEPSTRAL and name not in ("log_mel", "chroma")
        named += [name] if single else [f"{name}_{i}" for i in range(config.width(name))]
    return named


def bundle(
    clips: Sequence[Samples],
    names: Sequence[str],
    config: FeatureConfig,
    device: torch.device | str = "cpu",
) -> list[torch.Tensor]:
    """Features of clips of any lengths (float32, mono, shape (n,), at ``config.rate``).

    ``names`` of NAMES. Gives for each clip one row a frame, float32, on the device, the features
    side by side in the order asked for, shape (``config.frames(n)``, len(columns)); a clip
    without frames (0, len(columns)). The rows are views of one array. In librosa 0.11's names,
    with the configuration's ``n_fft`` for ``frame_length``, and the transposed of:

    - ``log_mel``: ``power_to_db(melspectrogram(y), top_db=None)``, dB re 1: within 1e-3 dB
      where a band is within 80 dB of the clip's peak.
    - ``mfcc``: ``mfcc(y)``: within 1e-3. Everything more than 80 dB under the clip's own peak
      is raised to that, never under the peak of a batch mate.
    - ``mfcc_delta``, ``mfcc_delta2``: ``delta(mfcc(y), order=1 or 2)``: within 1e-3.
    - ``chroma``: ``chroma_stft(y, tuning=config.tuning)``: within 1e-5.
    - ``centroid``, ``bandwidth``: ``spectral_centroid(y)``, ``spectral_bandwidth(y)``, Hz:
      within 1e-7 of the rate.
    - ``rolloff``: ``spectral_rolloff(y)``, Hz: the same bin, or a neighbour where the sum meets
      the threshold within the rounding of librosa's float32 sums.
    - ``flatness``: ``spectral_flatness(y)``: within 1e-5.
    - ``zero_crossing_rate``: ``zero_crossing_rate(y)``: equal, rounded to float32. The clip's
      outer samples are repeated beyond it, so its edges are no crossings.
    - ``rms``: ``rms(y)``: within 1e-6 of itself.

    Spectra under 1e-15 of full scale may be taken for silence.
    """
    device = torch.device(device)
    only_lanes = set(names) == {"log_mel"} and tables(config, device) is not None
    tile = LANES if only_lanes else tile_frames(config, device)
    # On a GPU TorchScript would fuse operations from the third call on, and round otherwise.
    as_written = torch.jit.optimized_execution(device.type == "cpu")  # type: ignore[attr-defined]
    with torch.inference_mode(), as_written:
        layout = Layout(clips, config, tile)
        parts = _parts(layout, frozenset(names), config, device, tile)
        chosen = [parts[name] for name in names]
        return layout.cut(chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1))


def _parts(
    layout: Layout, names: frozenset[str], config: FeatureConfig, device: torch.device, tile: int
) -> dict[str, torch.Tensor]:
    """By feature, its rows of all frames of the layout."""
    signal = torch.from_numpy(layout.signal).to(device)
    cepstral = names & _CEPSTRAL.keys()
    parts = {
        name: torch.empty((layout.total, config.width(name)), dtype=torch.float32, device=device)
        for name in names - cepstral | ({"log_mel"} if cepstral else set())
    }
    if parts.keys() - {"zero_crossing_rate"}:
        _fill(signal, config, tile, parts)
    if "zero_crossing_rate" in names:
        zero_crossings(
            signal, layout.starts, layout.ends, config.n_fft, config.hop_length,
            parts["zero_crossing_rate"],
        )  # fmt: skip
    if cepstral:
        matrix = dct_matrix(config.n_mfcc, config.n_mels, config.lifter, device)
        parts["mfcc"] = cepstra(parts["log_mel"], layout.firsts, layout.frames, matrix, tile)
        for name in cepstral - {"mfcc"}:
            parts[name] = torch.zeros_like(parts["mfcc"])
            changes = delta(layout.cut(parts["mfcc"]), _CEPSTRAL[name])
            for own, change in zip(layout.cut(parts[name]), changes, strict=True):
                own.copy_(change)
    return parts


def _fill(
    signal: torch.Tensor, config: FeatureConfig, tile: int, into: dict[str, torch.Tensor]
) -> None:
    """Everything that is computed frame by frame from the spectrum or the samples."""
    made, hop = tables(config, signal.device), config.hop_length
    if made is None or not into.keys() & POWER:
        _fill_tiles(signal, config, tile, torch.empty(0, device=signal.device), into)
        return
    others = into.keys() - {"log_mel"}
    # spectra that other features read are made for some tiles at a time: so they stay in a cache
    total = len(next(iter(into.values())))
    step = _TILES * tile if others else total
    for first in range(0, total, max(1, step)):
        rows = {name: array[first : first + step] for name, array in into.items()}
        count = min(step, total - first)
        piece = signal[first * hop : (first + count - 1) * hop + config.n_fft]
        powers = signal.new_empty((count if others & POWER else 0, config.bins))
        log_mel = rows.pop("log_mel", signal.new_empty((0, config.n_mels)))
        spectra(piece.numpy(), hop, made, mel_bands(config), powers.numpy(), log_mel.numpy())
        if others:
            _fill_tiles(piece, config, tile, powers, rows)


def _fill_tiles(
    signal: torch.Tensor,
    config: FeatureConfig,
    tile: int,
    powers: torch.Tensor,
    into: dict[str, torch.Tensor],
) -> None:
    """As ``_fill``, in torch's operations; ``powers`` without rows are computed by them too."""
    device = signal.device
    bank = mel_bank(config, device) if "log_mel" in into else ()
    chroma = torch.empty(0, device=device)
    if "chroma" in into:
        numbers = config.rate, config.n_fft, config.n_chroma, config.tuning
        chroma = chroma_bank(*numbers, device)
    fill_tiles(
        signal,
        frame_window(config, device),
        config.hop_length,
        tile,
        powers,
        bool(into.keys() & POWER) and not len(powers),
        [[b.bands.start, b.bands.stop, b.bins.start, b.bins.stop] for b in bank],
        [b.matrix for b in bank],
        chroma,
        _bins_hz(config.rate, config.n_fft, device),
        config.roll_percent,
        bool(into.keys() & MAGNITUDE),
        into,
    )


@lru_cache(maxsize=64)
def _bins_hz(rate: int, n_fft: int, device: torch.device) -> torch.Tensor:
    """The frequency of each bin, float64, shape (bins,)."""
    return torch.arange(n_fft // 2 + 1, dtype=torch.float64, device=device) * (rate / n_fft)
