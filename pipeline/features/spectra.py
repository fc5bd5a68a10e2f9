"""Power spectra on a CPU: eight frames at once, from samples to bins or mel bands in one loop.

A library transforms one array after another, and what lies between the steps costs more than the
steps. Here eight windowed frames stay in the first cache until their power, or the power of their
mel bands, is known. float64 throughout, as librosa's transform is; results are float32.

A frame's bits depend neither on its place among the eight nor on the frames beside it.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, types
from numpy.typing import NDArray

from pipeline.features import int16, lanes, steps
from pipeline.features.framing import Framing, frame_window
from pipeline.features.int16 import Sound, Sounds, read
from pipeline.features.lanes import FUSED, LANES
from pipeline.features.mel import Bands

_PAIR = 2 * LANES  # numbers of eight complex ones: the real parts, then the imaginary parts


_kernel = partial(njit, nogil=True, error_model="numpy", fastmath=set(FUSED))


@_kernel()
def _transform(radices: Any, x: Any, y: Any, turns: Any) -> Any:
    """The transform of ``x``, in ``x`` or ``y``: Stockham's steps, which leave it in order.

    ``turns`` has the powers of the root of one, real and imaginary by turns.
    """
    length, stride = turns.size // 2, 1
    for radix in radices:
        part, turn = length // radix, turns.size // length
        apart, between = stride * part * _PAIR, stride * _PAIR
        for p in range(part):
            for q in range(stride):
                at, to = (q + stride * p) * _PAIR, (q + stride * radix * p) * _PAIR
                if radix == 5:
                    steps.by_5(x, at, apart, y, to, between, turns, p * turn)
                elif radix == 4:
                    steps.by_4(x, at, apart, y, to, between, turns, p * turn)
                elif radix == 3:
                    steps.by_3(x, at, apart, y, to, between, turns, p * turn)
                else:
                    steps.by_2(x, at, apart, y, to, between, turns, p * turn)
        x, y = y, x
        length, stride = part, stride * radix
    return x


@_kernel()
def _to_powers(z: Any, halves: Any, powers: Any) -> None:
    """The power in each bin of real numbers whose even and odd ones were transformed as pairs."""
    half = z.size // _PAIR
    for lane in range(LANES):
        even, odd = z[lane], z[LANES + lane]
        powers[lane] = (even + odd) ** 2
        powers[half * LANES + lane] = (even - odd) ** 2
    for k in range(1, half // 2 + 1):
        j = half - k
        steps.powers(z, k * _PAIR, j * _PAIR, halves, 2 * k, powers, k * LANES, j * LANES)


@_kernel()
def _eight(
    signal: Any, begin: Any, hop: Any, window: Any, radices: Any, turns: Any, halves: Any, x: Any,
    y: Any, powers: Any,
) -> None:  # fmt: skip
    """Powers of the eight frames of which the first begins at a sample of the signal."""
    n = window.size
    for at in range(0, n, LANES):
        t = min(at, n - LANES)  # some of the last eight samples may be there already
        steps.windowed(signal, begin + t, hop, window, t, x)
    _to_powers(_transform(radices, x, y, turns), halves, powers)


@_kernel()
def _to_decibels(powers: Any, firsts: Any, lasts: Any, weights: Any, db: Any) -> None:
    """The level of each band: bins ``[firsts[b], lasts[b])`` times the next weights."""
    weight = 0
    for b in range(firsts.size):
        steps.level(powers, firsts[b], lasts[b], weights, weight, db, b * LANES)
        weight += lasts[b] - firsts[b]


@_kernel()
def _to_rows(values: Any, rows: Any, first: Any) -> None:
    for lane in range(LANES):
        for k in range(rows.shape[1]):
            rows[first + lane, k] = values[k * LANES + lane]


_LINE, _PLACES, _ROWS = types.float64[::1], types.intp[::1], types.float32[:, ::1]
_SIGNATURE = types.void(
    types.float32[::1], types.intp, _LINE, _PLACES, _LINE, _LINE, _PLACES, _PLACES, _LINE,
    _ROWS, _ROWS,
)  # fmt: skip


def _spectra(
    signal: Any, hop: Any, window: Any, radices: Any, turns: Any, halves: Any, firsts: Any,
    lasts: Any, weights: Any, power_rows: Any, db_rows: Any,
) -> None:  # fmt: skip
    """Fills ``power_rows`` (frames, bins) and ``db_rows`` (frames, bands); either may be empty."""
    n = window.size
    x, y = np.empty(n * LANES), np.empty(n * LANES)
    powers, db = np.empty((n // 2 + 1) * LANES), np.empty(firsts.size * LANES)
    for first in range(0, max(len(power_rows), len(db_rows)), LANES):
        _eight(signal, first * hop, hop, window, radices, turns, halves, x, y, powers)
        if len(power_rows):
            _to_rows(powers, power_rows, first)
        if len(db_rows):
            _to_decibels(powers, firsts, lasts, weights, db)
            _to_rows(db, db_rows, first)


def _compiled(function: Any, signature: Any = _SIGNATURE) -> Any:
    """numba's machine code of it: kept on disk where numba finds a folder for that.

    numba knows it again by the function's own file and its name; the name tells of the others.
    """
    sources = "".join(map(inspect.getsource, (lanes, steps, int16)))
    function.__qualname__ = f"{function.__name__}_{zlib.crc32(sources.encode()):08x}"
    try:
        return _kernel(signature, cache=True)(function)
    except RuntimeError:  # a read-only place: every process compiles for itself
        return _kernel(signature)(function)


_fill = _compiled(_spectra)

_MEANS_SIGNATURE = types.void(
    _PLACES, _PLACES, _PLACES, _PLACES, types.intp, types.intp, _LINE, _PLACES, _LINE, _LINE,
    _PLACES, _PLACES, _LINE, types.float64[:, ::1],
)  # fmt: skip


def _mean_levels(
    identities: Any, kinds: Any, lengths: Any, counts: Any, lead: Any, hop: Any, window: Any,
    radices: Any, turns: Any, halves: Any, firsts: Any, lasts: Any, weights: Any, means: Any,
) -> None:  # fmt: skip
    """Fills ``means`` (clips, bands) from the ``counts[i]`` frames of each clip (``Sounds``).

    A clip is read into one place between zeros, which stays in the second cache; floats of all
    clips would go through memory once more. A level is rounded to float32, and a clip's are added
    up in float64 in their order.
    """
    n, most, longest = window.size, 0, 0
    for i in range(len(means)):
        most, longest = max(most, counts[i]), max(longest, lengths[i])
    room = max((most + LANES - 1) * hop + n, lead + longest)
    signal = np.zeros(room, np.float32)
    x, y = np.empty(n * LANES), np.empty(n * LANES)
    powers, db = np.empty((n // 2 + 1) * LANES), np.empty(firsts.size * LANES)
    for i in range(len(means)):
        end = lead + lengths[i]
        read(identities[i], kinds[i], signal[lead:end])
        signal[end:] = 0
        sums = means[i]
        sums[:] = 0
        for first in range(0, counts[i], LANES):
            _eight(signal, first * hop, hop, window, radices, turns, halves, x, y, powers)
            _to_decibels(powers, firsts, lasts, weights, db)
            lanes_here = min(LANES, counts[i] - first)
            for band in range(sums.size):
                total = sums[band]
                for lane in range(lanes_here):
                    total += np.float64(np.float32(db[band * LANES + lane]))
                sums[band] = total
        sums /= max(1, counts[i])


_fill_means = _compiled(_mean_levels, _MEANS_SIGNATURE)


class Tables(NamedTuple):
    """Of a framing: its window (n_fft,), how n_fft / 2 is divided, and powers of the roots of one
    of that length and of n_fft, real and imaginary parts by turns. All as numba takes them.
    """

    window: NDArray[np.float64]
    radices: NDArray[np.intp]
    turns: NDArray[np.float64]
    halves: NDArray[np.float64]


@lru_cache(maxsize=64)
def tables(framing: Framing, device: torch.device) -> Tables | None:
    """None where frames are not transformed here: on another device than a CPU, or where n_fft
    is odd or half of it has another factor than 2, 3 and 5.
    """
    half, odd = divmod(framing.n_fft, 2)
    if device.type != "cpu" or odd or framing.n_fft < LANES:
        return None
    radices, left = [], half
    for radix in steps.RADICES:
        while left % radix == 0:
            radices.append(radix)
            left //= radix
    if left > 1:
        return None
    window = frame_window(framing, device).numpy()
    places = np.arange(half)
    turns, halves = (np.exp(-2j * np.pi * places / n) for n in (half, framing.n_fft))
    return Tables(
        window, np.array(radices, np.intp), turns.view(np.float64), halves.view(np.float64)
    )


def spectra(
    signal: NDArray[np.float32],
    hop: int,
    tables: Tables,
    bands: Bands,
    powers: NDArray[np.float32],
    log_mel: NDArray[np.float32],
) -> None:
    """Fills ``powers`` (frames, bins) with the power in each bin and ``log_mel`` (frames, bands)
    with that in each band, in dB re 1, of the frames ``[j · hop, j · hop + n_fft)`` of the signal.

    Either may have no rows; their number is a multiple of 8, and the signal as long as they need.
    """
    _fill(signal, hop, *tables, *bands, powers, log_mel)


def mean_levels(
    clips: Sequence[Sound], framing: Framing, tables: Tables, bands: Bands
) -> NDArray[np.float64]:
    """The mean over time of each clip's levels, shape (clips, bands), dB re 1; 0 without a frame.

    The whole way is one call: a thread that gives up the interpreter waits to have it again.
    """
    sounds = Sounds.of(clips)
    lengths = sounds.lengths.tolist()
    known = {length: framing.frames(length) for length in {*lengths}}
    counts = np.array([known[length] for length in lengths], np.intp)
    means = np.empty((len(clips), len(bands.firsts)))
    _fill_means(
        sounds.identities, sounds.kinds, sounds.lengths, counts, framing.lead,
        framing.hop_length, *tables, *bands, means,
    )  # fmt: skip
    return means
