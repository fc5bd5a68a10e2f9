"""Raw 16-bit samples made float32 in machine code that keeps the interpreter.

numpy does it in two operations and gives up the interpreter in both: a quarter of a millisecond's
work for a batch, behind which it waits a millisecond and more for whatever thread has it then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from pipeline.media.pcm import INT16_FORMATS, INT16_SCALE

_SWAPPED = {name: (dtype[0] == ">") == (sys.byteorder == "little")
            for name, dtype in INT16_FORMATS.items()}  # fmt: skip
_EIGHT = np.uint16(8)


def _convert(raw: Any, swapped: Any, samples: Any) -> None:
    for i in range(raw.size):
        bits = raw[i]
        if swapped:
            bits = np.uint16((bits << _EIGHT) | (bits >> _EIGHT))
        samples[i] = np.float32(np.int16(bits)) * INT16_SCALE


def _compiled() -> Any:
    signature = types.void(
        types.Array(types.uint16, 1, "C", readonly=True), types.boolean, types.float32[::1]
    )
    try:
        return njit(signature, cache=True)(_convert)
    except RuntimeError:  # a read-only place: every process compiles for itself
        return njit(signature)(_convert)


_fill = _compiled()


def int16_rows(
    raws: Sequence[bytes | bytearray | memoryview], form: str, count: int
) -> NDArray[np.float32]:
    """Rows of ``count`` samples, whole raw ones in one of ``INT16_FORMATS``, shape (raws, count).

    They have the bits of ``int16_mono``. The raw ones are not laid together before: that is one
    more copy, and ``bytes.join`` gives up the interpreter for one of a mebibyte.
    """
    rows = np.empty((len(raws), count), np.float32)
    swapped = _SWAPPED[form]
    for raw, row in zip(raws, rows, strict=True):
        _fill(np.frombuffer(raw, np.uint16), swapped, row)
    return rows
