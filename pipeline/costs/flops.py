"""Floating-point operations of a call, counted by their shapes while it runs."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def counted_flops(call: Callable[[], object]) -> int:
    """Of this thread's torch operations and of motet's own spectra; a multiply-add is two.

    Products, convolutions and attention as ``torch.utils.flop_counter`` counts them, padding
    included; Fourier transforms of n points as 2.5 n log2 n where one side is real and 5 n log2 n
    otherwise (the count of benchFFT, Frigo and Johnson, 2005). Everything else (sums, logarithms,
    resizing) counts as nothing, and so does what another library than torch computes.
    """
    # as it is imported it warns where there is no triton, whose kernels nothing here has
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False, custom_mapping=_TRANSFORMS)
    with _spectra_watched() as spectra, counter:
        call()
    return int(counter.get_total_flops()) + sum(spectra)


@contextmanager
def _spectra_watched() -> Iterator[list[int]]:
    """The operations of each call of ``features.spectra``: numba's, which torch does not see.

    Where the module that calls it was never imported, nobody does.
    """
    calls: list[int] = []
    caller: Any = sys.modules.get(_CALLER)
    if caller is None:
        yield calls
        return

    def watched(*given: Any) -> None:
        _, _, tables, bands, powers, mel = given
        frames, points = max(len(powers), len(mel)), tables.window.size
        calls.append(_of((frames, points), points, 2.5) + 2 * len(mel) * bands.weights.size)
        original(*given)

    original = caller.spectra
    caller.spectra = watched
    try:
        yield calls
    finally:
        caller.spectra = original


def _real(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    """A real transform of ``shape`` over ``dims``."""
    return _of(shape, math.prod(shape[dim] for dim in dims), 2.5)


def _to_real(_: Any, dims: Sequence[int], *__: Any, out_shape: Sequence[int], **___: Any) -> int:
    return _real(out_shape, dims)


def _complex(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _of(shape, math.prod(shape[dim] for dim in dims), 5)


def _of(shape: Sequence[int], points: int, each: float) -> int:
    return round(each * math.prod(shape) * math.log2(points)) if points > 1 else 0


_CALLER = "pipeline.features.bundle"
_aten = torch.ops.aten
_TRANSFORMS = {_aten._fft_r2c: _real, _aten._fft_c2r: _to_real, _aten._fft_c2c: _complex}
