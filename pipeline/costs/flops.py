"""Floating-point operations of a call, counted by their shapes while it runs."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from pipeline.features.lanes import LANES


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
    with ExitStack() as watches:
        for (module, name), frames_of in _CALLED.items():
            caller = sys.modules.get(module)
            if caller is not None:
                original = getattr(caller, name)
                watches.callback(setattr, caller, name, original)
                setattr(caller, name, _counting(original, frames_of, calls))
        yield calls


def _counting(
    original: Callable[..., Any], frames_of: Callable[..., tuple[int, int]], calls: list[int]
) -> Callable[..., Any]:
    def watched(*given: Any) -> Any:
        frames, of_bands = frames_of(*given)
        tables, bands = given[_TABLES], given[_BANDS]
        points = tables.window.size
        calls.append(_of((frames, points), points, 2.5) + 2 * of_bands * bands.weights.size)
        return original(*given)

    return watched


def _real(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    """A real transform of ``shape`` over ``dims``."""
    return _of(shape, math.prod(shape[dim] for dim in dims), 2.5)


def _to_real(_: Any, dims: Sequence[int], *__: Any, out_shape: Sequence[int], **___: Any) -> int:
    return _real(out_shape, dims)


def _complex(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _of(shape, math.prod(shape[dim] for dim in dims), 5)


def _of(shape: Sequence[int], points: int, each: float) -> int:
    return round(each * math.prod(shape) * math.log2(points)) if points > 1 else 0


def _in_eights(clips: Sequence[Any], framing: Any) -> int:
    """Frames that are transformed: those of a clip, and what makes its last ones eight."""
    return sum(-(-framing.frames(len(clip)) // LANES) * LANES for clip in clips)


_TABLES, _BANDS = 2, 3
# Where they are called, and how many frames are transformed and how many made bands of.
_CALLED: dict[tuple[str, str], Callable[..., tuple[int, int]]] = {
    ("pipeline.features.bundle", "spectra"): lambda _signal, _hop, _tables, _bands, powers, mel: (
        max(len(powers), len(mel)), len(mel),
    ),
    ("pipeline.features.log_mel", "mean_levels"): lambda clips, framing, *_: (
        _in_eights(clips, framing), _in_eights(clips, framing),
    ),
}  # fmt: skip
_aten = torch.ops.aten
_TRANSFORMS = {_aten._fft_r2c: _real, _aten._fft_c2r: _to_real, _aten._fft_c2c: _complex}
