"""Samples read in machine code where they lie: float32, or 16 bits in either byte order.

Machine code is given the array objects and reads from them where their numbers are: numpy's
binary interface puts that address right behind an object's head. Asked from Python for every
clip (``__array_interface__``) it costs 2 us, as much as the reading itself. Whoever calls keeps
the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Sound = NDArray[np.float32 | np.int16]

_SCALE = np.float32(1 / 32_768)  # a power of two: the product is exact
_EIGHT = np.uint16(8)
_FLOAT32, _INT16, _SWAPPED = 0, 1, 2
_KINDS = {
    np.dtype(np.float32): _FLOAT32,
    np.dtype(np.int16): _INT16,
    np.dtype(np.int16).newbyteorder("S"): _SWAPPED,
}
_WORD = np.dtype(np.intp).itemsize
_BEHIND_HEAD = object.__basicsize__ // _WORD


def _read_as(kind: Any, code: Any) -> Any:
    """A function of numba's: the number of this kind at a place behind an address."""

    def typed(_typing: Any, _address: Any, _place: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            numbers = builder.inttoptr(values[0], code.as_pointer())
            # a payload may begin anywhere
            return builder.load(builder.gep(numbers, [values[1]]), align=1)

        return kind(types.intp, types.intp), generate

    return intrinsic(typed)


_word = _read_as(types.intp, ir.IntType(8 * _WORD))
_bits = _read_as(types.uint16, ir.IntType(16))
_float = _read_as(types.float32, ir.FloatType())


@njit(nogil=True)
def read(identity: Any, kind: Any, samples: Any) -> None:
    """Fills ``samples`` with the first numbers of the array with this ``id``."""
    numbers = _word(identity, _BEHIND_HEAD)
    if kind == _FLOAT32:
        for i in range(samples.size):
            samples[i] = _float(numbers, i)
    elif kind == _INT16:
        for i in range(samples.size):
            samples[i] = np.float32(np.int16(_bits(numbers, i))) * _SCALE
    else:
        for i in range(samples.size):
            bits = _bits(numbers, i)
            bits = np.uint16((bits << _EIGHT) | (bits >> _EIGHT))
            samples[i] = np.float32(np.int16(bits)) * _SCALE


def _compiled() -> Any:
    signature = types.void(types.intp, types.intp, types.float32[::1])
    try:
        return njit(signature, cache=True)(read.py_func)
    except RuntimeError:  # a read-only place: every process compiles for itself
        return njit(signature)(read.py_func)


_read_here = _compiled()  # keeps the interpreter


def floats(sound: Sound) -> NDArray[np.float32]:
    """The samples in an array of their own, with the bits of ``pipeline.media.pcm.int16_mono``.

    numpy would give up the interpreter twice for it, and then wait for whatever thread has it.
    """
    sound = np.ascontiguousarray(sound)
    samples = np.empty(len(sound), np.float32)
    _read_here(id(sound), _KINDS[sound.dtype], samples)
    return samples


def _readable(clip: NDArray[Any]) -> Sound:
    return np.ascontiguousarray(clip, clip.dtype if clip.dtype in _KINDS else np.float32)


class Sounds(NamedTuple):
    """Clips as ``read`` takes them; it reads from ``arrays``, which have to live as long."""

    arrays: list[Sound]
    identities: NDArray[np.intp]
    kinds: NDArray[np.intp]
    lengths: NDArray[np.intp]

    @classmethod
    def of(cls, clips: Sequence[Sound]) -> Sounds:
        arrays = [
            clip
            if type(clip) is np.ndarray and clip.dtype in _KINDS and clip.flags.c_contiguous
            else _readable(clip)
            for clip in clips
        ]
        return cls(
            arrays,
            np.array([*map(id, arrays)], np.intp),
            np.array([_KINDS[array.dtype] for array in arrays], np.intp),
            np.array([*map(len, arrays)], np.intp),
        )
